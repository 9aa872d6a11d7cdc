import type { ChildProcess } from "node:child_process";
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import pg from "pg";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from "vitest";
import { buildIfStale } from "../../../bin/set-up.mjs";
import { createHome } from "../../../test/support/home.ts";
import { olderPostgres, type OlderPostgres } from "../../../test/support/older-postgres.ts";
import { bundleProgram, type BundledProgram } from "../../../test/support/run-typescript.ts";
import { until } from "../../../test/support/until.ts";
import { verifyArchive } from "../../backup/archive.ts";
import { UserError } from "../../kit/user-error.ts";
import type { DatabaseConfig } from "../../store/database.ts";
import { runCommand } from "../command.ts";
import { hasDatastore } from "../datastore.ts";
import type { LeoflowPaths } from "../paths.ts";
import { silentProgress } from "../progress.ts";
import { Toolchain } from "../python/toolchain.ts";
import { planCluster } from "./cluster-plan.ts";
import { finishSwap } from "./cluster-swap.ts";
import { chooseIdentity } from "./identity.ts";
import { upgradeCluster, type MajorUpgradeStep } from "./major-upgrade.ts";
import { openPostgres, type OpenPostgres } from "./open-postgres.ts";
import { programsForMajor } from "./old-programs.ts";
import { isAlive, readPostmasterFile } from "./stale-server.ts";

const PASSWORD = "the-password-of-this-cluster";
const SETTINGS = `listen_addresses = ''
shared_buffers = '16MB'
`;
const newBin = inject("postgresBin");
const logger = pino({ level: "silent" });

let older: OlderPostgres;
/** A managed-postgres folder with an older release's cluster, to be copied. */
let template: string;
let paths: LeoflowPaths;
let remove: () => void;

beforeAll(async () => {
  older = olderPostgres();
  template = mkdtempSync(join(tmpdir(), "leoflow-test-"));
  await makeOlderCluster(template);
}, 240_000);
afterAll(() => rmSync(template, { recursive: true, force: true }));

beforeEach(() => {
  ({ paths, remove } = createHome());
  cpSync(template, paths.managedPostgres, { recursive: true, preserveTimestamps: true });
  // As a release that pinned this major has installed them.
  const programs = join(paths.managedPostgres, `postgres-${older.major}.1`, "embedded_postgres/pginstall");
  mkdirSync(programs, { recursive: true });
  symlinkSync(older.bin, join(programs, "bin"));
});
afterEach(() => remove());

/** What a Leoflow with that PostgreSQL would have left: our files, a user's own setting, rows in two databases, a role. */
async function makeOlderCluster(folder: string): Promise<void> {
  const data = join(folder, "data");
  mkdirSync(data, { mode: 0o700 });
  const identity = await chooseIdentity({ folder, dataDir: data });
  identity.give(data);
  writeFileSync(join(folder, "password"), `${PASSWORD}\n`, { mode: 0o600 });
  const passwordFile = join(data, "../password.initdb");
  writeFileSync(passwordFile, `${PASSWORD}\n`, { mode: 0o644 });
  const inside = async (...command: string[]) => {
    const result = await runCommand(identity.wrap(command), { cwd: folder, env: { LC_ALL: "C" } });
    if (result.code !== 0) throw new Error(result.output);
  };
  await inside(
    ...[join(older.bin, "initdb"), "-D", data, "-U", "leoflow", "-A", "scram-sha-256", "--pwfile", passwordFile],
    ...["--data-checksums", "-E", "UTF8", "--locale", "C", "--no-sync"],
  );
  rmSync(passwordFile);
  writeFileSync(join(data, "leoflow.conf"), SETTINGS);
  writeFileSync(join(data, "postgresql.conf"), "# Yours.\ninclude 'leoflow.conf'\nwork_mem = '11MB'\n");
  const control = [join(older.bin, "pg_ctl"), "-D", data, "-w"];
  await inside(...control, "-l", join(data, "log"), "-o", `-k '${data}' -c fsync=off`, "start");
  const run = async (database: string, statements: string) => {
    const client = new pg.Client({ host: data, port: 5432, user: "leoflow", password: PASSWORD, database });
    await client.connect();
    await client.query(statements);
    await client.end();
  };
  await run("postgres", "create database leoflow");
  await run("postgres", "create database more");
  await run("postgres", "create role reader");
  await run("postgres", "alter system set log_min_duration_statement = '5s'");
  await run(
    "leoflow",
    `create table runs (id bigint generated always as identity primary key, name text, conf json, at timestamptz);
     insert into runs (name, conf, at) select 'Lauf ' || i, json_build_object('x', i), '2026-01-01'::timestamptz + i * interval '1 s' from generate_series(1, 5000) i;
     create index on runs (name); grant select on runs to reader`,
  );
  await run("more", "create table kept as select 7 as seven");
  await inside(...control, "-m", "fast", "stop");
}

