import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { timestamp } from "../backup/backup-name.ts";
import { createBackup } from "../backup/create-backup.ts";
import type { DatabaseConfig } from "../store/database.ts";
import type { LeoflowPaths } from "./paths.ts";

/** So many of a kind stay. */
const KEPT = 3;
const NAME = /^\d{4}-\d\d-\d\dT\d{6}Z-(.+)\.tar\.gz$/;

export interface SnapshotOptions {
  paths: LeoflowPaths;
  database: DatabaseConfig;
  bin: string;
  detail: (text: string) => void;
  signal?: AbortSignal | undefined;
}

/** Writes an archive of what a home has among its snapshots, under a name that ends in `kind`. */
export async function writeSnapshot(
  { paths, database, bin, detail, signal }: SnapshotOptions,
  what: { kind: string; workspace?: string; skipUnreadable?: boolean },
): Promise<{ file: string; bytes: number }> {
  const ifThere = (path: string | undefined) => (path !== undefined && existsSync(path) ? path : undefined);
  mkdirSync(paths.snapshots, { recursive: true, mode: 0o700 });
  const file = freeName(paths.snapshots, what.kind);
  const { bytes } = await createBackup({
    file,
    datastore: { database, bin },
    config: ifThere(paths.config),
    setup: ifThere(paths.setup),
    workspace: ifThere(what.workspace),
    versions: ifThere(paths.versions),
    home: paths.home,
    skipUnreadable: what.skipUnreadable,
    progress: detail,
    signal,
  });
  return { file, bytes };
}

/** Paths of the snapshots of a kind, newest first. */
export function snapshotsOf(paths: LeoflowPaths, kind: RegExp): string[] {
  if (!existsSync(paths.snapshots)) return [];
  return readdirSync(paths.snapshots)
    .filter((name) => kind.test(NAME.exec(name)?.[1] ?? ""))
    .sort()
    .reverse()
    .map((name) => join(paths.snapshots, name));
}

/** Removes all of a kind but the last three, never the one just written (the clock may have been ahead when others were). */
export function removeOlder(paths: LeoflowPaths, kind: RegExp, written: string, spared?: string): void {
  const others = snapshotsOf(paths, kind).filter((file) => file !== written);
  for (const old of others.slice(KEPT - 1)) if (old !== spared) rmSync(old, { force: true });
}

function freeName(folder: string, kind: string): string {
  for (let at = Date.now(); ; at += 1000) {
    const file = join(folder, `${timestamp(new Date(at))}-${kind}.tar.gz`);
    if (!existsSync(file)) return file;
  }
}
