import { execFile, execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { craftArchive } from "../../test/support/craft-archive.ts";
import { createTestDatabase, type TestDatabase } from "../../test/support/database.ts";
import { tree } from "../../test/support/installation.ts";
import { bundleProgram, type BundledProgram } from "../../test/support/run-typescript.ts";
import { startTcpPostgres, type TcpPostgres } from "../../test/support/tcp-postgres.ts";
import { createBackup } from "./create-backup.ts";
import { restoreExternally, type ExternalRestoreOptions } from "./external-restore.ts";
import { connectionEnvironment } from "./pg-dump.ts";
import { replayDump } from "./replay-dump.ts";
import { withClient } from "./staging-database.ts";

const bin = inject("postgresBin");
let folder: string;
let server: TcpPostgres;
let source: TestDatabase;
let archive: string;
/** What COPY has to write in a way of its own. */
const ODD = ["\\.", "a\tb\nc\\d\r\n\\.\n", "", "€ 𝄞 \u0001", "'; drop table dag; --", `long ${"x".repeat(300_000)}`];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "leoflow-server-"));
  [server, source] = await Promise.all([startTcpPostgres(bin), createTestDatabase()]);
  for (const [index, text] of ODD.entries()) {
    await source.pool.query("insert into variable (key, val, description) values ($1, $2, null)", [`v${index}`, text]);
  }
  await source.pool.query(
    "insert into dag (dag_id, fileloc, relative_fileloc, max_active_tasks) values ('d', '/old/leoflow/d.py', 'd.py', 16)",
  );
  const home = join(folder, ".leoflow");
  const workspace = join(folder, "leoflow");
  mkdirSync(join(workspace, "empty"), { recursive: true });
  mkdirSync(home);
  writeFileSync(join(workspace, "d.py"), "# d\n", { mode: 0o755 });
  writeFileSync(join(home, "config.yaml"), "workspace: ~/leoflow\njwt_secret: session\nfernet_key: key\n");
  archive = join(folder, "backup.tar.gz");
  await createBackup({
    file: archive,
    datastore: { database: source.config, bin },
    config: join(home, "config.yaml"),
    setup: undefined,
    workspace,
    versions: undefined,
    home,
    progress: () => undefined,
  });
  await ask("postgres", "create role leoflow login nocreatedb");
});
afterAll(async () => {
  await source.close();
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
});

const ask = (database: string, statement: string) =>
  withClient({ connectionString: server.url(database) }, async (client) => {
    return (await client.query<Record<string, unknown>>(statement)).rows;
  });

let databases = 0;
/** A database that an administrator has made for a user without any special rights. Returns its URL. */
async function newDatabase(): Promise<{ name: string; databaseUrl: string }> {
  const name = `server_${databases++}`;
  await ask("postgres", `create database ${name} owner leoflow`);
  return { name, databaseUrl: `postgres://leoflow@127.0.0.1:${server.port}/${name}` };
}

async function restore(options: Partial<ExternalRestoreOptions> & { databaseUrl: string }) {
  return restoreExternally({
    archive,
    force: false,
    dryRun: false,
    say: () => undefined,
    step: (_title, work) => work(() => undefined),
    ...options,
  });
}

/** Data and schema as pg_dump writes them. */
function dumpOf(config: { host: string; port: number; user: string; password: string; database: string }): string {
  const text = execFileSync(join(bin, "pg_dump"), ["--no-owner", "--no-privileges", "--schema=public"], {
    env: { ...process.env, ...connectionEnvironment(config) },
    maxBuffer: 1 << 28,
    encoding: "utf8",
  });
  return text.replaceAll(/^\\(un)?restrict .*$/gm, "");
}
const dumpOfServer = (database: string) =>
  dumpOf({ host: "127.0.0.1", port: server.port, user: "admin", password: "", database });