async function ask(database: DatabaseConfig, query: string): Promise<unknown> {
  const client = new pg.Client(database);
  await client.connect();
  try {
    return Object.values((await client.query<Record<string, unknown>>(query)).rows[0] ?? {})[0];
  } finally {
    await client.end();
  }
}

async function open(over: Partial<Parameters<typeof openPostgres>[0]> = {}): Promise<OpenPostgres> {
  const toolchain = new Toolchain(paths, silentProgress);
  return openPostgres({
    paths,
    logger,
    progress: silentProgress,
    toolchain,
    runtimeDir: undefined,
    sync: false,
    ...over,
  });
}

const ROWS = "select md5(string_agg(runs::text, ',' order by id)) from runs";
const expectedRows = `select md5(string_agg('(' || i || ',"Lauf ' || i || '","{""x"" : ' || i || '}","' || ('2026-01-01'::timestamptz + i * interval '1 s')::text || '")', ',' order by i)) from generate_series(1, 5000) i`;

async function expectAllThere(database: DatabaseConfig): Promise<void> {
  expect(await ask(database, "show server_version")).toMatch(/^18\./);
  expect(await ask(database, ROWS)).toBe(await ask(database, expectedRows));
  expect(await ask({ ...database, database: "more" }, "select seven from kept")).toBe(7);
  expect(await ask(database, "select has_table_privilege('reader', 'runs', 'select')")).toBe(true);
  expect(await ask(database, "insert into runs (name) values ('new') returning id > 5000")).toBe(true);
  await ask(database, "delete from runs where name = 'new'");
  expect(await ask(database, "show work_mem")).toBe("11MB");
  expect(await ask(database, "show log_min_duration_statement")).toBe("5s");
  expect(await ask(database, "show data_checksums")).toBe("on");
}

const folders = () =>
  readdirSync(paths.managedPostgres)
    .filter((name) => !/^(password|postgres\.log|socket|\.guardian)/.test(name))
    .sort();
const programs = () => folders().filter((name) => name.startsWith("postgres-"));

describe("data of an older PostgreSQL", () => {
  it("is brought along by pg_upgrade, and kept until the new cluster has started twice", async () => {
    expect(planCluster(paths)).toMatchObject({
      kind: "upgrade",
      dataMajor: older.major,
      installed: `${older.major}.1`,
    });
    const both = programs();
    const first = await open();
    await expectAllThere(first.database);
    await first.settle();
    await first.postgres.stop();
    expect(folders()).toEqual(["data", `data.old-${older.major}`, ...both]);
    expect(readFileSync(join(paths.managedPostgres, "data/PG_VERSION"), "utf8")).toBe("18\n");

    const second = await open();
    await expectAllThere(second.database);
    await second.settle();
    await second.postgres.stop();
    expect(folders()).toEqual(["data", ...both.filter((name) => !name.startsWith(`postgres-${older.major}.`))]);
  });

  it("is dumped and loaded where pg_upgrade does not take it", async () => {
    const folder = paths.managedPostgres;
    const majors = { oldMajor: older.major, oldBin: older.bin, newMajor: "18", newBin };
    const made = await upgradeCluster({
      ...majors,
      logger,
      progress: silentProgress,
      folder,
      sync: false,
      ways: ["dump"],
    });
    expect(made).toEqual({ way: "dump" });
    const { database, postgres } = await open();
    await expectAllThere(database);
    expect(await ask(database, "select datlocprovider from pg_database where datname = 'leoflow'")).toBe("b");
    await postgres.stop();
  });

  it("is run as it is for a look", async () => {
    const before = readFileSync(join(paths.managedPostgres, "data/leoflow.conf"), "utf8");
    const { database, postgres, bin } = await open({ asItIs: true });
    expect(await ask(database, "show server_version_num")).toMatch(new RegExp(`^${older.major}`));
    expect(bin).toContain(`postgres-${older.major}.1`);
    await postgres.stop();
    expect(readFileSync(join(paths.managedPostgres, "data/leoflow.conf"), "utf8")).toBe(before);
    expect(folders()).toEqual(["data", ...programs()]);
  });

  it("is backed up as it is, by its own programs", async () => {
    buildIfStale();
    writeFileSync(paths.config, "lite_port: 8088\n");
    const file = join(dirname(paths.home), "backup.tar.gz");
    const { code, output } = await runCommand(
      [process.execPath, join(paths.program, "bin/leoflow"), "lite", "backup", "--no-workspace", "-o", file],
      { env: { LEOFLOW_HOME: paths.home } },
    );
    expect([code, output]).toEqual([0, expect.stringContaining(`"postgres_version":"${older.major}.`)]);
    await verifyArchive(file);
    expect(folders()).toEqual(["data", ...programs()]);
  });

  it("keeps a user's settings that the new one does not know as comments", async () => {
    appendFileSync(
      join(paths.managedPostgres, "data/postgresql.conf"),
      "vacuum_defer_cleanup_age = 5\nwork_mem = '12MB'\n",
    );
    const notes: string[] = [];
    const { database, postgres } = await open({ progress: { ...silentProgress, note: (text) => notes.push(text) } });
    expect(await ask(database, "show work_mem")).toBe("8MB");
    expect(readFileSync(join(paths.managedPostgres, "data/postgresql.conf"), "utf8")).toContain("# work_mem = '12MB'");
    expect(notes.join()).toContain("vacuum_defer_cleanup_age");
    await postgres.stop();
  });

  it("says what to do where its programs are gone", async () => {
    for (const name of programs().filter((each) => each.includes(`-${older.major}.`))) {
      rmSync(join(paths.managedPostgres, name), { recursive: true });
    }
    const error = (await open().catch((thrown: unknown) => thrown)) as UserError;
    expect(error).toBeInstanceOf(UserError);
    expect(error.message).toContain(`was made by PostgreSQL ${older.major}, whose programs are needed once more`);
    expect(error.fix).toContain(`install the release of Leoflow that used PostgreSQL ${older.major}`);
    expect(hasDatastore(paths)).toBe(true);
  });

  it("newer than this release's is refused", async () => {
    writeFileSync(join(paths.managedPostgres, "data/PG_VERSION"), "99\n");
    const error = (await open().catch((thrown: unknown) => thrown)) as UserError;
    expect(error.message).toContain("is PostgreSQL 99's, but this release of Leoflow brings PostgreSQL 18");
    expect(folders()).toEqual(["data", ...programs()]);
  });
});

