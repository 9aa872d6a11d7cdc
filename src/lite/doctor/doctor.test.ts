import { spawnSync } from "node:child_process";
import {
  chmodSync,
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { dirname, join } from "node:path";
import pg from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it, vi } from "vitest";
import { createHome, sharedHome } from "../../../test/support/home.ts";
import { createLiteHome, type Lite, type LiteHome } from "../../../test/support/lite.ts";
import { contentsOf } from "../../../test/support/machine.ts";
import { until } from "../../../test/support/until.ts";
import { readEnvironment } from "../../kit/config.ts";
import { newerSchemaMessage } from "../../store/migrate.ts";
import { loadMigrations } from "../../store/migrations.ts";
import { dirtySchemaMessage } from "../../store/schema-status.ts";
import { loadOrCreateConfig } from "../config-file.ts";
import { resolvePaths, type LeoflowPaths } from "../paths.ts";
import { databaseOf } from "../postgres/managed-postgres.ts";
import { readPostmasterFile } from "../postgres/stale-server.ts";
import type { Check, Examination } from "./check.ts";
import { examine, patientOf, type Report } from "./doctor.ts";
import { examineBackups, examineConfig, examineLeftovers, examineWorkspace } from "./home.ts";
import { examineNetwork, examinePorts } from "./network.ts";
import { examinePlatform } from "./platform.ts";
import { databaseClock, examineDatabase, examinePostgres } from "./postgres.ts";
import { examinePython } from "./python.ts";

vi.setConfig({ testTimeout: 60_000 });

const program = join(import.meta.dirname, "../../../bin/leoflow");

function environmentOf(paths: LeoflowPaths, more: Record<string, string> = {}) {
  return readEnvironment({ HOME: dirname(paths.home), LEOFLOW_HOME: paths.home, PATH: "/usr/bin:/bin", ...more });
}

function look(paths: LeoflowPaths, more: Record<string, string> = {}): Promise<Report> {
  return examine(paths, environmentOf(paths, more), { network: false });
}

/** One subject alone, as quick as it is. */
async function only(
  examination: Examination,
  paths: LeoflowPaths,
  more: Record<string, string> = {},
  network = false,
): Promise<Report> {
  const checks = await examination(await patientOf(paths, environmentOf(paths, more), network));
  return { healthy: checks.every(({ status }) => status !== "problem"), checks };
}

function found({ checks }: Report, name: string): Check {
  const named = checks.filter((check) => check.name === name);
  const worst = named.find(({ status }) => status !== "ok") ?? named[0];
  if (!worst) throw new Error(`no check ${name} among ${checks.map((check) => check.name).join(", ")}`);
  return worst;
}

const doctor = (home: string, ...args: string[]) =>
  spawnSync(process.execPath, [program, "doctor", ...args], {
    env: { ...process.env, LEOFLOW_HOME: home, HOME: dirname(home), LEOFLOW_WORKSPACE: "", LEOFLOW_LITE_PORT: "" },
    encoding: "utf8",
  });

