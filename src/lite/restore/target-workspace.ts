import { accessSync, constants, existsSync, realpathSync, statSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import type { BackupManifest } from "../../backup/manifest.ts";
import { UserError } from "../../kit/user-error.ts";

/** Where things were on the machine of the backup, and where they are to be on this one. */
export interface Move {
  fromHome: string;
  toHome: string;
  /** The user's own home folder there, as far as its place tells. */
  fromUserHome: string | undefined;
  toUserHome: string;
}

export function movesOf(manifest: BackupManifest, home: string, userHome: string): Move {
  return { fromHome: manifest.home, toHome: home, fromUserHome: userHomeOf(manifest), toUserHome: userHome };
}

/** A path of the other machine on this one; what is in neither of the two homes stays. */
export function movedPath(path: string, { fromHome, toHome, fromUserHome, toUserHome }: Move): string {
  const inHome = below(fromHome, path);
  if (inHome !== undefined) return join(toHome, inHome);
  const inUserHome = fromUserHome === undefined ? undefined : below(fromUserHome, path);
  return inUserHome === undefined ? path : join(toUserHome, inUserHome);
}

/** Where the archive's workspace goes: its old place, with the homes exchanged; else the default. */
export function targetWorkspace(manifest: BackupManifest, move: Move): { workspace: string; note?: string } {
  const fallback = join(move.toUserHome, "leoflow");
  if (manifest.workspace === undefined) return { workspace: fallback };
  const workspace = movedPath(manifest.workspace, move);
  if (canBeFolder(workspace)) return { workspace };
  const note = `${workspace} cannot be written on this machine; the workspace goes to ${fallback}`;
  return { workspace: fallback, note };
}

/** A restore exchanges all that is in a workspace: Leoflow's own home and a user's must not be in it. */
export function refuseDangerousWorkspace(workspace: string, homes: readonly string[]): void {
  const target = real(workspace);
  const inside = homes.find((home) => below(target, real(home)) !== undefined);
  if (inside === undefined) return;
  throw new UserError(
    `refusing: the workspace ${workspace} is, or holds, ${inside}, and a restore replaces all in it`,
    {
      fix: "choose another folder with `--workspace DIR`",
    },
  );
}

/** Of a workspace that the user has named. */
export function refuseNoFolder(workspace: string): void {
  if (canBeFolder(workspace)) return;
  throw new UserError(`refusing: the workspace ${workspace} is no folder that you can write into`, {
    fix: "choose another folder with `--workspace DIR`",
  });
}

/** The path relative to `folder`; undefined where it is not in it. */
export function below(folder: string, path: string): string | undefined {
  const found = relative(folder, path);
  return found === ".." || found.startsWith("../") || resolve("/", found) === found ? undefined : found;
}

/** As a user writes it: `~/.leoflow`. */
export function tildePath(path: string, userHome: string): string {
  const found = below(userHome, path);
  return found === undefined || found === "" ? path : `~/${found}`;
}

function userHomeOf({ home, workspace }: BackupManifest): string | undefined {
  if (home.endsWith("/.leoflow")) return dirname(home);
  for (const path of [home, workspace ?? ""]) {
    const found = /^(\/home\/[^/]+|\/Users\/[^/]+|\/root)(?=\/|$)/.exec(path);
    if (found) return found[0];
  }
  return undefined;
}

function canBeFolder(path: string): boolean {
  let existing = path;
  while (!existsSync(existing) && existing !== dirname(existing)) existing = dirname(existing);
  try {
    accessSync(existing, constants.W_OK | constants.X_OK);
    return statSync(existing).isDirectory();
  } catch {
    return false;
  }
}

/** Through links, as far as the path exists. */
function real(path: string): string {
  return existsSync(path) ? realpathSync(path) : join(real(dirname(path)), relative(dirname(path), path));
}
