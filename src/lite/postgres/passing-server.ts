import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { commandError, runCommand } from "../command.ts";
import type { Identity } from "./identity.ts";
import { POSTGRES_ENVIRONMENT } from "./init-cluster.ts";

export interface PassingServerOptions {
  identity: Identity;
  bin: string;
  /** Where its log goes while it runs. */
  folder: string;
  data: string;
  socketDir: string;
  port: number;
  signal?: AbortSignal | undefined;
}

/** Runs a cluster of any version for a piece of work, with the settings it has, and shuts it down in order. */
export async function withServer<T>(options: PassingServerOptions, work: () => Promise<T>): Promise<T> {
  const { identity, bin, folder, data, socketDir, port, signal } = options;
  // A folder of the identity's own: elsewhere it may not make a file.
  const logs = join(folder, `server-${port}`);
  rmSync(logs, { recursive: true, force: true });
  mkdirSync(logs, { mode: 0o700 });
  identity.give(logs);
  const control = (...args: string[]) =>
    runCommand(identity.wrap([join(bin, "pg_ctl"), "-D", data, "-w", "-t", "600", ...args]), {
      env: POSTGRES_ENVIRONMENT,
      cwd: folder,
    });
  try {
    signal?.throwIfAborted();
    const settings = `-k '${socketDir}' -p ${port} -c listen_addresses=''`;
    const started = await control("-l", join(logs, "log"), "-o", settings, "start");
    if (started.code !== 0) throw commandError({ doing: `start the PostgreSQL of ${data}` }, started);
    try {
      return await work();
    } finally {
      const stopped = await control("-m", "fast", "stop");
      if (stopped.code !== 0 && !signal?.aborted)
        throw commandError({ doing: `stop the PostgreSQL of ${data}` }, stopped);
    }
  } finally {
    rmSync(logs, { recursive: true, force: true, maxRetries: 3 });
  }
}
