import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createTestApi, type TestApi } from "../../../test/support/api.ts";
import { createTestDatabase, type TestDatabase } from "../../../test/support/database.ts";
import {
  makeDag,
  makeRun,
  makeTaskInstance,
  makeTaskInstanceHistory,
  makeVersion,
  NOON,
} from "../../../test/support/factories.ts";
import { addMicros } from "../../kit/instant.ts";
import { toJsonText, type JsonText } from "../../kit/json-text.ts";
import { VersionCache } from "../../store/dag-versions.ts";
import { taskDependencyRoutes } from "./task-dependencies.ts";
import { taskInstanceRoutes } from "./task-instances.ts";

let test: TestDatabase;
let api: TestApi;
let url: string;
let dagId: string;
let runId: string;
let dagRunId: number;

beforeAll(async () => {
  test = await createTestDatabase();
  const versions = new VersionCache(test.db);
  api = await createTestApi(test.db, [taskInstanceRoutes, taskDependencyRoutes], {
    graph: async (id) => (await versions.get(id)).graph,
  });
  const dag = await makeDag(test.db, { dag_id: "etl", dag_display_name: "ETL" });
  dagId = dag.dag_id;
  const tasks = [{ id: "a", downstream: ["b"] }, { id: "b" }, { id: "m", pool: "none" }];
  await makeVersion(test.db, { dag_id: dagId }, { tasks });
  const run = await makeRun(test.db, { dag_id: dagId, run_id: "manual__1", logical_date: NOON });
  runId = run.run_id;
  dagRunId = run.id;
  await makeTaskInstance(test.db, {
    dag_run_id: run.id,
    state: "success",
    try_number: 2,
    max_tries: 3,
    start_date: NOON,
    end_date: addMicros(NOON, 1_500_000),
    duration: 1.5,
    executor_config: toJsonText({ cpu: 1, on: true }),
    note: "hello",
    queued_dttm: addMicros(NOON, -808_190),
  });
  await makeTaskInstance(test.db, { dag_run_id: run.id, task_id: "b" });
  for (let map_index = 0; map_index < 12; map_index++) {
    const state = map_index % 2 ? ("failed" as const) : null;
    await makeTaskInstance(test.db, { dag_run_id: run.id, task_id: "m", map_index, state, pool: "none" });
  }
  await test.db
    .insertInto("rendered_task_instance_fields")
    .values({ dag_run_id: run.id, task_id: "a", rendered_fields: '{"n": 60.0, "s": "x"}' as JsonText })
    .execute();
  const [a] = await test.db.selectFrom("task_instance").selectAll().where("task_id", "=", "a").execute();
  await makeTaskInstanceHistory(test.db, { dag_run_id: run.id, state: "failed", try_number: 1, executor: a?.executor });
  const other = await makeRun(test.db, { dag_id: (await makeDag(test.db)).dag_id });
  await makeTaskInstance(test.db, { dag_run_id: other.id, state: "running", start_date: NOON });
  url = `/api/v2/dags/${dagId}/dagRuns/${runId}/taskInstances`;
});
afterAll(async () => {
  await api.close();
  await test.close();
});

interface Collection {
  task_instances: { id: string; task_id: string; map_index: number; state: string | null; try_number: number }[];
  total_entries: number;
  next_cursor: string | null;
  previous_cursor: string | null;
  total_entries_limit: number | null;
}
const list = async (query: string, base = url) => (await api.get(`${base}${query}`)).json<Collection>();
const names = (found: Collection) => found.task_instances.map((ti) => `${ti.task_id}${ti.map_index}`);

describe("one task instance", () => {
  it("is answered with every field", async () => {
    const response = await api.get(`${url}/a`);
    expect(response.body).toContain('"rendered_fields":{"n": 60.0, "s": "x"}');
    expect(response.json()).toEqual({
      id: expect.any(String) as string,
      task_id: "a",
      dag_id: "etl",
      dag_run_id: "manual__1",
      map_index: -1,
      logical_date: "2026-01-01T12:00:00Z",
      run_after: "2026-01-01T12:00:00Z",
      start_date: "2026-01-01T12:00:00Z",
      end_date: "2026-01-01T12:00:01.500000Z",
      duration: 1.5,
      state: "success",
      try_number: 2,
      max_tries: 3,
      task_display_name: "a",
      dag_display_name: "ETL",
      hostname: "",
      unixname: "",
      pool: "default_pool",
      pool_slots: 1,
      queue: "default",
      priority_weight: 1,
      operator: "PythonOperator",
      operator_name: "PythonOperator",
      queued_when: "2026-01-01T11:59:59.191810Z",
      scheduled_when: null,
      pid: null,
      executor: null,
      executor_config: "{'cpu': 1, 'on': True}",
      note: "hello",
      rendered_map_index: null,
      rendered_fields: { n: 60, s: "x" },
      trigger: null,
      triggerer_job: null,
      dag_version: expect.objectContaining({ version_number: 1, dag_id: "etl", dag_display_name: "ETL" }) as object,
    });
  });

  it("is found by its map index", async () => {
    const found = await api.get(`${url}/m/3`);
    expect(found.json()).toMatchObject({ map_index: 3, rendered_map_index: "3", state: "failed" });
    expect((await api.get(`${url}/a/-1`)).json()).toMatchObject({ task_id: "a" });
  });

  it("is missed in Airflow's words", async () => {
    expect((await api.get(`${url}/x`)).json()).toEqual({
      detail: "The Task Instance with dag_id: `etl`, run_id: `manual__1` and task_id: `x` was not found",
    });
    expect((await api.get(`${url}/m`)).json()).toEqual({
      detail: "Task instance is mapped, add the map_index value to the URL",
    });
    expect((await api.get(`${url}/m/77`)).statusCode).toBe(404);
    expect((await api.get(`${url}/m/first`)).json()).toMatchObject({
      detail: [{ type: "int_parsing", loc: ["path", "map_index"] }],
    });
  });
});

