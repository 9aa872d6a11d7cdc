import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import {
  databaseOid,
  dropDatabase,
  REPLACED_DATABASE,
  STAGING_DATABASE,
  withServer,
} from "../../backup/staging-database.ts";
import type { DatabaseConfig } from "../../store/database.ts";
import type { LeoflowPaths } from "../paths.ts";
import type { Progress } from "../progress.ts";
import { removeEmptyFolders } from "./durable-files.ts";
import { readJournal, removeJournal, type Journal } from "./journal.ts";
import { discard, putBack } from "./places.ts";

export interface FinishOptions {
  paths: LeoflowPaths;
  progress: Progress;
  /** Runs the home's PostgreSQL for this work. */
  withPostgres: (work: (database: DatabaseConfig) => Promise<void>) => Promise<void>;
}

export type Finish = "nothing-to-do" | "undone" | "completed";

/**
 * Brings a restore to an end that was cut short: what had happened is cleaned up after, everything else is put back. The caller
 * holds the home's lock and no PostgreSQL runs. Costs one look at a file where there is nothing to do.
 */
export async function finishInterruptedRestore(options: FinishOptions): Promise<Finish> {
  if (!existsSync(options.paths.restoreJournal)) return "nothing-to-do";
  const finish = await options.progress.step("Finish a restore that was cut short", () => settle(options));
  options.progress.note(
    finish === "undone"
      ? "the restore had not happened yet: everything is as it was before it"
      : "the restore had happened: what it replaced is cleaned up",
  );
  return finish;
}

/** The same without a word. */
export async function settle({ paths, withPostgres }: FinishOptions): Promise<Exclude<Finish, "nothing-to-do">> {
  const journal = readJournal(paths.restoreJournal) as Journal;
  const data = join(paths.managedPostgres, "data");
  let happened = false;
  // What is only staged goes first: there may be no space left for PostgreSQL to start in.
  if (journal.phase === "staging") journal.places.forEach(discard);
  // A cluster that this restore has just made holds nothing else.
  const isFresh = journal.phase === "staging" && journal.madeCluster;
  if (isFresh || !existsSync(join(data, "PG_VERSION"))) journal.places.forEach(putBack);
  else {
    await withPostgres((database) =>
      withServer(database, async (client) => {
        happened =
          journal.phase === "swapping" &&
          journal.stagedOid !== null &&
          (await databaseOid(client, database.database)) === journal.stagedOid;
        if (!happened) journal.places.forEach(putBack);
        await dropDatabase(client, happened ? REPLACED_DATABASE : STAGING_DATABASE);
      }),
    );
  }
  journal.places.forEach(discard);
  if (!happened) {
    removeEmptyFolders(journal.madeFolders);
    if (journal.madeCluster) rmSync(data, { recursive: true, force: true });
  }
  removeJournal(paths.restoreJournal);
  return happened ? "completed" : "undone";
}
