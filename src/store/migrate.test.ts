import { createHash } from "node:crypto";
import { join } from "node:path";
import pg from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../test/support/database.ts";
import { bundleProgram, firstJson, until, type BundledProgram } from "../../test/support/run-typescript.ts";
import { UserError } from "../kit/user-error.ts";
import {
  MIGRATION_LOCK,
  forceSchemaVersion,
  migrate,
  MigrationError,
  runsWithoutTransaction,
  schemaStatus,
} from "./migrate.ts";
import { loadMigrations, type Migration } from "./migrations.ts";

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase();
});
afterEach(() => database.close());

const newest = loadMigrations().at(-1)?.version ?? 0;
const extra = (version: number, sql: string): Migration => ({ version, name: `extra_${version}`, sql });
const withExtra = (...more: Migration[]) => [...loadMigrations(), ...more];

async function value(query: string): Promise<unknown> {
  const { rows } = await database.pool.query<{ value: unknown }>(`select (${query}) as value`);
  return rows[0]?.value;
}

/** Where the tables' files are, and all their rows. */
async function fingerprint(): Promise<string> {
  const { rows } = await database.pool.query<{ relname: string; relkind: string }>(
    "select relname, relkind, relfilenode, relnatts from pg_class where relnamespace = 'public'::regnamespace order by oid",
  );
  const contents: unknown[] = [rows];
  for (const { relname } of rows.filter(({ relkind }) => relkind === "r")) {
    contents.push((await database.pool.query(`table "${relname}"`)).rows);
  }
  return createHash("sha256").update(JSON.stringify(contents)).digest("hex");
}

async function failure(work: Promise<unknown>): Promise<UserError> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(UserError);
  return error as UserError;
}

describe("migrate", () => {
  it("has nothing to do on a current schema", async () => {
    expect(await migrate(database.pool)).toEqual([]);
  });

  it("D3: takes a database without schema_migrations, or without a row in it, for fresh", async () => {
    await database.pool.query("drop schema public cascade; create schema public");
    expect(await schemaStatus(database.pool)).toMatchObject({ current: 0, newest });
    await database.pool.query("create table schema_migrations (version integer primary key, name text not null)");
    expect(await schemaStatus(database.pool)).toMatchObject({ current: 0, newest });
    await database.pool.query("alter table schema_migrations add applied_at timestamptz not null default now()");
    expect(await migrate(database.pool)).toEqual(loadMigrations().map(({ version }) => version));
  });

  it("D2: applies a new migration once, also when two start together", async () => {
    const known = withExtra(extra(9001, "create table extra (id integer)"));
    // One that is at it already, so that both have to wait.
    const other = new pg.Client(database.config);
    await other.connect();
    await other.query("select pg_advisory_lock($1)", [MIGRATION_LOCK]);
    let waiting = 0;
    const one = () =>
      migrate(database.pool, {
        migrations: known,
        onWait: () => {
          if (++waiting === 2) void other.end();
        },
      });
    expect((await Promise.all([one(), one()])).flat()).toEqual([9001]);
    expect(waiting).toBe(2);
  });

  it("leaves the old schema, to the last statement, when any of the pending migrations fails", async () => {
    const known = withExtra(extra(9001, "create table one (id integer)"), extra(9002, "select 1; select nonsense"));
    const before = await value("select json_agg(m) from schema_migrations m");
    const error = await failure(migrate(database.pool, { migrations: known }));
    expect(error).toBeInstanceOf(MigrationError);
    expect(error.message).toBe(
      `migration 9002 (extra_9002) failed: column "nonsense" does not exist; nothing was changed, the database is still at schema version ${newest}`,
    );
    expect(await value("to_regclass('one')")).toBeNull();
    expect(await value("select json_agg(m) from schema_migrations m")).toEqual(before);
  });

  it("waits a while for a table that another program holds, then says so", async () => {
    const other = new pg.Client(database.config);
    await other.connect();
    await other.query("begin; lock table dag");
    const impatient = extra(9001, "set local lock_timeout = '50ms'; alter table dag add column more integer");
    const error = await failure(migrate(database.pool, { migrations: withExtra(impatient) }));
    expect(error.message).toContain("another program that is connected to this database holds a table");
    await other.end();
    expect(await migrate(database.pool, { migrations: withExtra(impatient) })).toEqual([9001]);
  });

  it("is not stopped by time-outs that a user has set", async () => {
    await database.pool.query(`alter database ${database.name} set statement_timeout = '50ms'`);
    const pool = new pg.Pool(database.config);
    expect(await migrate(pool, { migrations: withExtra(extra(9001, "select pg_sleep(0.2)")) })).toEqual([9001]);
    await pool.end();
  });

  it("ends at once when it is called off, and nothing was changed", async () => {
    const abort = new AbortController();
    const known = withExtra(extra(9001, "create table one (id integer); select pg_sleep(600)"));
    const reason = new Error("called off");
    const work = migrate(database.pool, {
      migrations: known,
      signal: abort.signal,
      onApply: () => abort.abort(reason),
    });
    await expect(work).rejects.toBe(reason);
    expect(await value("to_regclass('one')")).toBeNull();
    expect(await schemaStatus(database.pool)).toMatchObject({ current: newest });
  });
});

