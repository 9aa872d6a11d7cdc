import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createTestApi, type TestApi } from "../../../test/support/api.ts";
import { createTestDatabase, type TestDatabase } from "../../../test/support/database.ts";
import { makeDag, makeRun, makeTaskInstance, makeVersion } from "../../../test/support/factories.ts";
import { parseInstant } from "../../kit/instant.ts";
import type { JsonText } from "../../kit/json-text.ts";
import { dagRunWaitRoutes } from "./dag-run-wait.ts";
import { dagRunClearRoutes } from "./dag-runs-clear.ts";

let database: TestDatabase;
let api: TestApi;

beforeAll(async () => {
  database = await createTestDatabase();
  api = await createTestApi(database.db, [dagRunClearRoutes, dagRunWaitRoutes]);
});
afterAll(async () => {
  await api.close();
  await database.close();
});
beforeEach(() => {
  api.events.length = 0;
});

async function dagWithVersion(tasks?: Parameters<typeof makeVersion>[2]) {
  const dag = await makeDag(database.db);
  const version = await makeVersion(database.db, { dag_id: dag.dag_id }, tasks);
  return { dagId: dag.dag_id, version, url: `/api/v2/dags/${dag.dag_id}/dagRuns` };
}

describe("clearing runs", () => {
  it("shows what it would clear, then clears", async () => {
    const { db } = database;
    const { dagId, url } = await dagWithVersion({ tasks: [{ id: "a" }, { id: "b" }] });
    const run = await makeRun(db, { dag_id: dagId, run_id: "c", state: "failed" });
    await makeTaskInstance(db, { dag_run_id: run.id, task_id: "a", state: "success", try_number: 1 });
    await makeTaskInstance(db, { dag_run_id: run.id, task_id: "b", state: "failed", try_number: 1 });
    const dry = await api.request("POST", `${url}/c/clear`, { only_failed: true });
    expect(dry.json()).toMatchObject({ task_instances: [{ task_id: "b", state: "failed" }], total_entries: 1 });
    const audits = db.selectFrom("log").select("event").where("dag_id", "=", dagId);
    expect(await audits.execute()).toEqual([]);

    const cleared = await api.request("POST", `${url}/c/clear`, { dry_run: false, only_failed: true, note: "again" });
    expect(cleared.json()).toMatchObject({ dag_run_id: "c", state: "queued", note: "again", end_date: null });
    const states = await db
      .selectFrom("task_instance")
      .select(["task_id", "state"])
      .where("dag_run_id", "=", run.id)
      .orderBy("task_id")
      .execute();
    expect(states).toEqual([
      { task_id: "a", state: "success" },
      { task_id: "b", state: null },
    ]);
    expect(api.events).toEqual([{ kind: "dag-run", dagRunId: run.id }]);
    expect(await audits.execute()).toEqual([{ event: "clear_dag_run" }]);
    expect((await api.request("POST", `${url}/c/clear`, { only_new: true, only_failed: true })).json()).toMatchObject({
      detail: [{ type: "value_error", msg: "Value error, only_new and only_failed are mutually exclusive" }],
    });
  });

  it("queues only the tasks that are new in the latest version", async () => {
    const { db } = database;
    const { dagId, url } = await dagWithVersion({ tasks: [{ id: "a" }] });
    const run = await makeRun(db, { dag_id: dagId, run_id: "n", state: "success" });
    const kept = await makeTaskInstance(db, { dag_run_id: run.id, task_id: "a", state: "success", try_number: 1 });
    const second = await makeVersion(db, { dag_id: dagId }, { tasks: [{ id: "a" }, { id: "fresh" }] });
    const dry = await api.request("POST", `${url}/n/clear`, { only_new: true });
    expect(dry.json()).toEqual({
      task_instances: [{ task_id: "fresh", task_display_name: "fresh" }],
      total_entries: 1,
    });
    const done = await api.request("POST", `${url}/n/clear`, { only_new: true, dry_run: false });
    expect(done.json()).toMatchObject({ state: "queued" });
    const rows = await db
      .selectFrom("task_instance")
      .select(["id", "task_id", "state", "dag_version_id"])
      .where("dag_run_id", "=", run.id)
      .orderBy("task_id")
      .execute();
    expect(rows).toEqual([
      { id: kept.id, task_id: "a", state: "success", dag_version_id: kept.dag_version_id },
      { id: expect.any(String) as string, task_id: "fresh", state: null, dag_version_id: second.id },
    ]);
  });

  it("clears several, across DAGs", async () => {
    const { db } = database;
    const first = await dagWithVersion();
    const second = await dagWithVersion();
    for (const { dagId } of [first, second]) {
      const run = await makeRun(db, { dag_id: dagId, run_id: "s", state: "success" });
      await makeTaskInstance(db, { dag_run_id: run.id, state: "success", try_number: 1 });
    }
    const both = [
      { dag_run_id: "s", dag_id: first.dagId },
      { dag_run_id: "s", dag_id: second.dagId },
    ];
    const clear = (dagId: string, body: object) => api.request("POST", `/api/v2/dags/${dagId}/clearDagRuns`, body);
    expect((await clear("~", { dag_runs: both })).json()).toMatchObject({ total_entries: 2 });
    expect((await clear("~", { dag_runs: both, dry_run: false })).json()).toMatchObject({
      dag_runs: [
        { dag_id: first.dagId, state: "queued" },
        { dag_id: second.dagId, state: "queued" },
      ],
    });
    expect((await clear(first.dagId, { dag_runs: both })).json()).toEqual({
      detail: `Entry dag_id '${second.dagId}' does not match the URL dag_id '${first.dagId}'.`,
    });
    expect((await clear("~", { dag_runs: [{ dag_run_id: "s" }] })).statusCode).toBe(400);
    expect((await clear(first.dagId, {})).json()).toMatchObject({ detail: [{ type: "value_error", loc: ["body"] }] });
    const partitions = await api.request("POST", `/api/v2/dags/${first.dagId}/clearPartitions`, { run_id: "s" });
    expect(partitions.json()).toEqual({ dag_runs_cleared: 0, task_instances_cleared: 0, dry_run: true });
  });
});