describe("lists", () => {
  it("are filtered, sorted and paged", async () => {
    expect((await list("")).total_entries).toBe(14);
    expect(names(await list("?state=failed&order_by=-map_index&limit=2"))).toEqual(["m11", "m9"]);
    expect(names(await list("?state=success&state=none&task_id=b"))).toEqual(["b-1"]);
    expect(names(await list("?map_index=4&map_index=5"))).toEqual(["m4", "m5"]);
    expect(names(await list("?rendered_map_index_pattern=11"))).toEqual(["m11"]);
    expect(names(await list("?pool_name_pattern=ON&limit=1&offset=10"))).toEqual(["m10"]);
    expect(names(await list("?duration_gte=1&duration_lt=2"))).toEqual(["a-1"]);
    expect(names(await list("?task_display_name_prefix_pattern=a"))).toEqual(["a-1"]);
    expect(names(await list("?version_number=2"))).toEqual([]);
    expect(names(await list("?end_date_lte=2026-01-01T12:00:02Z&try_number=2"))).toEqual(["a-1"]);
  });

  it("follow ~ across runs and DAGs", async () => {
    expect((await list("?state=running", "/api/v2/dags/~/dagRuns/~/taskInstances")).total_entries).toBe(1);
    expect((await list("", "/api/v2/dags/etl/dagRuns/~/taskInstances")).total_entries).toBe(14);
    const all = await list("?dag_id_pattern=etl&run_id_pattern=MANUAL", "/api/v2/dags/~/dagRuns/~/taskInstances");
    expect(all.total_entries).toBe(14);
    const mixed = await api.get(`/api/v2/dags/~/dagRuns/${runId}/taskInstances`);
    expect(mixed.json()).toEqual({ detail: "dag_id is required when dag_run_id is specified" });
    expect((await api.get("/api/v2/dags/none/dagRuns/~/taskInstances")).statusCode).toBe(404);
    expect((await api.get("/api/v2/dags/etl/dagRuns/none/taskInstances")).json()).toEqual({
      detail: "DagRun with dag_id: `etl` and run_id: `none` was not found",
    });
  });

  it("refuse what they do not know", async () => {
    const state = await api.get(`${url}?state=bad`);
    expect(state.statusCode).toBe(422);
    expect(state.json<{ detail: string }>().detail).toMatch(/^Invalid value for state\. Valid values are removed, /);
    expect((await api.get(`${url}?order_by=pid`)).statusCode).toBe(400);
    expect((await api.get(`${url}?start_date_gte=soon`)).statusCode).toBe(422);
    expect((await api.get(`${url}?task_group_id=none`)).json()).toEqual({
      detail: { reason: "not_found", message: "Task group none not found" },
    });
  });

  it("page by cursor, there and back", async () => {
    const seen: string[] = [];
    let page = await list("?limit=5&cursor=&order_by=state&order_by=-map_index");
    expect(page).toMatchObject({ total_entries: 14, total_entries_limit: 50_000, previous_cursor: null });
    const first = names(page);
    seen.push(...first);
    while (page.next_cursor) {
      page = await list(`?limit=5&order_by=state&order_by=-map_index&cursor=${page.next_cursor}`);
      seen.push(...names(page));
    }
    expect(new Set(seen).size).toBe(14);
    page = await list(`?limit=5&order_by=state&order_by=-map_index&cursor=${page.previous_cursor}`);
    page = await list(`?limit=5&order_by=state&order_by=-map_index&cursor=${page.previous_cursor}`);
    expect(names(page)).toEqual(first);
    expect(page.previous_cursor).toBeNull();
    expect((await api.get(`${url}?cursor=%21`)).json()).toEqual({ detail: "Invalid cursor token" });
  });

  it("of a mapped task tell nothing from not mapped", async () => {
    const mapped = await list("?order_by=rendered_map_index&limit=3", `${url}/m/listMapped`);
    expect(names(mapped)).toEqual(["m0", "m1", "m2"]);
    expect(mapped.total_entries).toBe(12);
    expect((await api.get(`${url}/a/listMapped`)).json()).toEqual({ detail: "Task id a is not mapped" });
    expect((await api.get(`${url}/x/listMapped`)).json()).toEqual({ detail: "Task id x not found" });
  });

  it("are asked for by body", async () => {
    const batch = "/api/v2/dags/~/dagRuns/~/taskInstances/list";
    const body = { dag_ids: ["etl"], state: ["failed", null], page_limit: 3, order_by: "-map_index" };
    const found = (await api.request("POST", batch, body)).json<Collection>();
    expect(names(found)).toEqual(["m11", "m10", "m9"]);
    expect(found.total_entries).toBe(13);
    expect((await api.request("POST", batch, { bad: 1 })).statusCode).toBe(422);
    expect((await api.request("POST", `${url}/list`, {})).json()).toMatchObject({
      detail: [{ type: "literal_error" }],
    });
  });
});

