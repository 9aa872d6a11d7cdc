import { createHash } from "node:crypto";
import { chmodSync, existsSync, lstatSync, mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { UserError } from "../../kit/user-error.ts";

/** A socket's path must fit into sun_path: 104 bytes on macOS, 108 on Linux, with its closing zero. */
const LONGEST_SOCKET_PATH = 100;
const SOCKET_NAME = ".s.PGSQL.5432";

/**
 * Where the socket goes: inside the home while its path is short enough, else a 0700 folder of this user, named by the
 * home's hash so that two homes never meet.
 */
export function chooseSocketDir(folder: string, runtimeDir?: string): string {
  const own = join(folder, "socket");
  if (fits(own)) return own;
  const name = `leoflow-${process.getuid?.() ?? 0}-${createHash("sha256").update(folder).digest("hex").slice(0, 12)}`;
  const usable = [runtimeDir, tmpdir(), "/tmp"]
    .filter((base) => base !== undefined)
    .find((base) => fits(join(base, name)) && existsSync(base));
  return join(usable ?? "/tmp", name);
}

function fits(socketDir: string): boolean {
  return Buffer.byteLength(join(socketDir, SOCKET_NAME)) <= LONGEST_SOCKET_PATH;
}

/** /tmp is everyone's: a folder or link that someone else put there must not receive our socket. */
export function makeSocketDir(socketDir: string, allowedOwners: readonly number[]): void {
  mkdirSync(socketDir, { recursive: true, mode: 0o700 });
  const found = lstatSync(socketDir);
  if (!found.isDirectory() || !allowedOwners.includes(found.uid)) {
    throw new UserError(`${socketDir} is needed for PostgreSQL's socket but belongs to someone else`, {
      fix: "remove it, or set LEOFLOW_HOME to a shorter path",
    });
  }
  if ((found.mode & 0o777) !== 0o700) chmodSync(socketDir, 0o700);
}
