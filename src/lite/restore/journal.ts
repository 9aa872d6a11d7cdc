import { readFileSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { UserError } from "../../kit/user-error.ts";
import { isThere, syncFolder, writeDurably } from "./durable-files.ts";
import type { Place } from "./places.ts";

/**
 * What a restore has begun, in ~/.leoflow/restore.json. It is written before anything is touched, so whatever ends the restore,
 * the next command can tell what belongs to it:
 *
 * 1. "staging": only new folders and the database `leoflow_restoring` were made. The installation is as it was.
 * 2. "swapping": everything is staged; files and folders are being exchanged. None of it counts before the one commit: when the
 *    live database is the staged one (their oids tell), the restore has happened, otherwise all is put back.
 */
export interface Journal {
  version: 1;
  archive: string;
  phase: "staging" | "swapping";
  /** The home had no database before: what was made goes again with a restore that did not happen. */
  madeCluster: boolean;
  /** Outermost first. */
  madeFolders: string[];
  places: Place[];
  /** The staged database. */
  stagedOid: number | null;
}

export function readJournal(file: string): Journal | undefined {
  if (!isThere(file)) return undefined;
  const journal = JSON.parse(readFileSync(file, "utf8")) as Journal;
  if ((journal.version as number) !== 1) {
    throw new UserError(`${file} was written by another release, in the middle of a restore`, {
      fix: "start that release once: it finishes the restore",
    });
  }
  return journal;
}

export function writeJournal(file: string, journal: Journal): void {
  writeDurably(file, `${JSON.stringify(journal, null, 2)}\n`);
}

export function removeJournal(file: string): void {
  rmSync(file, { force: true });
  syncFolder(dirname(file));
}