describe("a migration without a transaction", () => {
  const concurrently = extra(
    9002,
    "-- no transaction\ncreate index concurrently log_extra on log (owner);\nselect 1;\n",
  );

  it("is known by its first line", () => {
    expect(runsWithoutTransaction(concurrently)).toBe(true);
    expect(runsWithoutTransaction(extra(1, "select 1 -- no transaction"))).toBe(false);
  });

  it("stands between two transactions and is clean after it", async () => {
    const known = withExtra(extra(9001, "create table one ()"), concurrently, extra(9003, "create table three ()"));
    expect(await migrate(database.pool, { migrations: known })).toEqual([9001, 9002, 9003]);
    expect(await value("to_regclass('log_extra')::text")).toBe("log_extra");
    expect(await schemaStatus(database.pool, known)).toMatchObject({ current: 9003, pending: [] });
  });

  it("D4: leaves the schema dirty when it fails, which every later start refuses in the promised words", async () => {
    const known = withExtra(extra(9001, "-- no transaction\ncreate table half (id integer); select nonsense"));
    const error = await failure(migrate(database.pool, { migrations: known }));
    expect(error.message).toContain("it ran without a transaction, so the schema is marked dirty at version 9001");
    const before = await fingerprint();
    for (const migrations of [known, loadMigrations()]) {
      const refused = await failure(migrate(database.pool, { migrations }));
      expect(refused.message).toBe(
        "database schema is marked dirty at version 9001 (a prior migration was interrupted); run `leoflow uninstall --purge` to reset, or fix manually with `migrate force` if you know what you are doing",
      );
      expect(refused.fix).toContain("leoflow lite restore -i FILE --force");
    }
    expect(await fingerprint()).toBe(before);
  });

  it("can be declared whole by hand, or undone", async () => {
    const known = withExtra(extra(9001, "-- no transaction\ncreate table half (id integer); select nonsense"));
    await failure(migrate(database.pool, { migrations: known }));
    await forceSchemaVersion(database.pool, 9001, known);
    expect(await migrate(database.pool, { migrations: known })).toEqual([]);
    await database.pool.query("drop table half; update schema_migrations set dirty = true where version = 9001");
    await forceSchemaVersion(database.pool, newest, known);
    expect(await schemaStatus(database.pool, known)).toMatchObject({ current: newest, pending: [{ version: 9001 }] });
    expect((await failure(forceSchemaVersion(database.pool, 8999, known))).message).toContain("no schema version 8999");
  });
});

