import { spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import pg from "pg";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../../test/support/database.ts";
import { createHome } from "../../../test/support/home.ts";
import { canMount, OWN_MOUNTS } from "../../../test/support/mounts.ts";
import { bundleProgram, type BundledProgram } from "../../../test/support/run-typescript.ts";
import { verifyArchive } from "../../backup/archive.ts";
import { UserError } from "../../kit/user-error.ts";
import type { DatabaseConfig } from "../../store/database.ts";
import { loadMigrations, type Migration } from "../../store/migrations.ts";
import { startingPostgres, type Datastore } from "../datastore.ts";
import type { LeoflowPaths } from "../paths.ts";
import { silentProgress, type Progress } from "../progress.ts";
import { upgradeSchema, type SchemaUpgrade, type UpgradeOptions } from "./apply.ts";
import { listSnapshots } from "./snapshot.ts";

const newest = loadMigrations().at(-1)?.version ?? 0;
const next = (sql: string, more = 1): Migration => ({ version: newest + more, name: `extra_${more}`, sql });
const logger = pino({ level: "silent" });

let paths: LeoflowPaths;

/** What a release with these migrations does when it starts. */
function upgrade(
  datastore: Pick<Datastore, "database" | "bin">,
  more: Migration[],
  options: Partial<UpgradeOptions> = {},
): Promise<SchemaUpgrade> {
  const { database, bin } = datastore;
  const migrations = [...loadMigrations(), ...more];
  return upgradeSchema({ paths, database, bin, logger, progress: silentProgress, migrations, ...options });
}

async function ask(database: DatabaseConfig, query: string): Promise<unknown> {
  const client = new pg.Client(database);
  await client.connect();
  try {
    const { rows } = await client.query<{ value: unknown }>(`select (${query}) as value`);
    return rows[0]?.value;
  } finally {
    await client.end();
  }
}

async function run(database: DatabaseConfig, statements: string): Promise<void> {
  const client = new pg.Client(database);
  await client.connect();
  await client.query(statements);
  await client.end();
}

async function failure(work: Promise<unknown>): Promise<UserError> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(UserError);
  return error as UserError;
}

const version = "select max(version) from schema_migrations";

describe("the first start after an upgrade", () => {
  let database: TestDatabase;
  let remove: () => void;
  let datastore: Pick<Datastore, "database" | "bin">;
  beforeEach(async () => {
    ({ paths, remove } = createHome());
    database = await createTestDatabase();
    datastore = { database: database.config, bin: inject("postgresBin") };
  });
  afterEach(async () => {
    await database.close();
    remove();
  });

  it("P5, C3, D2: looks, makes a snapshot that holds everything, and migrates; the next start does nothing", async () => {
    writeFileSync(paths.config, "admin_email: me@example.com\n");
    await run(datastore.database, "drop schema public cascade; create schema public");
    const fresh = await upgrade(datastore, []);
    expect(fresh).toMatchObject({ from: 0, to: newest, snapshot: undefined });
    expect(existsSync(paths.snapshots)).toBe(false);
    await run(datastore.database, "insert into variable (key, val) values ('region', 'secret')");

    const seen: string[] = [];
    const progress: Progress = {
      step: (title, work) => (seen.push(title), work(() => undefined)),
      note: (text) => seen.push(text.replaceAll(/\d+(\.\d+)? [kM]B/g, "N MB").replace(/about \d+ s/, "about N s")),
    };
    const more = [next("alter table variable add column extra integer"), next("create table two (id integer)", 2)];
    const done = await upgrade(datastore, more, { progress });
    expect(done).toMatchObject({ from: newest, to: newest + 2, applied: [newest + 1, newest + 2] });
    const file = done.snapshot as string;
    expect(basename(file)).toMatch(new RegExp(`^\\d{4}-\\d\\d-\\d\\dT\\d{6}Z-schema-${newest}\\.tar\\.gz$`));
    expect(seen).toEqual([
      `The database goes from schema ${newest} to ${newest + 2}: 2 migrations, about N s for N MB of data`,
      "Make a snapshot first",
      `Snapshot: ${file} (N MB)`,
      `Migration ${newest + 1} (extra 1)`,
      `Migration ${newest + 2} (extra 2)`,
    ]);
    const { manifest, has } = await verifyArchive(file);
    expect(manifest).toMatchObject({ schema_version: newest, home: paths.home });
    expect(has).toMatchObject({ config: true, workspace: false });
    const dump = spawnSync("tar", ["-xzOf", file, "datastore.sql"], { encoding: "utf8" });
    expect(dump.stdout).toContain("region\tsecret");

    expect(await upgrade(datastore, more)).toMatchObject({ applied: [], snapshot: undefined });
    expect(listSnapshots(paths)).toEqual([file]);
  });

  it("keeps the last three snapshots, and removes older ones only once the new one is whole", async () => {
    mkdirSync(paths.snapshots, { recursive: true });
    const old = [1, 2, 3, 4].map((day) => `2026-01-0${day}T120000Z-schema-${newest}.tar.gz`);
    for (const name of [...old, "mine.tar.gz"]) writeFileSync(join(paths.snapshots, name), "");
    const broken = { ...datastore, bin: "/nonexistent" };
    await failure(upgrade(broken, [next("select 1")]));
    expect(readdirSync(paths.snapshots).sort()).toEqual([...old, "mine.tar.gz"]);
    const { snapshot } = await upgrade(datastore, [next("select 1")]);
    expect(readdirSync(paths.snapshots).sort()).toEqual(
      [...old.slice(2), basename(snapshot as string), "mine.tar.gz"].sort(),
    );
  });

  it("keeps the one it has made also where the clock was ahead when the others were", async () => {
    mkdirSync(paths.snapshots, { recursive: true });
    const ahead = [1, 2, 3, 4].map((day) => `2199-01-0${day}T120000Z-schema-${newest}.tar.gz`);
    for (const name of ahead) writeFileSync(join(paths.snapshots, name), "");
    const { snapshot = "" } = await upgrade(datastore, [next("select 1")]);
    expect(readdirSync(paths.snapshots)).toEqual([basename(snapshot), ...ahead.slice(2)]);
  });

  it("makes none where the user has said so", async () => {
    expect(await upgrade(datastore, [next("select 1")], { snapshot: false })).toMatchObject({ snapshot: undefined });
    expect(existsSync(paths.snapshots)).toBe(false);
  });

  it("leaves the old schema when a migration fails, and says how to go back", async () => {
    const more = [next("alter table dag add column extra integer"), next("select nonsense", 2)];
    const error = await failure(upgrade(datastore, more));
    expect(error.message).toBe(
      `migration ${newest + 2} (extra_2) failed: column "nonsense" does not exist; nothing was changed, the database is still at schema version ${newest}`,
    );
    const [file] = listSnapshots(paths);
    expect(error.fix).toContain("go on with the previous release: install it again with `LEOFLOW_VERSION=");
    expect(error.fix).toContain(`leoflow lite restore -i ${file} --force`);
    expect(await ask(datastore.database, version)).toBe(newest);
    // The old release goes on as if nothing had been.
    expect(await upgrade(datastore, [])).toMatchObject({ applied: [] });
  });
});

