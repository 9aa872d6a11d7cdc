import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pino } from "pino";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startingPostgres, withHomeToItself } from "../../src/lite/datastore.ts";
import { silentProgress } from "../../src/lite/progress.ts";
import { loadMigrations } from "../../src/store/migrations.ts";
import { startVisit, type Visit } from "../browser/visit.ts";
import { contentsOf, createMachine, type InstalledLite, type Machine } from "../support/machine.ts";
import { ADMIN, logOf, PASSWORD, runDag, xcomOf } from "../support/lite.ts";
import { builtRelease, nextRelease, releasesFolder, type BuiltRelease } from "../support/release.ts";

const DAG = `
from airflow.sdk import Variable, dag, task

@dag(schedule=None)
def numbers():
    @task
    def read():
        print("reading", Variable.get("region"))
        return {"rows": 3, "ratio": 1.0}

    @task
    def total(read_result):
        return read_result["rows"] * 2

    total(read())

numbers()
`;

/** Rows of these must be the same after an upgrade as before it. Others (jobs, the audit log) go on by themselves. */
const KEPT_TABLES = [
  "dag_run",
  "task_instance",
  "task_instance_history",
  "rendered_task_instance_fields",
  "xcom",
  "variable",
  "connection",
  "pool",
  "dag_version",
  "dag_tag",
  "dag_favorite",
];

const schemaOfN = loadMigrations().at(-1)?.version ?? 0;

let releases: string;
let n: BuiltRelease;
let next: BuiltRelease;
let machine: Machine;
let other: Machine;
let browser: Visit;
/** What the user had made and seen on release N. */
const before = { token: "", runId: "", workspace: {}, config: "", venv: {}, rows: {} as Record<string, string> };
const backup = () => join(machine.home, "snap-before-upgrade.tar.gz");

beforeAll(async () => {
  [n, next] = [await builtRelease(), await nextRelease()];
  releases = await releasesFolder(n, next);
  machine = await createMachine(releases);
  other = await createMachine(releases);
}, 300_000);
afterAll(async () => {
  await browser?.close();
  await machine?.remove();
  await other?.remove();
});

/** Every row of the kept tables, as text, straight from the stopped installation's database. */
async function rowsOf({ paths }: Machine): Promise<Record<string, string>> {
  const options = { paths, logger: pino({ level: "silent" }), progress: silentProgress, runtimeDir: undefined };
  return withHomeToItself(paths, () =>
    startingPostgres(options, async ({ database }) => {
      const client = new pg.Client(database);
      await client.connect();
      try {
        const rows: Record<string, string> = {};
        for (const table of KEPT_TABLES) {
          const found = await client.query<{ row: string }>(`select t::text as row from ${table} t order by 1`);
          rows[table] = found.rows.map(({ row }) => row).join("\n");
        }
        const version = await client.query<{ version: number }>(
          "select max(version) as version from schema_migrations",
        );
        rows["schema_migrations"] = String(version.rows[0]?.version);
        return rows;
      } finally {
        await client.end();
      }
    }),
  );
}

/** The user finds all that was theirs, in the browser's session and through the API with a token from before. */
async function expectEverythingIsThere({ port }: Machine, lite: InstalledLite): Promise<void> {
  const response = await fetch(`http://127.0.0.1:${port}/api/v2/variables/region`, {
    headers: { authorization: `Bearer ${before.token}` },
  });
  expect(response.status).toBe(200);
  expect(await response.json()).toMatchObject({ key: "region", value: "eu-west-1" });
  expect(await lite.client.call("GET", "/api/v2/connections/warehouse")).toMatchObject({
    host: "db.example.com",
    login: "loader",
    extra: expect.stringContaining("verify-full") as string,
  });
  expect(await lite.client.call("GET", `/api/v2/dags/numbers/dagRuns/${before.runId}`)).toMatchObject({
    state: "success",
    conf: { from: "release N" },
  });
  expect(await xcomOf(lite.client, "numbers", before.runId, "total")).toBe(6);
  // A task reads the encrypted variable, and the DAG runs on.
  const run = await runDag(lite.client, "numbers");
  expect(run.state).toBe("success");
  expect(await logOf(lite.client, "numbers", run.runId, "read")).toContain("reading eu-west-1");
}

