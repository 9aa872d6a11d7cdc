import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { timestamp } from "../../backup/backup-name.ts";
import { createBackup } from "../../backup/create-backup.ts";
import type { DatabaseConfig } from "../../store/database.ts";
import type { LeoflowPaths } from "../paths.ts";

const KEPT = 3;
const NAME = /^\d{4}-\d\d-\d\dT\d{6}Z-before-restore\.tar\.gz$/;

export interface SaveOptions {
  paths: LeoflowPaths;
  database: DatabaseConfig;
  bin: string;
  /** The folder whose content will be replaced. */
  workspace: string;
  /** The archive that is being restored, which may be one of these. */
  restoring: string;
  detail: (text: string) => void;
  signal: AbortSignal | undefined;
}

/** Writes the whole installation, as it is before a restore, into an archive among the snapshots; the last three stay. */
export async function saveReplaced(options: SaveOptions): Promise<string> {
  const { paths, database, bin, workspace, restoring, detail, signal } = options;
  const ifThere = (path: string) => (existsSync(path) ? path : undefined);
  mkdirSync(paths.snapshots, { recursive: true, mode: 0o700 });
  const file = freeName(paths.snapshots);
  await createBackup({
    file,
    datastore: { database, bin },
    config: ifThere(paths.config),
    setup: ifThere(paths.setup),
    workspace: ifThere(workspace),
    versions: ifThere(paths.versions),
    home: paths.home,
    skipUnreadable: true,
    progress: detail,
    signal,
  });
  // Neither this one, should the clock have been ahead when the others were made, nor the one that is about to be read.
  const others = readdirSync(paths.snapshots).filter((name) => NAME.test(name) && join(paths.snapshots, name) !== file);
  for (const name of others
    .sort()
    .reverse()
    .slice(KEPT - 1)) {
    if (join(paths.snapshots, name) !== restoring) rmSync(join(paths.snapshots, name), { force: true });
  }
  return file;
}

function freeName(folder: string): string {
  for (let at = Date.now(); ; at += 1000) {
    const file = join(folder, `${timestamp(new Date(at))}-before-restore.tar.gz`);
    if (!existsSync(file)) return file;
  }
}