describe("a start that is killed", () => {
  let program: BundledProgram;
  let remove: () => void;
  const applied = loadMigrations();
  beforeAll(async () => {
    ({ paths, remove } = createHome());
    await withDatabase(async (datastore) => {
      await upgrade(datastore, []);
      await run(datastore.database, "insert into variable (key, val) values ('region', 'eu')");
    });
    program = await bundleProgram(join(import.meta.dirname, "../../../test/support/upgrade-program.ts"));
  });
  afterEach(() => program.killAll());
  afterAll(() => {
    program.remove();
    remove();
  });

  function withDatabase<T>(work: (datastore: Datastore) => Promise<T>): Promise<T> {
    return startingPostgres({ paths, logger, progress: silentProgress, runtimeDir: undefined }, work);
  }

  const steps = (child: ChildProcess, onStep: (step: string) => void): Promise<string[]> => {
    const seen: string[] = [];
    const lines = createInterface({ input: child.stdout as Readable });
    lines.on("line", (line) => {
      const { step } = JSON.parse(line) as { step: string };
      seen.push(step);
      onStep(step);
    });
    return new Promise((done) => child.once("close", () => done(seen)));
  };

  it.each([
    ["before the snapshot", /^The database goes from/],
    ["while the snapshot is made", /^Make a snapshot first$/],
    ["while the snapshot is read once more", /reading it once more/],
    ["after the snapshot", /^Snapshot:/],
    ["in the migrations", /^Migration \d+ \(one/],
    ["in the last migration", /^Migration \d+ \(two/],
  ])("%s is begun again by the next one", async (_when, pattern) => {
    const at = applied.at(-1)?.version ?? 0;
    const one = { version: at + 1, name: "one", sql: "create table one (id integer); select pg_sleep(0.2)" };
    const two = { version: at + 2, name: "two", sql: "alter table variable add column two text; select pg_sleep(0.2)" };
    const work = JSON.stringify({ home: paths.home, migrations: [...applied, one, two] });
    const killed = program.start([work]);
    const seen = await steps(killed, (step) => void (pattern.test(step) && killed.kill("SIGKILL")));
    expect(seen).not.toContain("done");
    expect(seen.some((step) => pattern.test(step))).toBe(true);

    expect(await steps(program.start([work]), () => undefined)).toContain("done");
    await withDatabase(async ({ database }) => {
      const clean = "select array_agg(version order by version) from schema_migrations where not dirty";
      expect(await ask(database, clean)).toEqual([...applied, one, two].map((each) => each.version));
      expect(await ask(database, "select val from variable where two is null")).toBe("eu");
      // For the next one to make again.
      await run(database, "drop table one; alter table variable drop column two");
    });
    applied.push(one, two);
    for (const name of readdirSync(paths.snapshots)) {
      expect(name).toMatch(/Z-schema-\d+\.tar\.gz$/);
      await verifyArchive(join(paths.snapshots, name));
    }
  });

  it("goes on after a PostgreSQL that was killed in the middle of a migration", async () => {
    const at = applied.at(-1)?.version ?? 0;
    const slow = {
      version: at + 1,
      name: "slow",
      sql: "alter table variable add column slow text; select pg_sleep(60)",
    };
    const failed = await failure(
      withDatabase((datastore) =>
        upgrade(datastore, [slow], {
          migrations: [...applied, slow],
          progress: {
            note: () => undefined,
            step: (title, work) => {
              if (title.startsWith("Migration")) void killPostgres(datastore.database);
              return work(() => undefined);
            },
          },
        }),
      ),
    );
    expect(failed.message).toMatch(
      new RegExp(
        `^migration ${at + 1} \\(slow\\) failed: .+; nothing was changed, the database is still at schema version ${at}$`,
      ),
    );
    expect(failed.fix).toMatch(/^go on with the previous release: .*leoflow lite restore -i/);
    await withDatabase(async ({ database }) => {
      expect(await ask(database, version)).toBe(at);
      expect(await upgrade({ database, bin: "" }, [], { migrations: [...applied] })).toMatchObject({ applied: [] });
    });
  });

  /** Once the migration is at its last statement. */
  async function killPostgres(database: DatabaseConfig): Promise<void> {
    const sleeping =
      "select count(*)::int from pg_stat_activity where query like '%pg_sleep(60)%' and wait_event = 'PgSleep'";
    while ((await ask(database, sleeping)) === 0) await new Promise((done) => setTimeout(done, 20));
    const [pid = ""] = readFileSync(join(paths.managedPostgres, "data/postmaster.pid"), "utf8").split("\n");
    process.kill(Number(pid), "SIGKILL");
  }

  it.runIf(canMount)("leaves the old schema where the disk becomes full in the middle of a migration", async () => {
    const disk = `${paths.home}-full`;
    mkdirSync(disk);
    const bytes = Number(spawnSync("du", ["-sb", paths.home], { encoding: "utf8" }).stdout.split("\t")[0]);
    // More than the look before asks for.
    const script =
      `mount -t tmpfs -o size=${bytes + 120 * 1024 * 1024} none "$0" && cp -a ${paths.home}/. "$0" && rm -rf "$0"/snapshots; ` +
      `"$1" "$2" "$3"; "$1" "$2" "$4"; ls "$0"/snapshots`;
    const at = applied.at(-1)?.version ?? 0;
    const sql = "create table filler as select repeat('x', 1000) as x from generate_series(1, 1000000)";
    const work = (migrations: Migration[]) => JSON.stringify({ home: disk, migrations });
    const child = program.start(
      [work([...applied, { version: at + 1, name: "filler", sql }]), work(applied)],
      [...OWN_MOUNTS, "sh", "-c", script, disk],
    );
    let output = "";
    child.stdout?.on("data", (text: Buffer) => (output += text.toString()));
    await once(child, "close");
    expect(output).toMatch(
      /migration \d+ \(filler\) failed: .*No space left on device.*; nothing was changed, the database is still/,
    );
    // The old release goes on.
    expect(output).toMatch(new RegExp(`"done"}\n.*-schema-${at}\\.tar\\.gz\n$`, "s"));
  });

  it.runIf(canMount)("D5: refuses, before anything is done, on a disk that is too small", async () => {
    const bytes = Number(spawnSync("du", ["-sb", paths.home], { encoding: "utf8" }).stdout.split("\t")[0]);
    const small = `${paths.home}-small`;
    mkdirSync(small);
    const script = `mount -t tmpfs -o size=${bytes + 40 * 1024 * 1024} none "$0" && cp -a ${paths.home}/. "$0" && rm -rf "$0"/snapshots && "$@"; ls -A "$0"`;
    const work = { home: small, migrations: [...applied, { version: 9001, name: "more", sql: "select 1" }] };
    const child = program.start([JSON.stringify(work)], [...OWN_MOUNTS, "sh", "-c", script, small]);
    let output = "";
    child.stdout?.on("data", (text: Buffer) => (output += text.toString()));
    await once(child, "close");
    expect(output).toMatch(
      /the upgrade needs about .* of free disk, with the snapshot made before it; .* are free where .* Nothing was changed/,
    );
    expect(output).not.toContain("snapshots");
  });
});
