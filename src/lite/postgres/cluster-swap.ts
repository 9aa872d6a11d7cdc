import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";

/**
 * How a new cluster takes the old one's place. `data` is the one in use; names beside it:
 *   data.upgrade-*   a new cluster in the making; complete, and only then put into place, once it holds the note
 *   data.old-<major> the cluster that it replaces
 * The note stays in the new cluster until that has started for the first time; the old cluster goes with the start after that.
 */
const NOTE = "leoflow-upgrade.json";
const OLD = /^data\.old-(\d+)$/;
const UNFINISHED = /^(data\.(upgrade|failed)-|\.guardian-data\.upgrade-)/;

interface Note {
  /** Major version of the cluster it was made from. */
  from: string;
}

/** Declares a cluster complete. */
export function writeNote(cluster: string, note: Note): void {
  const file = join(cluster, NOTE);
  writeFileSync(file, JSON.stringify(note), { mode: 0o600, flush: true });
  syncFolder(cluster);
}

/** From which major version the cluster in use was made, where it has not started yet. */
export function unprovenFrom(folder: string): string | undefined {
  return readNote(join(folder, "data"))?.from;
}

export function removeNote(folder: string): void {
  rmSync(join(folder, "data", NOTE), { force: true });
}

/** Two renames; `finishSwap` ends what is cut short between them. */
export function swapIn(folder: string, fresh: string, oldMajor: string): void {
  renameSync(join(folder, "data"), join(folder, `data.old-${oldMajor}`));
  renameSync(fresh, join(folder, "data"));
  syncFolder(folder);
}

/** Puts the old cluster back in the place of one that does not start. */
export function swapBack(folder: string, oldMajor: string): void {
  renameSync(join(folder, "data"), join(folder, `data.failed-${process.pid}-${Date.now()}`));
  renameSync(join(folder, `data.old-${oldMajor}`), join(folder, "data"));
  syncFolder(folder);
}

/** Leaves a cluster in place whatever was cut short, and nothing unfinished. The caller holds the home's lock. */
export function finishSwap(folder: string): void {
  if (!existsSync(folder)) return;
  const names = readdirSync(folder);
  const unfinished = names.filter((name) => UNFINISHED.test(name)).map((name) => join(folder, name));
  if (!existsSync(join(folder, "data"))) {
    const [old] = names.filter((name) => OLD.test(name));
    if (old === undefined) return;
    const complete = unfinished.find((path) => path.includes("/data.upgrade-") && readNote(path) !== undefined);
    renameSync(complete ?? join(folder, old), join(folder, "data"));
    syncFolder(folder);
  }
  for (const path of unfinished) rmSync(path, { recursive: true, force: true, maxRetries: 3 });
}

/** Removes the cluster that was replaced, after its successor has started more than once. Returns the majors still kept. */
export async function removeOldClusters(folder: string): Promise<void> {
  for (const name of readdirSync(folder).filter((each) => OLD.test(each))) {
    await rm(join(folder, name), { recursive: true, force: true, maxRetries: 3 });
  }
}

/** Majors of clusters that are kept. */
export function oldMajors(folder: string): string[] {
  return readdirSync(folder)
    .map((name) => OLD.exec(name)?.[1])
    .filter((major) => major !== undefined);
}

function readNote(cluster: string): Note | undefined {
  try {
    return JSON.parse(readFileSync(join(cluster, NOTE), "utf8")) as Note;
  } catch {
    return undefined;
  }
}

function syncFolder(folder: string): void {
  const handle = openSync(folder, "r");
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}