describe("leoflow-server restore", () => {
  it("loads an archive of Lite, row for row, without any special right", async () => {
    const { name, databaseUrl } = await newDatabase();
    const result = await restore({ databaseUrl });
    expect(result).toMatchObject({
      restored: true,
      database: `127.0.0.1:${server.port}/${name}`,
      rows: { variable: ODD.length },
      replaced: undefined,
      secrets: ["fernet_key", "jwt_secret"],
    });
    expect(dumpOfServer(name)).toBe(dumpOf(source.config));
  });

  it("writes workspace and settings where it is told", async () => {
    const { name, databaseUrl } = await newDatabase();
    const [workspace, configOut] = [join(folder, "srv/dags"), join(folder, "keys.yaml")];
    await restore({ databaseUrl, workspace, configOut });
    expect(tree(workspace)).toEqual(tree(join(folder, "leoflow")));
    expect(await ask(name, "select fileloc from dag")).toEqual([{ fileloc: join(workspace, "d.py") }]);
    expect(readFileSync(configOut, "utf8")).toContain("fernet_key: key");
    expect(statSync(configOut).mode & 0o777).toBe(0o600);
    await expect(restore({ databaseUrl, force: true, configOut })).rejects.toThrow(`${configOut} exists already`);
    await expect(restore({ databaseUrl, force: true, workspace })).rejects.toThrow(
      `refusing: ${workspace} is not empty`,
    );
  });

  it("that cannot write the settings has not happened either", async () => {
    const { name, databaseUrl } = await newDatabase();
    const [workspace, configOut] = [join(folder, "srv/none"), join(folder, "none/keys.yaml")];
    await expect(restore({ databaseUrl, workspace, configOut })).rejects.toThrow(
      new RegExp(`^cannot write ${configOut}: ENOENT.*; nothing was changed$`),
    );
    expect(existsSync(workspace)).toBe(false);
    expect(await ask(name, "select 1 from pg_tables where schemaname = 'public'")).toEqual([]);
    const without = await craftArchive(join(folder, "no-config.tar.gz"), { "datastore.sql": "" });
    await expect(restore({ archive: without, databaseUrl, configOut: join(folder, "no-keys.yaml") })).rejects.toThrow(
      "the archive has no config.yaml",
    );
  });

  it("refuses a database with data; with --force that is kept in a schema of its own", async () => {
    const { name, databaseUrl } = await newDatabase();
    await restore({ databaseUrl });
    await ask(name, "update variable set val = 'before' where key = 'v0'");
    const before = dumpOfServer(name);
    await expect(restore({ databaseUrl })).rejects.toThrow(
      `refusing: restore would overwrite the data in 127.0.0.1:${server.port}/${name}; pass --force`,
    );
    await restore({ databaseUrl, force: true, dryRun: true });
    expect(dumpOfServer(name)).toBe(before);
    const { replaced = "" } = await restore({ databaseUrl, force: true });
    expect(dumpOfServer(name)).toBe(dumpOf(source.config));
    expect(await ask(name, `select val from ${replaced}.variable where key = 'v0'`)).toEqual([{ val: "before" }]);
  });

  it("takes what reading DAG files has written, and other schemas, for nobody's work", async () => {
    const { name, databaseUrl } = await newDatabase();
    await restore({ databaseUrl });
    await ask(name, "delete from variable");
    await ask(name, "insert into asset (name, uri) values ('orders', 's3://orders')");
    await restore({ databaseUrl, dryRun: true });
    await ask(name, "create schema reports");
    await ask(name, "create table reports.daily as select 1 as day");
    await restore({ databaseUrl, dryRun: true });
    await ask(name, "insert into users (name, password_hash, role) values ('ann', 'hash', 'USER')");
    await expect(restore({ databaseUrl, dryRun: true })).rejects.toThrow("refusing: restore would overwrite the data");
    await ask(name, "delete from users");
    await ask(name, "insert into asset_event (asset_id, timestamp) select id, now() from asset");
    await expect(restore({ databaseUrl, dryRun: true })).rejects.toThrow("refusing: restore would overwrite the data");
  });

  it("refuses a database that a server uses", async () => {
    const { name, databaseUrl } = await newDatabase();
    const other = new pg.Client({ connectionString: server.url(name) });
    await other.connect();
    await expect(restore({ databaseUrl })).rejects.toThrow(`${name} is in use by 1 other connection`);
    await other.end();
  });

  it("leaves all as it was when it fails in the middle or is called off", async () => {
    const { name, databaseUrl } = await newDatabase();
    await restore({ databaseUrl });
    const before = dumpOfServer(name);
    const workspace = join(folder, "srv/failed");
    const entries = { "workspace/": "", "workspace/d.py": "# d\n" };
    const broken = await craftArchive(join(folder, "broken.tar.gz"), {
      "datastore.sql": "create table a (x integer);\nCOPY a (x) FROM stdin;\n1\nno number\n\\.\n",
      ...entries,
    });
    await expect(restore({ databaseUrl, archive: broken, force: true, workspace })).rejects.toThrow(
      'the datastore cannot be restored: invalid input syntax for type integer: "no number"',
    );
    const otherSchema = await craftArchive(
      join(folder, "other-schema.tar.gz"),
      { "datastore.sql": "", ...entries },
      { schema_version: 1 },
    );
    await expect(restore({ databaseUrl, archive: otherSchema, force: true, workspace })).rejects.toThrow(
      "the archive's datastore is at schema version 0, but its manifest says 1",
    );
    const slow = await craftArchive(join(folder, "slow.tar.gz"), {
      "datastore.sql": "select pg_sleep(60);\n",
      ...entries,
    });
    const calledOff = new AbortController();
    const stopped = restore({
      databaseUrl,
      archive: slow,
      force: true,
      workspace,
      signal: calledOff.signal,
      step: (title, work) => {
        if (title === "Restore the datastore") setImmediate(() => calledOff.abort(new Error("called off")));
        return work(() => undefined);
      },
    });
    await expect(stopped).rejects.toThrow("called off");
    expect(existsSync(workspace)).toBe(false);
    expect(dumpOfServer(name)).toBe(before);
  });

  it("names what it cannot reach or read", async () => {
    await expect(restore({ databaseUrl: `postgres://leoflow@127.0.0.1:${server.port}/nothing` })).rejects.toThrow(
      `cannot reach the database 127.0.0.1:${server.port}/nothing: database "nothing" does not exist`,
    );
    await expect(restore({ databaseUrl: "postgres://[" })).rejects.toThrow("the database URL cannot be read");
    const { databaseUrl } = await newDatabase();
    const newer = await craftArchive(join(folder, "newer.tar.gz"), { "datastore.sql": "" }, { schema_version: 900 });
    await expect(restore({ databaseUrl, archive: newer, force: true })).rejects.toThrow(
      /^backup was taken on a newer schema \(version 900\) than this binary supports/,
    );
  });
});

