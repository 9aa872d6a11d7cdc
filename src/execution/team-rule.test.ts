import { afterAll, beforeAll, expect, it } from "vitest";
import type { Reply } from "../domain/task-execution.ts";
import { createTeams, setBundleTeams } from "../store/teams.ts";
import { createTestExecution, WORKER, type TestExecution } from "../../test/support/execution.ts";
import { makeRunningTask } from "../../test/support/factories.ts";

/** Tasks of DAGs of two teams and of nobody, and what belongs to each of the three. */
let t: TestExecution;
const teamSecrets = new Map([
  ["AIRFLOW_VAR__TEAM_A___V_ENV", "of the environment"],
  ["AIRFLOW_CONN__TEAM_A___C_ENV", "http://user:word@host/"],
]);
const tries = new Map<string, { id: string; dagId: string; runId: string }>();

beforeAll(async () => {
  t = await createTestExecution({ multiTeam: true, teamSecrets });
  const { db } = t.database;
  await createTeams(db, ["team_a", "team_b"]);
  await setBundleTeams(
    db,
    new Map([
      ["bundle_a", "team_a"],
      ["bundle_b", "team_b"],
    ]),
  );
  for (const [owner, bundle, team] of [
    ["a", "bundle_a", "team_a"],
    ["b", "bundle_b", "team_b"],
    ["none", "dags-folder", null],
  ] as const) {
    const { ti, run, dag } = await makeRunningTask(db);
    await db.updateTable("dag").set({ bundle_name: bundle }).where("dag_id", "=", dag.dag_id).execute();
    tries.set(owner, { id: ti.id, dagId: dag.dag_id, runId: run.run_id });
    await db
      .insertInto("variable")
      .values({ key: `v_${owner}`, val: owner, is_encrypted: false, team_name: team })
      .execute();
    await db
      .insertInto("connection")
      .values({ conn_id: `c_${owner}`, conn_type: "http", team_name: team })
      .execute();
  }
});
afterAll(() => t.database.close());

const OWNERS = ["a", "b", "none"];
const send = (owner: string, type: string, fields: Record<string, unknown>): Promise<Reply> =>
  t.execution.handle(tries.get(owner)?.id ?? "", { type, ...fields });
/** The error's name or status; null where there is none. */
function errorOf(reply: Reply): unknown {
  if ("error" in reply) return (reply.error["detail"] as { status_code?: number }).status_code;
  return reply.body?.["error"] ?? null;
}

it.each([
  ["a", ["a", "none"]],
  ["b", ["b", "none"]],
  ["none", ["none"]],
  // A DAG file that is being parsed, a trigger: nobody's.
  ["parser", ["none"]],
])("shows a task of %s what its team owns, and what nobody owns", async (owner, seen) => {
  for (const each of OWNERS) {
    const variable = await send(owner, "GetVariable", { key: `v_${each}` });
    expect([each, errorOf(variable)]).toEqual([each, seen.includes(each) ? null : "VARIABLE_NOT_FOUND"]);
    const connection = await send(owner, "GetConnection", { conn_id: `c_${each}` });
    expect([each, errorOf(connection)]).toEqual([each, seen.includes(each) ? null : "CONNECTION_NOT_FOUND"]);
  }
  const own = owner === "parser" ? "none" : owner;
  expect(await send(owner, "GetVariableKeys", {})).toMatchObject({ body: { keys: [`v_${own}`], total_entries: 1 } });
});

it("gives a task what the environment keeps for its team, to no other", async () => {
  for (const owner of [...OWNERS, "parser"]) {
    const variable = await send(owner, "GetVariable", { key: "v_env" });
    const connection = await send(owner, "GetConnection", { conn_id: "c_env" });
    const spelled = await send(owner, "GetVariable", { key: "_team_a___v_env" });
    const found = owner === "a";
    expect([owner, errorOf(variable) === null, errorOf(connection) === null, errorOf(spelled)]).toEqual([
      ...[owner, found, found, "VARIABLE_NOT_FOUND"],
    ]);
    if (!found) continue;
    expect(variable).toMatchObject({ body: { value: "of the environment" } });
    expect(connection).toMatchObject({ body: { conn_type: "http", host: "host", login: "user", password: "word" } });
  }
});

it("makes variables of the task's team, and leaves those of others alone", async () => {
  const put = (owner: string, key: string) => send(owner, "PutVariable", { key, value: owner, description: null });
  const teamOf = async (key: string) =>
    (await t.database.db.selectFrom("variable").select("team_name").where("key", "=", key).executeTakeFirst())
      ?.team_name;
  expect(await put("a", "new")).toEqual({ body: null });
  expect(await teamOf("new")).toBe("team_a");
  expect(errorOf(await put("b", "new"))).toBe(403);
  expect(errorOf(await put("none", "new"))).toBe(403);
  expect(await send("a", "GetVariable", { key: "new" })).toMatchObject({ body: { value: "a" } });
  await send("b", "DeleteVariable", { key: "new" });
  expect(await teamOf("new")).toBe("team_a");
  await send("a", "DeleteVariable", { key: "new" });
  expect(await teamOf("new")).toBeUndefined();
  expect([await put("none", "of_all"), await put("b", "of_all"), await teamOf("of_all")]).toEqual([
    { body: null },
    { body: null },
    null,
  ]);
  await send("b", "DeleteVariable", { key: "of_all" });
  expect(await teamOf("of_all")).toBeUndefined();
});

it("keeps XComs within a team; those of nobody's DAGs may be read", async () => {
  const at = (owner: string) => {
    const { dagId = "", runId = "" } = tries.get(owner) ?? {};
    return { dag_id: dagId, run_id: runId, task_id: "task", key: "k", map_index: -1 };
  };
  for (const asking of OWNERS) {
    for (const owner of OWNERS) {
      const answers = [
        await send(asking, "SetXCom", { ...at(owner), value: "1" }),
        await send(asking, "GetXCom", at(owner)),
        await send(asking, "GetXComCount", at(owner)),
        await send(asking, "GetXComSequenceSlice", at(owner)),
        await send(asking, "DeleteXCom", at(owner)),
      ].map((reply) => errorOf(reply) !== 403);
      const [own, reads] = [asking === owner, asking === owner || owner === "none"];
      expect([asking, owner, ...answers]).toEqual([asking, owner, own, reads, reads, reads, own]);
    }
  }
});

it("tells a task its team", async () => {
  for (const [owner, team] of [
    ["a", "team_a"],
    ["none", null],
  ] as const) {
    const { id = "" } = tries.get(owner) ?? {};
    const { context } = (await t.execution.start(id, WORKER)) as { context: string };
    expect(JSON.parse(context)).toMatchObject({ dag_run: { team_name: team } });
  }
});
