import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ADMIN, PASSWORD, runDag, xcomOf } from "../support/lite.ts";
import { contentsOf, createMachine, type InstalledLite, type Machine } from "../support/machine.ts";
import { builtRelease, nextRelease, releasesFolder, type BuiltRelease } from "../support/release.ts";
import { sharedHome } from "../support/home.ts";
import { serveReleases, type ReleaseServer } from "./installer.ts";

// install.sh and `leoflow uninstall` with real releases, from a loopback server. Migrations and the way back: test/e2e/upgrade.test.ts.

const DAG = `
from airflow.sdk import dag, task

@dag(schedule=None)
def answer():
    @task
    def give():
        return 42
    give()

answer()
`;

let n: BuiltRelease;
let next: BuiltRelease;
let machine: Machine;
let server: ReleaseServer;
let workspace: string;
beforeAll(async () => {
  [n, next] = [await builtRelease(), await nextRelease()];
  const releases = await releasesFolder(n, next);
  server = await serveReleases(releases);
  machine = await createMachine(releases);
  workspace = join(machine.home, "my dags");
}, 600_000);
afterAll(async () => {
  await machine?.remove();
  await server?.stop();
});

const install = async (version: string, env: Record<string, string> = {}) => {
  const result = await machine.install(version, { LEOFLOW_BASE_URL: server.url, ...env });
  expect(result.code, result.output).toBe(0);
  return result.stdout;
};
const versions = async () => (await machine.leoflow("version")).stdout.split(" ")[1];

/** Environments as the tests' own set-up made them: a reinstall would fetch the same packages again. */
function lendEnvironments(): void {
  mkdirSync(machine.paths.managedPostgres, { recursive: true, mode: 0o700 });
  symlinkSync(sharedHome.venv, machine.paths.venv);
  for (const name of readdirSync(sharedHome.managedPostgres).filter((each) => each.startsWith("postgres-"))) {
    symlinkSync(join(sharedHome.managedPostgres, name), join(machine.paths.managedPostgres, name));
  }
}

const before = { token: "", config: "", runId: "" };

/** With the token of a browser session that began earlier. */
async function get(path: string): Promise<Record<string, unknown>> {
  const response = await fetch(`http://127.0.0.1:${machine.port}${path}`, {
    headers: { authorization: `Bearer ${before.token}` },
  });
  expect(response.status, path).toBe(200);
  return (await response.json()) as Record<string, unknown>;
}

async function expectEverything(lite: InstalledLite): Promise<void> {
  // startLite has signed in with the old password.
  expect(await get("/api/v2/variables/region")).toMatchObject({ value: "eu-west-1" });
  expect(await get("/api/v2/connections/warehouse")).toMatchObject({
    login: "loader",
    extra: '{"key": "of the extra"}',
  });
  expect(await get(`/api/v2/dags/answer/dagRuns/${before.runId}`)).toMatchObject({ state: "success" });
  expect(await xcomOf(lite.client, "answer", before.runId, "give")).toBe(42);
  expect(lite.output()).not.toContain("Password");
  expect(readFileSync(machine.paths.config, "utf8")).toBe(before.config);
}