describe("a dump without psql", () => {
  const statements = [
    "\\restrict abc\n",
    "SET transaction_timeout = 0;\nSET a_setting_of_postgresql_99 = 1;\n",
    "create table t (x text, y text default 'a;\n');\n",
    "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$\n  select 'x';\n$$;\n",
    "COPY t (x) FROM stdin;\n\\.\n",
    "COPY t (x) FROM stdin;\none\ntwo\\\\.\n\\\\.\n\\.\n",
    "select f();\n\\unrestrict abc\n",
  ].join("");

  it.each([1, 2, 3, 7, 4096])("is read in pieces of %i bytes", async (size) => {
    const database = await createTestDatabase();
    await withClient(database.config, async (client) => {
      await client.query("begin");
      await replayDump(client, pieces(statements, size));
      expect((await client.query("select x from t")).rows).toEqual([{ x: "one" }, { x: "two\\." }, { x: "\\." }]);
      await client.query("rollback");
    });
    await database.close();
  });

  it.each([
    ["\\! touch /tmp/x\n", "the dump holds a command of psql: \\! touch"],
    ["create table t (x text);\nCOPY t FROM stdin;\none\n", "the dump ends in the middle of a table's rows"],
    ["create table t (", "the dump ends in the middle of a statement"],
  ])("refuses %j", async (dump, message) => {
    const database = await createTestDatabase();
    await withClient(database.config, async (client) => {
      await client.query("begin");
      await expect(replayDump(client, pieces(dump, 100))).rejects.toThrow(message);
    });
    await database.close();
  });
});

describe("the program leoflow-server", () => {
  let program: BundledProgram;
  beforeAll(async () => {
    program = await bundleProgram(join(import.meta.dirname, "../server-main.ts"));
  });
  afterAll(() => program.remove());

  const run = promisify(execFile);
  const leoflowServer = (args: string[], env: Record<string, string> = {}) =>
    run(process.execPath, [program.file, ...args], {
      env: { ...process.env, LEOFLOW_HOME: join(folder, "no-home"), ...env },
    }).then(
      ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
      (error: { code: number; stdout: string; stderr: string }) => error,
    );

  it("says what it can do", async () => {
    const nothing = await leoflowServer([]);
    expect(nothing.code).toBe(2);
    expect(nothing.stdout).toContain("leoflow-server restore -i");
    expect(nothing.stderr).toBe("error: leoflow-server needs a command\n  fix: this release has: restore\n");
    expect((await leoflowServer(["--version"])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
    expect((await leoflowServer(["restore", "--help"])).stdout).toContain("--config-out <file>");
    const wrong = await leoflowServer(["restore"]);
    expect([wrong.code, wrong.stderr]).toEqual([
      2,
      "error: required option '-i, --input <file>' not specified\n  fix: `leoflow-server --help` lists what there is\n",
    ]);
    expect((await leoflowServer(["restore", "-i", archive])).stderr).toContain("error: no database is named");
    expect(existsSync(join(folder, "no-home"))).toBe(false);
  });

  it("restores, and says which keys the server needs", async () => {
    const { name, databaseUrl } = await newDatabase();
    const { code, stdout } = await leoflowServer(["restore", "--input", archive], {
      LEOFLOW_DATABASE_URL: databaseUrl,
    });
    expect(code).toBe(0);
    const lines = stdout.split("\n");
    expect(lines[0]).toBe(`▸ reading manifest from ${archive}`);
    expect(lines).toContain(`✓ datastore restored to 127.0.0.1:${server.port}/${name} (0 DAG runs, 0 task instances)`);
    expect(stdout).toContain("! the server's configuration needs the backup's fernet_key and jwt_secret");
    expect(stdout).not.toContain("key: key");
    expect(lines.at(-2)).toBe("✓ restore complete");
  });
});

async function* pieces(text: string, size: number): AsyncGenerator<Buffer> {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; at += size) {
    await Promise.resolve();
    yield bytes.subarray(at, at + size);
  }
}
