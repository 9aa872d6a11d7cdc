import { spawn } from "node:child_process";
import { join } from "node:path";
import { childEnvironment } from "../kit/config.ts";
import { UserError } from "../kit/user-error.ts";
import type { DatabaseConfig } from "../store/database.ts";

const KEPT_ERRORS = 8 * 1024;

/** How PostgreSQL's own programs reach a database: all in the environment, where no list of processes shows it. */
export function connectionEnvironment(database: DatabaseConfig): Record<string, string | undefined> {
  return {
    PGHOST: database.host,
    PGPORT: String(database.port),
    PGUSER: database.user,
    PGPASSWORD: database.password,
    PGDATABASE: database.database,
    PGCLIENTENCODING: "UTF8",
    // Nothing of the user's own settings.
    ...Object.fromEntries(
      ["PGOPTIONS", "PGSERVICE", "PGSERVICEFILE", "PGPASSFILE", "PGHOSTADDR", "PGSSLMODE", "PGDATA", "PGTZ"].map(
        (name) => [name, undefined],
      ),
    ),
    LC_ALL: "C",
    LANG: "C",
  };
}

/** The database as SQL text that makes it anew, as it is in the exported snapshot. Throws UserError where pg_dump fails. */
export async function* pgDump(
  bin: string,
  database: DatabaseConfig,
  options: { snapshot?: string | undefined; signal?: AbortSignal | undefined } = {},
): AsyncGenerator<Buffer> {
  options.signal?.throwIfAborted();
  const child = spawn(
    join(bin, "pg_dump"),
    [
      ...["--clean", "--if-exists", "--no-owner", "--no-privileges", "--format=plain", "--no-password"],
      ...(options.snapshot ? [`--snapshot=${options.snapshot}`] : []),
    ],
    {
      stdio: ["ignore", "pipe", "pipe"],
      env: childEnvironment(connectionEnvironment(database)),
      signal: options.signal,
    },
  );
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (errors = (errors + text).slice(-KEPT_ERRORS)));
  const ended = new Promise<string | undefined>((done) => {
    child.once("error", (error) => done(error.message));
    child.once("close", (code, signal) => done(code === 0 ? undefined : (signal ?? `exit code ${code}`)));
  });
  try {
    for await (const chunk of child.stdout) yield chunk as Buffer;
    const failure = await ended;
    options.signal?.throwIfAborted();
    if (failure === undefined) return;
    const lines = errors.trim().split("\n").slice(-6).join("\n");
    throw new UserError(`pg_dump failed: ${lines || failure}`, {
      fix: "is the database up? `leoflow lite` starts it; its log is managed-postgres/postgres.log in Leoflow's home",
    });
  } finally {
    // Where the reader stopped in the middle, so does the program.
    child.kill("SIGKILL");
    await ended;
  }
}
