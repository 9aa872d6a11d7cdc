import { spawn } from "node:child_process";
import { once } from "node:events";
import { childEnvironment } from "../kit/config.ts";
import { UserError } from "../kit/user-error.ts";
import type { DatabaseConfig } from "../store/database.ts";
import { connectionEnvironment } from "./pg-dump.ts";

const KEPT_ERRORS = 8 * 1024;

export interface ReplayOptions {
  /** Sent to the database so far. */
  onBytes?: ((bytes: number) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * Replays a dump into a database with psql, in one transaction that the first error ends. Throws UserError with psql's words.
 * Only for a database that nobody uses: a caller that is killed in the middle leaves a part.
 */
export async function replayWithPsql(
  psql: string,
  database: DatabaseConfig,
  dump: AsyncIterable<Buffer>,
  { onBytes, signal }: ReplayOptions = {},
): Promise<void> {
  signal?.throwIfAborted();
  const child = spawn(
    psql,
    ["--no-psqlrc", "--quiet", "--no-password", "--single-transaction", "--set=ON_ERROR_STOP=1", "--file=-"],
    {
      stdio: ["pipe", "ignore", "pipe"],
      env: childEnvironment(connectionEnvironment(database)),
      // Its own session: a Ctrl-C at the terminal is for us alone.
      detached: true,
    },
  );
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (errors = (errors + text).slice(-KEPT_ERRORS)));
  let failure: string | undefined;
  const ended = new Promise<void>((done) => {
    child.once("error", (error) => {
      failure = error.message;
      done();
    });
    child.once("close", (code, by) => {
      if (code !== 0) failure ??= by ?? `exit code ${code}`;
      done();
    });
  });
  // psql that has stopped reading says why on stderr.
  let open = true;
  child.stdin.on("error", () => (open = false));
  const stop = () => child.kill("SIGKILL");
  signal?.addEventListener("abort", stop);
  try {
    let bytes = 0;
    for await (const chunk of dump) {
      if (!open || failure !== undefined) break;
      if (!child.stdin.write(chunk)) await Promise.race([once(child.stdin, "drain").catch(() => undefined), ended]);
      bytes += chunk.length;
      onBytes?.(bytes);
    }
    child.stdin.end();
    await ended;
  } catch (error) {
    stop();
    await ended;
    throw error;
  } finally {
    signal?.removeEventListener("abort", stop);
  }
  signal?.throwIfAborted();
  if (failure !== undefined) throw replayError(errors.trim() || failure);
}

/** What a database says against a dump. */
export function replayError(reason: string): UserError {
  if (/No space left on device|could not extend file|Disk quota exceeded/.test(reason)) {
    return new UserError("the disk became full while the datastore was restored; nothing was changed", {
      fix: "free some space and run the same command again",
    });
  }
  const lines = reason.split("\n").slice(-6).join("\n");
  return new UserError(`the datastore cannot be restored: ${lines}`, {
    fix: "use another backup; nothing was changed",
  });
}
