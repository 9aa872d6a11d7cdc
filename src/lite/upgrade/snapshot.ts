import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { verifyArchive } from "../../backup/archive.ts";
import { createBackup } from "../../backup/create-backup.ts";
import type { DatabaseConfig } from "../../store/database.ts";
import type { LeoflowPaths } from "../paths.ts";

const KEPT = 3;
const NAME = /^\d{4}-\d{2}-\d{2}T\d{6}Z-schema-\d+\.tar\.gz$/;

export interface SnapshotOptions {
  paths: LeoflowPaths;
  database: DatabaseConfig;
  bin: string;
  /** The schema version it holds. */
  from: number;
  detail: (text: string) => void;
  signal?: AbortSignal | undefined;
}

/**
 * An archive of all but the workspace, which an upgrade does not touch, read once more after it was written. Older ones go only
 * when it is whole. Returns its path.
 */
export async function makeSnapshot(options: SnapshotOptions): Promise<{ file: string; bytes: number }> {
  const { paths, database, bin, detail, signal } = options;
  const ifThere = (path: string) => (existsSync(path) ? path : undefined);
  mkdirSync(paths.snapshots, { recursive: true, mode: 0o700 });
  const file = freeName(paths.snapshots, options.from);
  const { bytes } = await createBackup({
    file,
    datastore: { database, bin },
    config: ifThere(paths.config),
    setup: ifThere(paths.setup),
    workspace: undefined,
    versions: ifThere(paths.versions),
    home: paths.home,
    progress: detail,
    ...(signal ? { signal } : {}),
  });
  try {
    detail("reading it once more");
    await verifyArchive(file, signal ? { signal } : {});
  } catch (error) {
    rmSync(file, { force: true });
    throw error;
  }
  // Not this one, should the clock have been ahead when the others were made.
  const others = listSnapshots(paths).filter((other) => other !== file);
  for (const old of others.slice(KEPT - 1)) rmSync(old, { force: true });
  return { file, bytes };
}

/** Paths of the snapshots there are, newest first. */
export function listSnapshots(paths: LeoflowPaths): string[] {
  if (!existsSync(paths.snapshots)) return [];
  const names = readdirSync(paths.snapshots).filter((name) => NAME.test(name));
  return names
    .sort()
    .reverse()
    .map((name) => join(paths.snapshots, name));
}

function freeName(folder: string, from: number): string {
  for (let at = Date.now(); ; at += 1000) {
    const time = `${new Date(at).toISOString().slice(0, 19).replaceAll(":", "")}Z`;
    const file = join(folder, `${time}-schema-${from}.tar.gz`);
    if (!existsSync(file)) return file;
  }
}
