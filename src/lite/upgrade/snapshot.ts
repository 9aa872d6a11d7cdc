import { rmSync } from "node:fs";
import { verifyArchive } from "../../backup/archive.ts";
import type { LeoflowPaths } from "../paths.ts";
import { removeOlder, snapshotsOf, writeSnapshot, type SnapshotOptions } from "../snapshots.ts";

const KIND = /^schema-\d+$/;

/**
 * An archive of all but the workspace, which an upgrade does not touch, read once more after it was written. Older ones go only
 * when it is whole. `from` is the schema version it holds.
 */
export async function makeSnapshot(
  options: SnapshotOptions & { from: number },
): Promise<{ file: string; bytes: number }> {
  const { paths, detail, signal } = options;
  const snapshot = await writeSnapshot(options, { kind: `schema-${options.from}` });
  try {
    detail("reading it once more");
    await verifyArchive(snapshot.file, { signal });
  } catch (error) {
    rmSync(snapshot.file, { force: true });
    throw error;
  }
  removeOlder(paths, KIND, snapshot.file);
  return snapshot;
}

/** Paths of the snapshots there are, newest first. */
export function listSnapshots(paths: LeoflowPaths): string[] {
  return snapshotsOf(paths, KIND);
}