describe("an upgrade of the cluster that is killed", () => {
  let program: BundledProgram;
  beforeAll(async () => {
    program = await bundleProgram(join(import.meta.dirname, "../../../test/support/cluster-upgrade-program.ts"));
  });
  afterEach(() => program.killAll());
  afterAll(() => program.remove());

  const ended = (child: ChildProcess) => new Promise((done) => child.once("close", done));
  const steps: MajorUpgradeStep[] = ["check", "pg_upgrade", "swap", "swapped"];

  it.each(steps)("at %s is begun again, or ended, by the next start", async (step) => {
    const majors = { oldMajor: older.major, oldBin: older.bin, newMajor: "18", newBin };
    const child = program.start([JSON.stringify({ folder: paths.managedPostgres, step, ...majors })]);
    await ended(child);
    expect(child.signalCode).toBe("SIGKILL");
    expect(hasDatastore(paths)).toBe(true);
    const { database, postgres } = await open();
    await expectAllThere(database);
    await postgres.stop();
    expect(folders()).toEqual(["data", `data.old-${older.major}`, ...programs()]);
  });

  it("in the middle of pg_upgrade leaves nothing running that writes", async () => {
    const majors = { oldMajor: older.major, oldBin: older.bin, newMajor: "18", newBin };
    const child = program.start([JSON.stringify({ folder: paths.managedPostgres, step: "none", ...majors })]);
    const data = join(paths.managedPostgres, "data");
    await until("pg_upgrade has started the old server", () => readPostmasterFile(data) !== undefined);
    const server = readPostmasterFile(data)?.pid as number;
    child.kill("SIGKILL");
    await ended(child);
    await until("the old server has ended", () => !isAlive(server));
    const { database, postgres } = await open();
    await expectAllThere(database);
    await postgres.stop();
  });

  it("between its two renames has a database all the same", async () => {
    const folder = paths.managedPostgres;
    cpSync(join(folder, "data"), join(folder, `data.old-${older.major}`), { recursive: true });
    rmSync(join(folder, "data"), { recursive: true });
    expect(hasDatastore(paths)).toBe(true);
    expect(planCluster(paths)).toMatchObject({ kind: "upgrade", dataMajor: older.major });
    finishSwap(folder);
    expect(folders()).toEqual(["data", ...programs()]);
  });
});

it("installs the last programs of a major that a release before has used", async () => {
  const { paths: empty, remove: removeEmpty } = createHome();
  for (const name of readdirSync(empty.managedPostgres)) rmSync(join(empty.managedPostgres, name));
  const toolchain = new Toolchain(empty, silentProgress);
  const bin = await programsForMajor({ paths: empty, progress: silentProgress, toolchain }, "18");
  expect(existsSync(join(bin, "postgres"))).toBe(true);
  expect(readdirSync(empty.managedPostgres)).toEqual(["postgres-18.6.3"]);
  expect(dirname(bin)).toContain("postgres-18.6.3");
  removeEmpty();
});
