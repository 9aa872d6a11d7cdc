import { spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Client } from "../../bench/client.ts";
import {
  createLiteHome,
  PASSWORD,
  runDag,
  until,
  waitForDag,
  xcomOf,
  type Lite,
  type LiteHome,
} from "../support/lite.ts";

/** Multi-team mode, from the first team to tasks that see what theirs owns. One Lite, started once without teams and once with. */

const LOCAL = "airflow.dag_processing.bundles.local.LocalDagBundle";
const program = join(import.meta.dirname, "../../bin/leoflow");
let home: LiteHome;
let lite: Lite;
let bundles: string;

const dagOf = (owner: string) => `import os
from airflow.sdk import dag, task, Variable, Connection
@dag(schedule=None)
def dag_of_${owner}():
    @task
    def sees():
        found = [key for key in ("var_a", "var_b", "var_none", "env_a") if Variable.get(key, default=None) is not None]
        for conn_id in ("conn_a", "conn_b", "conn_none"):
            try:
                found.append(Connection.get(conn_id).conn_id)
            except Exception as error:
                assert "isn't defined" in str(error), error
        found += [name for name in os.environ if name.startswith("AIRFLOW_VAR_")]
        return [*found, os.environ.get("AIRFLOW_CTX_TEAM_NAME")]
    sees()
dag_of_${owner}()
`;

beforeAll(async () => {
  home = await createLiteHome();
  for (const owner of ["b", "none"]) {
    const folder = join(home.home, "..", `folder_${owner}`);
    mkdirSync(folder);
    writeFileSync(join(folder, `${owner}.py`), dagOf(owner));
  }
  writeFileSync(join(home.workspace, "a.py"), dagOf("a"));
  const local = (name: string, kwargs: object, team_name?: string) => ({ name, classpath: LOCAL, kwargs, team_name });
  bundles = JSON.stringify([
    local("dags-folder", {}, "team_a"),
    local("folder_b", { path: join(home.home, "../folder_b") }, "team_b"),
    local("folder_none", { path: join(home.home, "../folder_none") }),
  ]);
  lite = await home.start();
});
afterAll(() => home.remove());