describe("a process that is killed while it migrates", () => {
  let program: BundledProgram;
  beforeAll(async () => {
    program = await bundleProgram(join(import.meta.dirname, "../../test/support/migrate-program.ts"));
  });
  afterEach(() => program.killAll());
  afterAll(() => program.remove());

  const backends = () => value("select count(*) from pg_stat_activity where application_name = 'to be killed'");

  async function killed(migration: Migration): Promise<void> {
    const child = program.start([JSON.stringify({ config: database.config, migrations: withExtra(migration) })]);
    await firstJson(child);
    await until(
      async () =>
        (await value(
          "select count(*) from pg_stat_activity where wait_event = 'PgSleep' and application_name = 'to be killed'",
        )) === 1,
      "the migration is in its middle",
    );
    child.kill("SIGKILL");
    // The server notices at the end of the statement; the test does not wait for that.
    await database.pool.query(
      "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'to be killed'",
    );
    await until(async () => (await backends()) === 0, "its connection is gone");
  }

  it("has changed nothing, and the next one does it all", async () => {
    await killed(extra(9001, "create table one (id integer); select pg_sleep(600)"));
    expect(await schemaStatus(database.pool)).toMatchObject({ current: newest });
    const known = withExtra(extra(9001, "create table one (id integer)"));
    expect(await migrate(database.pool, { migrations: known })).toEqual([9001]);
  });

  it("D4: has marked the schema dirty where the migration has no transaction", async () => {
    await killed(extra(9001, "-- no transaction\ncreate table half (id integer); select pg_sleep(600)"));
    expect((await failure(schemaStatus(database.pool))).message).toContain("marked dirty at version 9001");
  });
});

describe("drift", () => {
  async function refusal(change: string): Promise<UserError> {
    await database.pool.query(change);
    const before = await fingerprint();
    const error = await failure(migrate(database.pool));
    expect(await fingerprint()).toBe(before);
    return error;
  }

  it("D1, D5: refuses a newer schema in the promised words, before any write", async () => {
    const error = await refusal("insert into schema_migrations (version, name) values (9001, 'later')");
    expect(error.message).toBe(
      `database is at schema version 9001 but this binary only knows up to ${newest}; an older \`leoflow\` is being run against a newer database. Upgrade the binary, or run \`leoflow uninstall --purge\` to start over (this WIPES your data)`,
    );
  });

  it("refuses the database of the earlier Leoflow written in Go", async () => {
    const error = await refusal(
      `drop schema public cascade; create schema public; create table dags (id text); create table schema_migrations (version bigint not null primary key, dirty boolean not null);
       insert into schema_migrations values (15, false)`,
    );
    expect(error.message).toMatch(
      /^the database belongs to another program: its schema_migrations has the columns dirty, version, as golang/,
    );
    expect(error.fix).toContain("a database of its own");
  });

  it("refuses tables whose version got lost", async () => {
    const error = await refusal(
      "drop table schema_migrations; create table schema_migrations (version integer, name text)",
    );
    expect(error.message).toContain("its schema_migrations does not say at which version they are");
    expect((await refusal("drop table schema_migrations")).message).toBe(error.message);
  });

  it("refuses a version of another name, a hole, and one that this release does not have", async () => {
    const other = await refusal("update schema_migrations set name = 'something_else' where version = 1");
    expect(other.message).toContain(
      'migration 1 of this database is "something_else", but in this release it is "initial"',
    );
    await database.pool.query(
      "delete from schema_migrations where version > 1; update schema_migrations set version = 2",
    );
    const known = [...loadMigrations().slice(0, 1), { version: 2, name: "something_else", sql: "" }];
    const hole = await failure(schemaStatus(database.pool, known));
    expect(hole.message).toBe("the database is at schema version 2, but migration 1 (initial) was never applied to it");
    await database.pool.query("insert into schema_migrations (version, name) values (1, 'initial'), (3, 'third')");
    const unknown = [...known, { version: 4, name: "fourth", sql: "" }];
    expect((await failure(schemaStatus(database.pool, unknown))).message).toContain(
      'the database has had migration 3 ("third"), which this release does not have',
    );
  });

  it("says whose right is missing", async () => {
    const user = `reader_${database.name}`;
    await database.pool.query(`create user ${user} password 'x'`);
    const pool = new pg.Pool({ ...database.config, user, password: "x" });
    const error = await failure(schemaStatus(pool));
    await pool.end();
    await database.pool.query(`drop user ${user}`);
    expect(error.message).toBe(
      "the database does not let Leoflow read its schema version: permission denied for table schema_migrations",
    );
    expect(error.fix).toContain("alter table schema_migrations owner to");
  });
});