async function expectOpenSession(): Promise<void> {
  await browser.page.goto("/dags");
  await browser.page.getByText("numbers").first().waitFor();
  expect(new URL(browser.page.url()).pathname).toBe("/dags");
}

const errorOf = (result: { output: string }) => result.output.trim();

describe("from release N to N+1 and back", { timeout: 240_000 }, () => {
  it("installs N and a user works with it", async () => {
    const installed = await machine.install(n.version);
    expect(installed.code, errorOf(installed)).toBe(0);
    for (const name of ["leoflow", "leoflow-server", "leoflow-agent"]) {
      expect(statSync(join(machine.home, ".local/bin", name)).mode & 0o111).toBe(0o111);
    }
    const workspace = join(machine.home, "my dags");
    const setup = await machine.leoflow("setup", "--workspace", workspace, "--port", String(machine.port));
    expect(setup.code, errorOf(setup)).toBe(0);
    mkdirSync(join(workspace, "sql"), { recursive: true });
    mkdirSync(join(workspace, "empty"));
    writeFileSync(join(workspace, "numbers.py"), DAG);
    writeFileSync(join(workspace, "sql/load.sh"), "#!/bin/sh\necho loading\n", { mode: 0o755 });
    symlinkSync("load.sh", join(workspace, "sql/latest.sh"));

    const lite = await machine.startLite();
    const { client } = lite;
    await client.call("POST", "/api/v2/variables", { key: "region", value: "eu-west-1" });
    await client.call("POST", "/api/v2/connections", {
      connection_id: "warehouse",
      conn_type: "postgres",
      host: "db.example.com",
      login: "loader",
      password: "s3cret",
      extra: '{"sslmode": "verify-full"}',
    });
    const run = await runDag(client, "numbers", { from: "release N" });
    expect(run.state).toBe("success");
    before.runId = run.runId;
    const answer = await fetch(`http://127.0.0.1:${machine.port}/auth/token`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ username: ADMIN, password: PASSWORD }),
    });
    before.token = ((await answer.json()) as { access_token: string }).access_token;

    browser = await startVisit({ baseUrl: `http://127.0.0.1:${machine.port}` });
    await browser.page.goto("/");
    await browser.page.getByLabel(/username|e-?mail/i).fill(ADMIN);
    await browser.page.getByLabel(/password/i).fill(PASSWORD);
    await browser.page.getByRole("button", { name: /sign in|log ?in/i }).click();
    await browser.page.waitForURL((url) => !url.pathname.includes("login"));
    await expectOpenSession();

    // The safe-upgrade recipe begins with a backup, while all runs.
    const made = await machine.leoflow("lite", "backup", "--output", backup());
    expect(made.code, errorOf(made)).toBe(0);
    await lite.stop();
    before.rows = await rowsOf(machine);
    before.workspace = contentsOf(workspace);
    before.config = readFileSync(machine.paths.config, "utf8");
    before.venv = contentsOf(join(machine.paths.venv, "bin"));
    expect(before.rows["schema_migrations"]).toBe(String(schemaOfN));
    expect(before.rows["connection"]).not.toContain("s3cret");
  });

  it("installs N+1 over it and touches nothing that is the user's", async () => {
    const datastore = contentsOf(join(machine.paths.managedPostgres, "data"));
    const marker = statSync(join(machine.paths.venv, ".leoflow-deps")).mtimeMs;
    const installed = await machine.install(next.version, { LEOFLOW_NO_SETUP: "" });
    expect(installed.code, errorOf(installed)).toBe(0);
    expect((await machine.leoflow("--version")).stdout.trim()).toBe(next.version);
    expect(contentsOf(join(machine.home, "my dags"))).toEqual(before.workspace);
    expect(contentsOf(join(machine.paths.managedPostgres, "data"))).toEqual(datastore);
    expect(readFileSync(machine.paths.config, "utf8")).toBe(before.config);
    expect(contentsOf(join(machine.paths.venv, "bin"))).toEqual(before.venv);
    expect(statSync(join(machine.paths.venv, ".leoflow-deps")).mtimeMs).toBe(marker);
  });

  it("migrates on the first start, after a pre-flight and a snapshot, and keeps every row", async () => {
    const check = await machine.leoflow("upgrade", "--check", "--json");
    expect(check.code, errorOf(check)).toBe(0);
    expect(JSON.parse(check.stdout)).toMatchObject({ current: schemaOfN, newest: schemaOfN + 1 });
    const lite = await machine.startLite();
    await lite.stop();
    const snapshots = readdirSync(machine.paths.snapshots);
    expect(snapshots).toHaveLength(1);
    expect(snapshots[0]).toMatch(new RegExp(`-schema-${schemaOfN}\\.tar\\.gz$`));
    expect(lite.output()).toContain(snapshots[0]);
    expect(await rowsOf(machine)).toEqual({ ...before.rows, schema_migrations: String(schemaOfN + 1) });
    expect(readFileSync(machine.paths.config, "utf8")).toBe(before.config);
  });

  it("goes on where the user was, in the same browser session", async () => {
    const lite = await machine.startLite();
    expect(lite.output()).not.toContain("Password");
    await expectOpenSession();
    await expectEverythingIsThere(machine, lite);
    await lite.stop();
  });

  it("refuses the newer database with the older release, and writes nothing", async () => {
    const rows = await rowsOf(machine);
    const installed = await machine.install(n.version);
    expect(installed.code, errorOf(installed)).toBe(0);
    const workspace = contentsOf(join(machine.home, "my dags"));
    const started = await machine.leoflow("lite", "--port", String(machine.port));
    expect(started.code).toBe(1);
    expect(started.output).toContain(
      `database is at schema version ${schemaOfN + 1} but this binary only knows up to ${schemaOfN}; an older \`leoflow\` is being run ` +
        "against a newer database. Upgrade the binary, or run `leoflow uninstall --purge` to start over (this WIPES your data)",
    );
    expect(contentsOf(join(machine.home, "my dags"))).toEqual(workspace);
    expect(readFileSync(machine.paths.config, "utf8")).toBe(before.config);
    expect(await rowsOf(machine)).toEqual(rows);
  });

  it("goes back to N with the backup that was made on N", async () => {
    const refused = await machine.leoflow("lite", "restore", "-i", backup());
    expect(refused.code).toBe(1);
    expect(refused.output).toContain("pass --force to confirm");
    const restored = await machine.leoflow("lite", "restore", "-i", backup(), "--force");
    expect(restored.code, errorOf(restored)).toBe(0);
    expect(await rowsOf(machine)).toMatchObject({ schema_migrations: String(schemaOfN), xcom: before.rows["xcom"] });
    const lite = await machine.startLite();
    await expectEverythingIsThere(machine, lite);
    await lite.stop();
  });

  it("restores on another machine, after install.sh and setup, under another home", async () => {
    const installed = await other.install(next.version, { LEOFLOW_NO_SETUP: "" });
    expect(installed.code, errorOf(installed)).toBe(0);
    const restored = await other.leoflow("lite", "restore", "-i", backup());
    expect(restored.code, errorOf(restored)).toBe(0);
    expect(contentsOf(join(other.home, "my dags"))).toEqual(before.workspace);
    const lite = await other.startLite();
    await expectEverythingIsThere(other, lite);
    await lite.stop();
  });

  it("picks up after uninstall and reinstall where the user left off", async () => {
    const rows = await rowsOf(other);
    const config = readFileSync(other.paths.config, "utf8");
    const uninstalled = await other.leoflow("uninstall", "--yes");
    expect(uninstalled.code, errorOf(uninstalled)).toBe(0);
    expect(existsSync(join(other.home, ".local/bin/leoflow"))).toBe(false);
    expect(existsSync(other.paths.venv)).toBe(false);
    expect((await other.install(next.version, { LEOFLOW_NO_SETUP: "" })).code).toBe(0);
    expect(readFileSync(other.paths.config, "utf8")).toBe(config);
    expect(await rowsOf(other)).toEqual(rows);
    const lite = await other.startLite();
    await expectEverythingIsThere(other, lite);
    await lite.stop();
  });

  it("leaves nothing behind after a purge", async () => {
    const purged = await other.leoflow("uninstall", "--purge", "--yes");
    expect(purged.code, errorOf(purged)).toBe(0);
    expect(existsSync(other.paths.home)).toBe(false);
    expect(existsSync(join(other.home, "my dags"))).toBe(false);
    expect(readdirSync(join(other.home, ".local/bin"))).toEqual([]);
    expect(existsSync(join(other.home, ".local/lib/leoflow"))).toBe(false);
  });
});