describe("tries", () => {
  it("are the history and the live one", async () => {
    const found = (await api.get(`${url}/a/tries`)).json<Collection>();
    expect(found.task_instances.map((one) => [one.try_number, one.state])).toEqual([
      [1, "failed"],
      [2, "success"],
    ]);
    expect(found.total_entries).toBe(2);
    expect((await api.get(`${url}/m/2/tries`)).json()).toMatchObject({ total_entries: 1 });
    expect((await api.get(`${url}/m/tries`)).statusCode).toBe(404);
  });

  it("are found by number", async () => {
    expect((await api.get(`${url}/a/tries/1`)).json()).toMatchObject({ state: "failed", try_number: 1 });
    expect((await api.get(`${url}/a/tries/2`)).json()).toMatchObject({ state: "success", dag_run_id: runId });
    expect((await api.get(`${url}/a/tries/9`)).json()).toEqual({
      detail:
        "The Task Instance with dag_id: `etl`, run_id: `manual__1`, task_id: `a`, try_number: `9` and map_index: `-1` was not found",
    });
  });

  it("of a task that waits for its retry are told once", async () => {
    const run = await makeRun(test.db, { dag_id: dagId });
    await makeTaskInstance(test.db, { dag_run_id: run.id, state: "up_for_retry", try_number: 1 });
    await makeTaskInstanceHistory(test.db, { dag_run_id: run.id, try_number: 1 });
    const found = await list("", `/api/v2/dags/${dagId}/dagRuns/${run.run_id}/taskInstances/a/tries`);
    expect(found.total_entries).toBe(1);
  });
});

describe("dependencies", () => {
  it("say why a task waits", async () => {
    await test.db.updateTable("dag").set({ is_paused: true }).where("dag_id", "=", dagId).execute();
    const waiting = await makeRun(test.db, { dag_id: dagId, state: "queued" });
    await makeTaskInstance(test.db, { dag_run_id: waiting.id, state: "running" });
    await makeTaskInstance(test.db, { dag_run_id: waiting.id, task_id: "b" });
    await makeTaskInstance(test.db, { dag_run_id: waiting.id, task_id: "m", pool: "none", state: "scheduled" });
    const base = `/api/v2/dags/${dagId}/dagRuns/${waiting.run_id}/taskInstances`;
    const { dependencies } = (await api.get(`${base}/b/dependencies`)).json<{
      dependencies: { name: string; reason: string }[];
    }>();
    expect(dependencies).toEqual([
      { name: "Dag Not Paused", reason: "Task's DAG 'etl' is paused." },
      {
        name: "Dagrun Running",
        reason: "Task instance's dagrun was not in the 'running' state but in the state 'queued'.",
      },
      { name: "Task Instance State", reason: "Task is in the 'None' state." },
      {
        name: "Trigger Rule",
        reason:
          "Task's trigger rule 'all_success' requires all upstream tasks to have succeeded, but found 1 non-success(es). " +
          "upstream_states=_UpstreamTIStates(success=0, skipped=0, failed=0, upstream_failed=0, removed=0, done=0, " +
          "success_setup=0, skipped_setup=0), upstream_task_ids={'a'}",
      },
    ]);
    const pool = await api.get(`${base}/m/dependencies`);
    expect(pool.body).toContain("Tasks using non-existent pool 'none' will not be scheduled");
    expect((await api.get(`${base}/a/dependencies`)).json()).toEqual({ dependencies: [] });
    expect((await api.get(`${base}/b/5/dependencies`)).statusCode).toBe(404);
    expect(dagRunId).toBeGreaterThan(0);
  });
});
