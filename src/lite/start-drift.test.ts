import { createHash } from "node:crypto";
import {
  appendFileSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import pg from "pg";
import { pino } from "pino";
import { afterEach, beforeEach, expect, it } from "vitest";
import { createHome } from "../../test/support/home.ts";
import { readEnvironment } from "../kit/config.ts";
import { UserError } from "../kit/user-error.ts";
import { loadMigrations } from "../store/migrations.ts";
import { startingPostgres } from "./datastore.ts";
import type { LeoflowPaths } from "./paths.ts";
import { silentProgress } from "./progress.ts";
import { startLite, type RunningLite } from "./start.ts";

const newest = loadMigrations().at(-1)?.version ?? 0;

let paths: LeoflowPaths;
let remove: () => void;
beforeEach(() => ({ paths, remove } = createHome()));
afterEach(() => remove());

function start(workspace: string): Promise<RunningLite> {
  return startLite({
    environment: readEnvironment({ HOME: dirname(paths.home), LEOFLOW_HOME: paths.home, PATH: "/usr/bin:/bin" }),
    port: 8000 + (process.pid % 20000),
    workspace,
    startControlPlane: async () => ({ url: "", stop: async () => undefined }),
    progress: silentProgress,
    onWarning: () => undefined,
    onFailure: (error) => {
      throw error;
    },
    signal: new AbortController().signal,
  });
}

/** Every file of the home and beside it, but for what PostgreSQL itself writes, and logs. */
function fingerprint(): Record<string, string> {
  const root = dirname(paths.home);
  const found: Record<string, string> = {};
  const visit = (folder: string): void => {
    for (const name of readdirSync(folder)) {
      const path = join(folder, name);
      if ([join(paths.managedPostgres, "data"), paths.logs].includes(path)) continue;
      if (path.startsWith(join(paths.managedPostgres, "postgres.log"))) continue;
      const stats = lstatSync(path);
      const facts = `${stats.mode} ${stats.mtimeMs}`;
      if (stats.isSymbolicLink()) found[path] = `${facts} ${readlinkSync(path)}`;
      else if (stats.isDirectory()) {
        found[path] = String(stats.mode);
        visit(path);
      } else found[path] = `${facts} ${createHash("sha256").update(readFileSync(path)).digest("hex")}`;
    }
  };
  visit(root);
  return found;
}

/** Every row of every table, and what the tables are. */
async function rows(change?: string): Promise<string> {
  const options = { paths, logger: pino({ level: "silent" }), progress: silentProgress, runtimeDir: undefined };
  return startingPostgres(options, async ({ database }) => {
    const client = new pg.Client(database);
    await client.connect();
    if (change) await client.query(change);
    const tables = await client.query<{ relname: string }>(
      "select relname, relnatts, relfilenode from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace order by oid",
    );
    const all: unknown[] = [tables.rows];
    for (const { relname } of tables.rows) all.push((await client.query(`table "${relname}"`)).rows);
    await client.end();
    return JSON.stringify(all);
  });
}

async function refused(workspace: string): Promise<UserError> {
  const error: unknown = await start(workspace).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(UserError);
  return error as UserError;
}

it("D1, D4, D5: refuses a newer or dirty schema before any file or row is written", async () => {
  const before = join(dirname(paths.home), "before");
  await (await start(before)).stop();
  // What a start would otherwise put right: keys that the file lacks, a venv that was cut short, a workspace to make and fill.
  writeFileSync(paths.config, readFileSync(paths.config, "utf8").replace(/^(admin_email|jwt_secret): .*\n/gm, ""));
  appendFileSync(paths.config, "# mine\n");
  const venv = readlinkSync(paths.venv);
  rmSync(paths.venv);
  mkdirSync(paths.venv);
  writeFileSync(join(paths.venv, ".leoflow-deps"), "{}");
  const empty = join(dirname(paths.home), "empty");
  mkdirSync(empty);
  const missing = join(dirname(paths.home), "missing");

  const insert = "insert into schema_migrations (version, name, dirty) values";
  for (const [change, message] of [
    [
      `${insert} (9001, 'later', false)`,
      `database is at schema version 9001 but this binary only knows up to ${newest}; an older \`leoflow\` is being run against a newer database. Upgrade the binary, or run \`leoflow uninstall --purge\` to start over (this WIPES your data)`,
    ],
    [
      "update schema_migrations set dirty = true where version = 9001",
      "database schema is marked dirty at version 9001 (a prior migration was interrupted); run `leoflow uninstall --purge` to reset, or fix manually with `migrate force` if you know what you are doing",
    ],
  ] as const) {
    const rowsBefore = await rows(change);
    const filesBefore = fingerprint();
    for (const workspace of [empty, missing]) expect((await refused(workspace)).message).toBe(message);
    expect(fingerprint()).toEqual(filesBefore);
    expect(await rows()).toBe(rowsBefore);
  }

  await rows("delete from schema_migrations where version = 9001");
  rmSync(paths.venv, { recursive: true });
  symlinkSync(venv, paths.venv);
  await (await start(empty)).stop();
  expect(readFileSync(paths.config, "utf8")).toContain("admin_email");
  expect(readdirSync(empty)).toContain("hello_leoflow.py");
});
