import { randomBytes } from "node:crypto";
import { lstatSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";

/** A process number can be somebody else's by now: what nobody has written to for a day is left behind in any case. */
const ABANDONED_MS = 24 * 60 * 60 * 1000;
const PATTERN = /^\.leoflow-backup-(\d+)-[0-9a-f]{12}$/;

/** A name for something unfinished; it tells whose it is. */
export function unfinishedPath(folder: string): string {
  return join(folder, `.leoflow-backup-${process.pid}-${randomBytes(6).toString("hex")}`);
}

/** Whether a name is that of something unfinished. */
export function isUnfinished(name: string): boolean {
  return PATTERN.test(name);
}

/** Removes from a folder what backups left there that were killed, as far as it can. */
export function removeLeftBehind(folder: string): void {
  for (const name of namesIn(folder)) {
    const pid = Number(PATTERN.exec(name)?.[1]);
    if (!pid) continue;
    const path = join(folder, name);
    const age = Date.now() - (lstatSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0);
    if (pid === process.pid || (isAlive(pid) && age < ABANDONED_MS)) continue;
    try {
      rmSync(path, { recursive: true, force: true });
    } catch {
      // somebody else's, in a shared folder
    }
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    // A folder that can be written and not listed.
    return [];
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