describe("an installation that runs and is stopped", () => {
  let home: LiteHome;
  let paths: LeoflowPaths;
  let lite: Lite;
  const env = () => ({ LEOFLOW_WORKSPACE: home.workspace, LEOFLOW_LITE_PORT: String(home.port) });
  beforeAll(async () => {
    home = await createLiteHome();
    paths = resolvePaths(home.home);
    writeFileSync(join(home.workspace, "broken_dag.py"), "from airflow.sdk import dag\nimport nothing_like_that\n");
    lite = await home.start();
  });
  afterAll(() => home.remove());

  const query = async (text: string) => {
    const server = readPostmasterFile(join(paths.managedPostgres, "data"));
    const client = new pg.Client(databaseOf(paths.managedPostgres, server?.socketDir ?? ""));
    await client.connect();
    try {
      return (await client.query<Record<string, string>>(text)).rows;
    } finally {
      await client.end();
    }
  };

  it("is healthy while it runs; what it cannot import is a warning", async () => {
    await until("the file was parsed", async () => (await query("select 1 from import_error")).length === 1);
    const report = await look(paths, env());
    expect(report.checks.filter(({ status }) => status === "problem")).toEqual([]);
    expect(report.healthy).toBe(true);
    expect(found(report, "Leoflow Lite").detail).toBe(`runs, process ${lite.pid}, http://localhost:${home.port}`);
    expect(found(report, "port").detail).toBe(`${home.port}, used by this Leoflow`);
    expect(found(report, "server").detail).toMatch(/^PostgreSQL 18\.\d+, process \d+, .* MB$/);
    expect(found(report, "schema").detail).toBe(`version ${loadMigrations().at(-1)?.version}, as this release has it`);
    expect(found(report, "checksums").status).toBe("ok");
    expect(found(report, "database clock").detail).toBe("the same as this machine's");
    expect(found(report, "data folder").detail).toContain("with page checksums, in production");
    expect(found(report, "DAGs")).toMatchObject({
      status: "warning",
      detail: expect.stringContaining("broken_dag.py") as string,
    });
    expect(found(report, "workspace").detail).toBe(`${home.workspace}, 1 DAG file`);
    expect(found(report, "Python").detail).toMatch(/^3\.\d+\.\d+ with Airflow 3\.3\.2/);
    expect(found(report, "backup")).toMatchObject({ status: "warning" });
  });

  it("tells schemas that are newer, dirty and older while it runs", async () => {
    const newest = loadMigrations().at(-1)?.version ?? 0;
    await query(`insert into schema_migrations (version, name) values (${newest + 1}, 'later')`);
    const newer = await only(examineDatabase, paths, env());
    expect(newer.healthy).toBe(false);
    expect(found(newer, "schema")).toMatchObject({ status: "problem", detail: newerSchemaMessage(newest + 1, newest) });
    await query(`delete from schema_migrations where version = ${newest + 1}`);

    await query("alter table schema_migrations add column if not exists dirty boolean not null default false");
    await query(`update schema_migrations set dirty = true where version = ${newest}`);
    expect(found(await only(examineDatabase, paths, env()), "schema").detail).toBe(dirtySchemaMessage(newest));
    await query("update schema_migrations set dirty = false");
  });

  it("is told apart from another program on the same port, and finds a backup and its age", async () => {
    const other = createServer();
    await new Promise<void>((listening) => other.listen(0, "127.0.0.1", listening));
    const { port } = other.address() as AddressInfo;
    await lite.stop();
    const report = await only(examinePorts, paths, { ...env(), LEOFLOW_LITE_PORT: String(port) });
    expect(report.healthy).toBe(false);
    expect(found(report, "port").detail).toMatch(new RegExp(`^${port} is taken by process ${process.pid} \\(.+\\)$`));
    await new Promise((closed) => other.close(closed));

    const backup = join(dirname(paths.home), "leoflow-backup-2026-05-28T093000Z.tar.gz");
    writeFileSync(backup, "");
    expect(found(await only(examineBackups, paths, env()), "backup")).toMatchObject({
      status: "ok",
      detail: `${backup}, made today`,
    });
    const old = Date.now() / 1000 - 40 * 86_400;
    utimesSync(backup, old, old);
    expect(found(await only(examineBackups, paths, env()), "backup")).toMatchObject({
      status: "warning",
      detail: `${backup}, 40 days old`,
    });
    rmSync(backup);
  });

  it("stays stopped, and not a byte of it changes", async () => {
    const before = contentsOf(paths.home);
    const { status, stdout } = doctor(paths.home, "--json");
    expect(contentsOf(paths.home)).toEqual(before);
    const report = JSON.parse(stdout) as Report;
    expect(status).toBe(0);
    expect(report.healthy).toBe(true);
    expect(found(report, "server").detail).toBe("stopped; schema and import errors are known while it runs");
    expect(found(report, "data folder").detail).toContain("shut down");
    expect(found(report, "Leoflow Lite").detail).toBe("stopped");
  });

  it("shows a damaged page that was met", async () => {
    lite = await home.start();
    await query("create table damaged as select repeat('x', 100) from generate_series(1, 1000)");
    const [row] = await query("select pg_relation_filepath('damaged') as path");
    await lite.stop();
    const file = openSync(join(paths.managedPostgres, "data", row?.["path"] ?? ""), "r+");
    writeSync(file, Buffer.alloc(64, 7), 0, 64, 4096);
    closeSync(file);
    lite = await home.start();
    await expect(query("select * from damaged")).rejects.toThrow("invalid page");
    await until(
      "it is counted",
      async () => found(await only(examineDatabase, paths, env()), "checksums").status === "problem",
    );
    expect(found(await only(examineDatabase, paths, env()), "checksums").detail).toContain("damaged pages were met");
    await query("drop table damaged");
    await lite.stop();
  });

  it("says what is damaged in the data folder, what is newer and what is missing", async () => {
    const data = join(paths.managedPostgres, "data");
    const control = join(data, "global/pg_control");
    const before = readFileSync(control);
    writeFileSync(control, Buffer.alloc(before.length, 9));
    expect(found(await only(examinePostgres, paths, env()), "data folder")).toMatchObject({
      status: "problem",
      detail: `${control} is damaged`,
    });
    rmSync(control);
    expect(found(await only(examinePostgres, paths, env()), "data folder").detail).toBe(
      `${data} lacks global/pg_control`,
    );
    writeFileSync(control, before, { mode: 0o600 });

    const version = readFileSync(join(data, "PG_VERSION"));
    writeFileSync(join(data, "PG_VERSION"), "99\n");
    expect(found(await only(examinePostgres, paths, env()), "database")).toMatchObject({
      status: "problem",
      detail: expect.stringContaining("PostgreSQL 99's") as string,
    });
    writeFileSync(join(data, "PG_VERSION"), "17\n");
    expect(found(await only(examinePostgres, paths, env()), "database")).toMatchObject({
      status: "warning",
      detail: expect.stringContaining("data of PostgreSQL 17") as string,
    });
    writeFileSync(join(data, "PG_VERSION"), version);

    writeFileSync(join(data, "postmaster.pid"), `4194303\n${data}\n0\n5432\n/nowhere\n\n\nready\n`);
    writeFileSync(paths.lock, JSON.stringify({ pid: 4194303, started: "1" }));
    expect(found(await only(examineDatabase, paths, env()), "server").detail).toContain(
      "postmaster.pid of process 4194303 was left",
    );
    expect(found(await only(examineLeftovers, paths, env()), "Leoflow Lite").detail).toContain(
      "the lock of process 4194303 was left",
    );
    rmSync(join(data, "postmaster.pid"));
    writeFileSync(paths.restoreJournal, "{}");
    expect(found(await only(examineLeftovers, paths, env()), "restore")).toMatchObject({ status: "warning" });
    rmSync(paths.restoreJournal);
    rmSync(paths.lock);
  });

  it("says that the key of what is encrypted is missing", async () => {
    const config = readFileSync(paths.config, "utf8");
    writeFileSync(paths.config, config.replace(/^fernet_key.*\n/m, ""));
    const report = await only(examineConfig, paths, env());
    expect(report.healthy).toBe(false);
    expect(found(report, "config.yaml").detail).toContain("fernet_key is missing");
    writeFileSync(paths.config, config);
  });
});