describe("real releases", { timeout: 300_000 }, () => {
  it("installs, sets up, and `leoflow lite` makes no second password", async () => {
    mkdirSync(machine.paths.home, { mode: 0o700 });
    lendEnvironments();
    const output = await install(n.version, { LEOFLOW_NO_SETUP: "", LEOFLOW_WORKSPACE: workspace });
    expect(output).toContain(`✓ Leoflow ${n.version} is installed`);
    expect(output).toContain("LEOFLOW LITE ADMIN — SAVE NOW (shown only once)");
    const set = await machine.leoflow("setup", "--port", String(machine.port));
    expect(set.stdout).toContain(`✓ port is ${machine.port} (was 8088)`);
    writeFileSync(join(workspace, "answer.py"), DAG);
    const lite = await machine.startLite();
    expect(lite.output()).not.toContain("Password");
    await lite.client.call("POST", "/api/v2/variables", { key: "region", value: "eu-west-1" });
    await lite.client.call("POST", "/api/v2/connections", {
      ...{ connection_id: "warehouse", conn_type: "postgres", login: "loader", password: "s3cret" },
      extra: '{"key": "of the extra"}',
    });
    const run = await runDag(lite.client, "answer");
    expect(run.state).toBe("success");
    before.runId = run.runId;
    const signedIn = await fetch(`http://127.0.0.1:${machine.port}/auth/token`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ username: ADMIN, password: PASSWORD }),
    });
    before.token = ((await signedIn.json()) as { access_token: string }).access_token;
    before.config = readFileSync(machine.paths.config, "utf8");
    await lite.stop();
  });

  it("upgrades over a stopped one without touching a byte of what is the user's (P1, P2, P3, P6, P8, P9, P10)", async () => {
    // The marker of a real environment, so that its bytes can be watched without 240 MB of it.
    rmSync(machine.paths.venv);
    mkdirSync(machine.paths.venv);
    cpSync(join(sharedHome.venv, ".leoflow-deps"), join(machine.paths.venv, ".leoflow-deps"));
    const users = () =>
      [
        workspace,
        join(machine.paths.managedPostgres, "data"),
        machine.paths.config,
        machine.paths.setup,
        machine.paths.venv,
      ].map(contentsOf);
    const all = users();
    expect(Object.keys(all[1] ?? {}).length).toBeGreaterThan(500);
    const output = await install(next.version, { LEOFLOW_NO_SETUP: "" });
    expect(output).toContain(`✓ Leoflow ${next.version} is installed (was ${n.version})`);
    expect(output).toContain("already configured (~/.leoflow/config.yaml) — keeping your settings.");
    expect(users()).toEqual(all);
    await install(n.version, { LEOFLOW_NO_SETUP: "" });
    expect(users()).toEqual(all);
    rmSync(machine.paths.venv, { recursive: true });
    symlinkSync(sharedHome.venv, machine.paths.venv);
  });

  it("upgrades while Lite runs, which goes on until it is restarted (C1)", async () => {
    const lite = await machine.startLite();
    const running = readlinkSync(`/proc/${lite.pid}/exe`);
    const dags = contentsOf(workspace);
    const output = await install(next.version, { LEOFLOW_NO_SETUP: "" });
    expect(output).toContain(`! Leoflow Lite is running (process ${lite.pid})`);
    expect(output).toContain(`restart it to use ${next.version}: `);
    expect(await versions()).toBe(next.version);
    for (const name of ["leoflow", "leoflow-server", "leoflow-agent"]) {
      expect(readlinkSync(join(machine.home, ".local/bin", name))).toBe(`../lib/leoflow/current/bin/${name}`);
    }
    // Two more installations, and the folder that it runs from is still there.
    await install(n.version);
    await install(next.version);
    expect(existsSync(running)).toBe(true);
    expect(contentsOf(workspace)).toEqual(dags);
    expect(readFileSync(machine.paths.config, "utf8")).toBe(before.config);
    expect((await runDag(lite.client, "answer")).state).toBe("success");
    expect((await lite.client.call("GET", "/api/v2/version")) as object).toBeDefined();
    await lite.stop();
  });

  it("starts the new version with everything of before (C3, P5)", async () => {
    const lite = await machine.startLite();
    await expectEverything(lite);
    await lite.stop();
  });

  it("is uninstalled and installed again, and goes on: login, session, secrets, workspace and port (U3)", async () => {
    const listed = await machine.leoflow("uninstall", "--dry-run", "--json");
    const { goes } = JSON.parse(listed.stdout) as { goes: { what: string; bytes: number }[] };
    expect(goes.find(({ what }) => what === "program")?.bytes).toBeGreaterThan(100_000_000);
    const gone = await machine.leoflow("uninstall", "--yes");
    expect(gone.code, gone.output).toBe(0);
    expect(readdirSync(join(machine.home, ".local/bin"))).toEqual([]);
    expect(existsSync(join(machine.home, ".local/lib/leoflow"))).toBe(false);
    expect(lstatSync(machine.paths.venv, { throwIfNoEntry: false })).toBeUndefined();
    expect(existsSync(join(sharedHome.venv, ".leoflow-deps"))).toBe(true);
    expect(existsSync(join(workspace, "answer.py"))).toBe(true);

    lendEnvironments();
    const output = await install(next.version, { LEOFLOW_NO_SETUP: "" });
    expect(output).toContain("already configured (~/.leoflow/config.yaml) — keeping your settings.");
    expect(output).not.toContain("SAVE NOW");
    const dry = await machine.leoflow("setup", "--dry-run");
    expect(dry.stdout).toContain(`workspace  ${workspace}\n    port       ${machine.port}\n`);
    const lite = await machine.startLite();
    await expectEverything(lite);
    await lite.stop();
  });

  it("purges all of it while it runs (U2, U7)", async () => {
    const lite = await machine.startLite();
    const purged = await machine.leoflow("uninstall", "--purge", "--yes");
    expect(purged.code, purged.output).toBe(0);
    expect(purged.output).toContain(`Stopping Leoflow (process ${lite.pid}) ...`);
    expect([machine.paths.home, workspace].filter(existsSync)).toEqual([]);
    expect(readdirSync(join(machine.home, ".local/bin"))).toEqual([]);
    expect(existsSync(join(sharedHome.venv, ".leoflow-deps"))).toBe(true);
  });
});