describe("waiting", () => {
  it("streams states until the end, with results", async () => {
    const { db } = database;
    const { dagId, url } = await dagWithVersion();
    const run = await makeRun(db, { dag_id: dagId, run_id: "w" });
    const place = { dag_run_id: run.id, dag_id: dagId, run_id: "w", key: "return_value" };
    await db
      .insertInto("xcom")
      .values([
        { ...place, task_id: "one", value: "1.0" as JsonText, dag_result: true },
        { ...place, task_id: "many", map_index: 0, value: '"x"' as JsonText },
        { ...place, task_id: "many", map_index: 1, value: '"y"' as JsonText },
      ])
      .execute();
    const waiting = api.get(`${url}/w/wait?interval=0.01`);
    await db
      .updateTable("dag_run")
      .set({ state: "success", end_date: parseInstant("2026-01-02T00:00:00Z") })
      .where("id", "=", run.id)
      .execute();
    const response = await waiting;
    expect(response.headers["content-type"]).toContain("application/x-ndjson");
    const lines = response.payload.trimEnd().split("\n");
    expect(lines.at(-1)).toBe('{"state":"success","results":{"one":1.0}}');
    expect(new Set(lines.slice(0, -1))).toEqual(new Set(lines.length > 1 ? ['{"state":"running"}'] : []));
    const chosen = await api.get(`${url}/w/wait?interval=1&result=many`);
    expect(chosen.json()).toEqual({ state: "success", results: { many: ["x", "y"] } });
    expect((await api.get(`${url}/none/wait?interval=1`)).statusCode).toBe(404);
    expect((await api.get(`${url}/w/wait?interval=0`)).json()).toMatchObject({ detail: [{ type: "greater_than" }] });
    expect((await api.get(`${url}/w/wait`)).json()).toMatchObject({ detail: [{ type: "missing" }] });
  });
});