describe("a home without a database", () => {
  let paths: LeoflowPaths;
  let remove: () => void;
  beforeEach(() => {
    vi.stubEnv("PATH", "/usr/bin:/bin");
    ({ paths, remove } = createHome());
  });
  afterEach(() => {
    vi.unstubAllEnvs();
    remove();
  });

  it("is healthy where nothing is set up, and stays without a trace", () => {
    const home = join(dirname(paths.home), "empty/.leoflow");
    mkdirSync(dirname(home));
    const { status, stdout, stderr } = doctor(home);
    expect(stderr).toBe("");
    expect(status).toBe(0);
    expect(stdout).toContain(`! config.yaml    not set up yet: ${home} does not exist`);
    expect(stdout).toContain("fix: run `leoflow setup`");
    expect(stdout).toMatch(/\n {2}Healthy, \d warnings\n$/);
    expect(contentsOf(dirname(home))).toEqual({ "": expect.any(String) as string });
  });

  it("reads config.yaml: broken, open to others, without secrets", async () => {
    const { save } = await loadOrCreateConfig(paths, { userHome: dirname(paths.home), adminPassword: undefined });
    save();
    chmodSync(paths.config, 0o644);
    chmodSync(paths.home, 0o755);
    const open = (await only(examineConfig, paths)).checks.filter(({ name }) => name === "permissions");
    expect(open.map(({ fix }) => fix)).toEqual([`\`chmod 700 ${paths.home}\``, `\`chmod 600 ${paths.config}\``]);
    expect(found(await only(examineConfig, paths), "config.yaml").detail).toBe("without admin_password_hash");
    writeFileSync(paths.config, "lite_port: many\n");
    const broken = doctor(paths.home);
    expect(broken.status).toBe(1);
    expect(broken.stdout).toContain(`✗ config.yaml`);
    expect(broken.stdout).toContain(`${paths.config}, line 1, column 12: lite_port must be a whole number`);
    expect(broken.stdout).toMatch(/\n {2}Not healthy: 1 problem, \d warnings?\n$/);
  });

  it("reads the workspace: missing, no folder, not readable", async () => {
    const workspace = join(dirname(paths.home), "mine");
    const env = { LEOFLOW_WORKSPACE: workspace };
    expect(found(await only(examineWorkspace, paths, env), "workspace").detail).toBe(`${workspace} does not exist yet`);
    writeFileSync(workspace, "");
    expect(found(await only(examineWorkspace, paths, env), "workspace")).toMatchObject({
      status: "problem",
      detail: `cannot read ${workspace}: it is not a folder`,
    });
    rmSync(workspace);
    mkdirSync(workspace);
    for (const file of ["one.py", "two.py"]) writeFileSync(join(workspace, file), "from airflow.sdk import DAG, dag\n");
    expect(found(await only(examineWorkspace, paths, env), "workspace").detail).toBe(`${workspace}, 2 DAG files`);
  });

  it("reads Python: half installed, its interpreter gone, broken, of another release", async () => {
    rmSync(paths.venv);
    expect(found(await only(examinePython, paths), "Python").detail).toBe("not installed yet");
    mkdirSync(join(paths.venv, "bin"), { recursive: true });
    expect(found(await only(examinePython, paths), "Python").detail).toContain("its installation did not end");
    const marker = join(paths.venv, ".leoflow-deps");
    const real = JSON.parse(readFileSync(join(sharedHome.venv, ".leoflow-deps"), "utf8")) as Record<string, string>;
    writeFileSync(marker, JSON.stringify(real));
    expect(found(await only(examinePython, paths), "Python").detail).toContain("which is no longer there");
    writeFileSync(join(paths.venv, "bin/python"), "#!/bin/sh\necho 'No module named airflow' >&2; exit 1\n", {
      mode: 0o755,
    });
    const broken = await only(examinePython, paths);
    expect(broken.healthy).toBe(false);
    expect(found(broken, "Python").detail).toBe(
      `${join(paths.venv, "bin/python")} cannot import Airflow: No module named airflow`,
    );
    rmSync(join(paths.venv, "bin/python"));
    symlinkSync(join(sharedHome.venv, "bin/python"), join(paths.venv, "bin/python.of-venv"));
    writeFileSync(join(paths.venv, "bin/python"), `#!/bin/sh\nexec '${join(sharedHome.venv, "bin/python")}' "$@"\n`, {
      mode: 0o755,
    });
    writeFileSync(marker, JSON.stringify({ ...real, lock: "sha256:other" }));
    expect(found(await only(examinePython, paths), "Python")).toMatchObject({
      status: "warning",
      detail: expect.stringContaining("another release's") as string,
    });
    writeFileSync(marker, JSON.stringify({ ...real, pinned_python: "3.9.1" }));
    expect(found(await only(examinePython, paths), "Python").detail).toContain("made for CPython 3.9.1");
    writeFileSync(marker, JSON.stringify({ ...real, pinned_python: "3.9.1", retry_after: "2027-01-01T00:00:00Z" }));
    expect(found(await only(examinePython, paths), "Python")).toMatchObject({
      detail: expect.stringContaining("which could not be downloaded") as string,
      fix: "a start after 2027-01-01T00:00:00Z tries again",
    });

    const project = join(paths.projectVenvs, "0123456789abcdef");
    mkdirSync(join(project, "bin"), { recursive: true });
    expect(found(await only(examinePython, paths), "project environments").detail).toBe("1, 1 not whole");
  });

  it("reads PostgreSQL's programs: missing, and not running", async () => {
    const [installed] = [
      ...new Set([`postgres-${/embedded_postgres|postgres-(\d[\d.]*)/.exec(inject("postgresBin"))?.[1]}`]),
    ];
    const folder = join(paths.managedPostgres, installed ?? "");
    renameSync(folder, `${folder}.aside`);
    expect(found(await only(examinePostgres, paths), "PostgreSQL")).toMatchObject({ status: "warning" });
    mkdirSync(join(folder, "embedded_postgres/pginstall/bin"), { recursive: true });
    const postgres = join(folder, "embedded_postgres/pginstall/bin/postgres");
    writeFileSync(postgres, "#!/bin/sh\necho 'libssl.so.3: cannot open shared object file' >&2; exit 127\n", {
      mode: 0o755,
    });
    const report = await only(examinePostgres, paths);
    expect(report.healthy).toBe(false);
    expect(found(report, "PostgreSQL").detail).toBe(
      `${postgres} does not run: libssl.so.3: cannot open shared object file`,
    );
  });

  it("asks the network only when told to", async () => {
    const index = createServer((socket) => socket.destroy());
    await new Promise<void>((listening) => index.listen(0, "127.0.0.1", listening));
    const env = { UV_DEFAULT_INDEX: `http://127.0.0.1:${(index.address() as AddressInfo).port}/simple` };
    expect((await only(examineNetwork, paths, env)).checks.some(({ name }) => name === "network")).toBe(false);
    expect(found(await only(examineNetwork, paths, env, true), "network")).toMatchObject({
      status: "warning",
      detail: expect.stringContaining("/simple/uv/: ") as string,
      fix: expect.stringContaining("HTTPS_PROXY") as string,
    });
    await new Promise((closed) => index.close(closed));
  });

  it("compares clocks", async () => {
    expect(databaseClock(Date.now() + 90_000)).toMatchObject({
      status: "warning",
      detail: "90 s away from this machine's",
    });
    expect(databaseClock(Date.now() - 1_000).status).toBe("ok");
    vi.useFakeTimers({ toFake: ["Date"], now: Date.parse("1970-01-02T00:00:00Z") });
    const report = await only(examinePlatform, paths);
    vi.useRealTimers();
    expect(found(report, "clock")).toMatchObject({ status: "problem" });
  });
});
