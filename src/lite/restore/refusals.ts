import { existsSync, realpathSync, statfsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import type { VerifiedArchive } from "../../backup/archive.ts";
import { formatBytes } from "../../kit/bytes.ts";
import { UserError } from "../../kit/user-error.ts";
import type { LeoflowPaths } from "../paths.ts";

/** PostgreSQL's files for a dump of one byte: measured 1.6 on task instances, with room for its journal. */
const DATABASE_PER_DUMP = 2.2;
/** What PostgreSQL and the rest need to go on working. */
const RESERVE = 64 * 1024 * 1024;

/** What somebody has made and a restore would replace. */
export interface AtStake {
  /** Runs, variables, connections and the like. */
  rows: boolean;
  /** Files in the folder that will be the workspace. */
  files: boolean;
}

/** `home` as it is shown: `~/.leoflow`. */
export function refuseOverwriting(atStake: AtStake, home: string, workspace: string | undefined): void {
  if (atStake.rows) {
    throw new UserError(
      `refusing: restore would overwrite an existing install at ${home}; pass --force to confirm, or move/back-up the existing install first`,
      { fix: "run the same command with --force: what is there is saved to an archive first" },
    );
  }
  if (atStake.files) {
    throw new UserError(
      `refusing: restore would overwrite the files in the workspace ${workspace}; pass --force to confirm, or move them away first`,
      {
        fix: "run the same command with --force: they are saved to an archive first; or choose another folder with `--workspace DIR`",
      },
    );
  }
}

/** A folder that is named by the archive alone, and holds files that no Leoflow of this home has had, is somebody else's. */
export function refuseForeignFolder(workspace: string, own: readonly (string | undefined)[]): void {
  const same = (path: string | undefined) =>
    path !== undefined && existsSync(path) && realpathSync(path) === realpathSync(workspace);
  if (own.some(same)) return;
  throw new UserError(`refusing: ${workspace} is not empty and is not this installation's workspace`, {
    fix: `choose another folder with \`--workspace DIR\`, or confirm with \`--workspace ${workspace} --force\` that it is to be replaced`,
  });
}

/** A database that does not start is what a backup is for: how to go on without it. */
export function withWayPast(error: unknown, { managedPostgres }: LeoflowPaths): unknown {
  if (!(error instanceof UserError)) return error;
  const data = join(managedPostgres, "data");
  const past = `\`mv ${data} ${data}.damaged\` and the same command again restore without it`;
  return new UserError(error.message, { fix: error.fix ? `${error.fix}; ${past}` : past, cause: error });
}

/** An empty PostgreSQL and the least of its journal. */
const NEW_CLUSTER = 110 * 1024 * 1024;

/** Old and new are on the disk at the same time. Throws UserError before anything is written. */
export function checkRestoreSpace(
  verified: VerifiedArchive,
  { home, workspace, newCluster }: { home: string; workspace: string | undefined; newCluster: boolean },
): void {
  const workspaceBytes = Object.entries(verified.manifest.entries)
    .filter(([name]) => name.startsWith("workspace/"))
    .reduce((sum, [, { size }]) => sum + size, 0);
  const needed = new Map<number, { folder: string; bytes: number }>();
  const need = (folder: string, bytes: number) => {
    const existing = existingParent(folder);
    const disk = diskOf(existing);
    needed.set(disk.id, { folder: existing, bytes: (needed.get(disk.id)?.bytes ?? 0) + bytes });
  };
  const others = verified.totalBytes - workspaceBytes - verified.datastoreBytes;
  need(home, verified.datastoreBytes * DATABASE_PER_DUMP + others + RESERVE + (newCluster ? NEW_CLUSTER : 0));
  if (workspace !== undefined) need(workspace, workspaceBytes);
  for (const { folder, bytes } of needed.values()) {
    const { free } = diskOf(folder);
    if (free >= bytes) continue;
    throw new UserError(
      `not enough space where ${folder} is: a restore needs about ${formatBytes(bytes)} beside what is there, ${formatBytes(free)} are left`,
      { fix: "free some space and run the same command again; nothing was changed" },
    );
  }
}

function diskOf(folder: string): { id: number; free: number } {
  const stats = statfsSync(folder);
  return { id: statSync(folder).dev, free: stats.bavail * stats.bsize };
}

function existingParent(path: string): string {
  return existsSync(path) ? path : existingParent(dirname(path));
}