/** A command as a user runs it, in the environment that the second start has. */
function leoflow(...args: string[]): Promise<{ code: number | null; out: string; err: string }> {
  const child = spawn(process.execPath, [program, ...args], {
    env: {
      ...process.env,
      LEOFLOW_HOME: home.home,
      LEOFLOW_PASSWORD: PASSWORD,
      AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST: bundles,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let [out, err] = ["", ""];
  child.stdout.on("data", (data: Buffer) => (out += data.toString()));
  child.stderr.on("data", (data: Buffer) => (err += data.toString()));
  return new Promise((done) => child.once("close", (code) => done({ code, out, err })));
}

const start = () =>
  home.start({
    env: {
      AIRFLOW__CORE__MULTI_TEAM: "True",
      AIRFLOW_VAR__TEAM_A___ENV_A: "x",
      AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST: bundles,
    },
  });

async function signedIn(name: string): Promise<Client> {
  const client = new Client(lite.base);
  await client.login(name, PASSWORD);
  return client;
}

it("teams are made, listed and removed, by people and by programs", async () => {
  expect(await leoflow("teams", "list")).toEqual({ code: 0, out: "  No teams.\n", err: "" });
  expect(await leoflow("teams", "create", "team_a")).toEqual({ code: 0, out: "  ✓ Team team_a made\n", err: "" });
  const [again, short, none, unknown, json, ann, bob] = await Promise.all([
    leoflow("teams", "create", "team_a"),
    leoflow("teams", "create", "ab"),
    leoflow("teams", "delete", "team_z"),
    leoflow("auth", "create-user", "eve", "--role", "op", "--team", "team_z"),
    leoflow("teams", "list", "--json"),
    leoflow("auth", "create-user", "ann", "--role", "op", "--team", "team_a"),
    leoflow("auth", "create-user", "bob", "--role", "user", "--json"),
  ]);
  expect([again.code, again.err]).toEqual([1, expect.stringContaining("error: there is a team team_a already\n")]);
  expect([short.code, short.err]).toEqual([2, expect.stringContaining('error: no team can be named "ab"\n  fix: ')]);
  expect([none.code, none.err]).toEqual([1, expect.stringContaining("error: there is no team team_z\n  fix: ")]);
  expect([unknown.code, unknown.err]).toEqual([1, expect.stringContaining("error: there is no team team_z\n  fix: ")]);
  expect(JSON.parse(json.out)).toEqual({ teams: [{ name: "team_a" }], total_entries: 1 });
  expect([ann.code, JSON.parse(bob.out)]).toMatchObject([0, { user: { name: "bob", teams: [] } }]);
});

it("a start names the team that the bundles want and that there is not; `teams sync` makes it", async () => {
  await lite.stop();
  await expect(start()).rejects.toThrow(/there is no team team_b, which the bundle folder_b belongs to\n +fix: .*sync/);
  const synced = await leoflow("teams", "sync", "--json");
  expect([synced.code, synced.err, JSON.parse(synced.out)]).toEqual([0, "", { created: ["team_b"] }]);
  lite = await start();
});

it("a task sees what its DAG's team owns, and what nobody owns", async () => {
  for (const [owner, team_name] of [
    ["a", "team_a"],
    ["b", "team_b"],
    ["none", null],
  ] as const) {
    await waitForDag(lite.client, `dag_of_${owner}`);
    await lite.client.unpause(`dag_of_${owner}`);
    await lite.client.call("POST", "/api/v2/variables", { key: `var_${owner}`, value: "x", team_name });
    await lite.client.call("POST", "/api/v2/connections", {
      connection_id: `conn_${owner}`,
      conn_type: "http",
      team_name,
    });
  }
  const seen = async (dagId: string) => {
    const { state, runId } = await runDag(lite.client, dagId);
    return [state, await xcomOf(lite.client, dagId, runId, "sees")];
  };
  const all = await Promise.all(["dag_of_a", "dag_of_b", "dag_of_none"].map(seen));
  expect(all).toEqual([
    ["success", ["var_a", "var_none", "env_a", "conn_a", "conn_none", "team_a"]],
    ["success", ["var_b", "var_none", "conn_b", "conn_none", "team_b"]],
    ["success", ["var_none", "conn_none", null]],
  ]);
});

it("a user sees the same, and is moved while signed in; a team in use stays", async () => {
  const [ann, bob] = [await signedIn("ann"), await signedIn("bob")];
  const dagsOf = async (client: Client) =>
    ((await client.call("GET", "/api/v2/dags?order_by=dag_id")) as { dags: { dag_id: string }[] }).dags.map(
      ({ dag_id }) => dag_id,
    );
  expect(await dagsOf(ann)).toEqual(["dag_of_a", "dag_of_none"]);
  expect(await dagsOf(bob)).toEqual(["dag_of_none"]);
  const [moved, kept] = await Promise.all([
    leoflow("auth", "update-user", "bob", "--team", "team_a", "--team", "team_b", "--json"),
    leoflow("teams", "delete", "team_b"),
  ]);
  expect([moved.code, JSON.parse(moved.out)]).toMatchObject([0, { user: { teams: ["team_a", "team_b"] } }]);
  expect(kept.err).toContain("team_b is still in use: it has 1 DAG bundle, 1 connection, 1 variable\n");
  await until("bob sees what both of his teams own", async () => (await dagsOf(bob)).length === 3);
  await expect(ann.call("POST", "/api/v2/dags/dag_of_b/dagRuns", {})).rejects.toThrow('403 {"detail":"Forbidden"}');
  await expect(ann.call("GET", "/api/v2/variables/var_b")).rejects.toThrow('403 {"detail":"Forbidden"}');
  expect(await ann.call("GET", "/ui/teams")).toEqual({ teams: [{ name: "team_a" }], total_entries: 1 });
  expect(await ann.call("GET", "/ui/config")).toMatchObject({ multi_team: true });
});
