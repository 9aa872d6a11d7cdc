import { accessSync, constants, mkdirSync, statfsSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { UserError } from "../kit/user-error.ts";

const MIB = 1024 * 1024;

/** Asked before the heavy work, so that a taken port costs a second and not a minute. */
export function checkPort(port: number, host: string): Promise<void> {
  return new Promise((free, fail) => {
    const probe = createServer();
    probe.once("error", (error: NodeJS.ErrnoException) => fail(portError(port, host, error)));
    probe.listen({ port, host, exclusive: true }, () => probe.close(() => free()));
  });
}

/** What an error of listen() means to a user. */
export function portError(port: number, host: string, error: NodeJS.ErrnoException): UserError {
  switch (error.code) {
    case "EADDRINUSE":
      return new UserError(`port ${port} is taken by another program`, {
        fix: `stop that program, or choose another port: \`leoflow lite --port ${port === 65535 ? 8089 : port + 1}\``,
        cause: error,
      });
    case "EACCES":
      return new UserError(`port ${port} needs more rights than you have`, {
        fix: "choose one above 1023: `leoflow lite --port 8088`",
        cause: error,
      });
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return new UserError(`${host} is not an address of this machine`, {
        fix: "use `--host 127.0.0.1` or `--host 0.0.0.0`",
        cause: error,
      });
    default:
      return new UserError(`cannot listen on ${host}:${port}: ${error.message}`, { cause: error });
  }
}

/** Makes the workspace where it is missing; it must be a folder that can be read and listed. */
export function checkWorkspace(workspace: string): void {
  try {
    mkdirSync(workspace, { recursive: true });
    if (!statSync(workspace).isDirectory()) throw new Error("it is not a folder");
    accessSync(workspace, constants.R_OK | constants.X_OK);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    const reason =
      code === "EEXIST" || code === "ENOTDIR"
        ? "it is not a folder"
        : code === "EACCES"
          ? "permission denied"
          : undefined;
    throw new UserError(`cannot read the workspace ${workspace}: ${reason ?? (error as Error).message}`, {
      fix: "make it readable for you, or choose another with `leoflow lite --workspace DIR` or `workspace:` in config.yaml",
      cause: error,
    });
  }
}

/** A first start writes about 450 MB; later PostgreSQL needs room for its journal, or it stops in the middle of work. */
export function checkDiskSpace(folder: string, firstStart: boolean): void {
  const stats = statfsSync(folder);
  const free = stats.bavail * stats.bsize;
  const needed = (firstStart ? 700 : 64) * MIB;
  if (free >= needed) return;
  throw new UserError(`the disk is full: ${Math.floor(free / MIB)} MB are left where ${folder} is`, {
    fix: `free some space, ${needed / MIB} MB are needed${firstStart ? " for a first start" : ""}; or set LEOFLOW_HOME to another disk`,
  });
}
