import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createTestApi, type TestApi } from "../../../test/support/api.ts";
import { createTestDatabase, type TestDatabase } from "../../../test/support/database.ts";
import { makeDag, makeRun, makeTaskInstance, makeVersion, NOON } from "../../../test/support/factories.ts";
import { addMicros } from "../../kit/instant.ts";
import type { TaskInstanceState } from "../../domain/states.ts";
import { VersionCache } from "../../store/dag-versions.ts";
import { taskInstanceBulkRoutes } from "./task-instance-bulk.ts";
import { clearTaskInstanceRoutes } from "./task-instance-clear.ts";
import { taskInstancePatchRoutes } from "./task-instance-patch.ts";

let test: TestDatabase;
let api: TestApi;

beforeAll(async () => {
  test = await createTestDatabase();
  const versions = new VersionCache(test.db);
  const routes = [clearTaskInstanceRoutes, taskInstancePatchRoutes, taskInstanceBulkRoutes];
  api = await createTestApi(test.db, routes, { graph: async (id) => (await versions.get(id)).graph });
});
afterAll(async () => {
  await api.close();
  await test.close();
});

let dagId: string;
let runId: string;
let dagRunId: number;
let clearUrl: string;
let tisUrl: string;

const group = (children: object) => ({
  _group_id: null,
  group_display_name: "",
  prefix_group_id: true,
  tooltip: "",
  ui_color: "CornflowerBlue",
  ui_fgcolor: "#000",
  children,
  upstream_group_ids: [],
  downstream_group_ids: [],
  upstream_task_ids: [],
  downstream_task_ids: [],
});

beforeEach(async () => {
  api.events.length = 0;
  api.user = { name: "ann", role: "USER" };
  dagId = (await makeDag(test.db)).dag_id;
  const tasks = [{ id: "a", downstream: ["g.b"] }, { id: "g.b", downstream: ["g.c"] }, { id: "g.c" }];
  const g = { ...group({ "g.b": ["operator", "g.b"], "g.c": ["operator", "g.c"] }), _group_id: "g" };
  const root = group({ a: ["operator", "a"], g: ["taskgroup", g] });
  await makeVersion(test.db, { dag_id: dagId }, { tasks, dag: { task_group: root } });
  await run({ a: "success", "g.b": "failed", "g.c": "upstream_failed" }, { state: "failed", logical_date: NOON });
});

async function run(states: Record<string, TaskInstanceState | null>, columns: object = {}) {
  const made = await makeRun(test.db, { dag_id: dagId, ...columns });
  runId = made.run_id;
  dagRunId = made.id;
  clearUrl = `/api/v2/dags/${dagId}/clearTaskInstances`;
  tisUrl = `/api/v2/dags/${dagId}/dagRuns/${runId}/taskInstances`;
  for (const [task_id, state] of Object.entries(states)) {
    await makeTaskInstance(test.db, { dag_run_id: made.id, task_id, state, try_number: 1 });
  }
  return made;
}

async function states(id = dagRunId) {
  const rows = await test.db
    .selectFrom("task_instance")
    .select(["task_id", "state"])
    .where("dag_run_id", "=", id)
    .where("map_index", "=", -1)
    .execute();
  return Object.fromEntries(rows.map((row) => [row.task_id, row.state]));
}

interface Answer {
  task_instances: { task_id: string; map_index: number; state: string | null; note: string | null }[];
  total_entries: number;
}
const post = async (body: object) => await api.request("POST", clearUrl, body);
const patch = async (path: string, body: object) => await api.request("PATCH", `${tisUrl}${path}`, body);
const ids = (body: Answer) => body.task_instances.map((ti) => ti.task_id);

describe("clearTaskInstances", () => {
  it("only tells what it would clear, unless dry_run is false", async () => {
    const response = await post({ dag_run_id: runId });
    expect(ids(response.json())).toEqual(["g.b", "g.c"]);
    expect(await states()).toMatchObject({ "g.b": "failed" });
    expect(api.events).toEqual([]);
  });

  it("clears failed tasks and queues the run", async () => {
    const response = await post({ dry_run: false, dag_run_id: runId, note: "again" });
    expect(response.json<Answer>()).toMatchObject({
      total_entries: 2,
      task_instances: [
        { task_id: "g.b", state: null, note: "again" },
        { task_id: "g.c", state: null },
      ],
    });
    expect(await states()).toEqual({ a: "success", "g.b": null, "g.c": null });
    expect(api.events).toEqual([{ kind: "dag-run", dagRunId }]);
    const [log] = await test.db.selectFrom("log").selectAll().where("dag_id", "=", dagId).execute();
    expect(log).toMatchObject({ event: "post_clear_task_instances", owner: "ann", run_id: runId });
  });

  it("takes relatives along", async () => {
    const down = { dag_run_id: runId, only_failed: false, task_ids: ["g.b"], include_downstream: true };
    expect(ids((await post(down)).json())).toEqual(["g.b", "g.c"]);
    const up = { dag_run_id: runId, only_failed: false, task_ids: ["g.b"], include_upstream: true };
    expect(ids((await post(up)).json())).toEqual(["a", "g.b"]);
  });

  it("clears single map indexes", async () => {
    for (const map_index of [0, 1]) {
      await makeTaskInstance(test.db, {
        dag_run_id: dagRunId,
        task_id: "m",
        map_index,
        state: "failed",
        try_number: 1,
      });
    }
    const response = await post({ dry_run: false, dag_run_id: runId, task_ids: [["m", 1]] });
    expect(response.json()).toMatchObject({ total_entries: 1, task_instances: [{ map_index: 1 }] });
  });

  it("reaches the past and the future", async () => {
    const later = await run({ a: "failed" }, { state: "failed", logical_date: addMicros(NOON, 86_400_000_000) });
    const found = await post({ dag_run_id: later.run_id, include_past: true });
    expect(found.json()).toMatchObject({ total_entries: 3 });
    const manual = await run({ a: "failed" });
    expect((await post({ dag_run_id: manual.run_id, include_future: true })).statusCode).toBe(400);
    const dated = await post({ start_date: "2026-01-01T12:00:00Z", end_date: "2026-01-01T12:00:00Z" });
    expect(dated.json()).toMatchObject({ total_entries: 2 });
  });

  it("refuses a running task when told", async () => {
    await run({ a: "running" });
    const body = { dry_run: false, dag_run_id: runId, only_failed: false, prevent_running_task: true };
    const response = await post(body);
    expect(response.statusCode).toBe(409);
    expect(response.body).toContain("AirflowClearRunningTaskException: Disable 'prevent_running_task'");
    await post({ ...body, prevent_running_task: false });
    expect(api.events[0]).toMatchObject({ kind: "kill", reason: "cleared" });
  });

  it("checks its body as Airflow does", async () => {
    const refused = async (body: object) => {
      const response = await post(body);
      expect(response.statusCode).toBe(422);
      return response.json<{ detail: { msg: string }[] }>().detail[0]?.msg;
    };
    expect(await refused({ only_failed: true, only_running: true })).toBe(
      "Value error, only_failed and only_running both are set to True",
    );
    expect(await refused({ task_ids: [] })).toBe("Value error, task_ids list should have at least 1 element.");
    expect(await refused({ dag_run_id: runId, start_date: "2026-01-01T00:00:00Z" })).toBe(
      "Value error, Exactly one of dag_run_id or start_date must be provided",
    );
    expect(await refused({ unknown: 1 })).toBe("Extra inputs are not permitted");
    expect((await post({ dag_run_id: "none" })).json()).toEqual({
      detail: `Dag Run id none not found in dag ${dagId}`,
    });
    api.user = { name: "eve", role: "VIEWER" };
    expect((await post({})).statusCode).toBe(403);
  });
});

describe("PATCH of a task instance", () => {
  it("marks it and lets what failed behind it go on", async () => {
    const response = await patch("/g.b", { new_state: "success", note: "by hand" });
    expect(response.json()).toMatchObject({
      total_entries: 1,
      task_instances: [{ task_id: "g.b", state: "success", note: "by hand" }],
    });
    expect(await states()).toEqual({ a: "success", "g.b": "success", "g.c": null });
  });

  it("says when there is nothing to change", async () => {
    const response = await patch("/a", { new_state: "success", note: "lost" });
    expect(response.statusCode).toBe(409);
    expect(response.json()).toEqual({ detail: "Task id a is already in success state" });
    const [row] = await test.db.selectFrom("task_instance").select("note").where("dag_run_id", "=", dagRunId).execute();
    expect(row?.note).toBeNull();
  });

  it("writes, replaces and removes a note", async () => {
    const note = async (body: object, query = "") =>
      (await patch(`/a/-1${query}`, body)).json<Answer>().task_instances[0]?.note;
    expect(await note({ note: "one" })).toBe("one");
    expect(await note({ note: "two" }, "?update_mask=new_state")).toBe("one");
    expect(await note({ note: "" })).toBeNull();
    expect((await patch("/a", { note: "x".repeat(1001) })).statusCode).toBe(422);
  });

  it("tells beforehand what would change", async () => {
    const body = { new_state: "failed", include_upstream: true };
    expect(ids((await patch("/g.c/dry_run", body)).json())).toEqual(["a", "g.c"]);
    expect(ids((await patch("/g.c/-1/dry_run", { note: "x" })).json())).toEqual(["g.c"]);
    expect(await states()).toMatchObject({ a: "success" });
  });

  it("takes a map index in the path or beside it", async () => {
    for (const map_index of [0, 1, 2]) {
      await makeTaskInstance(test.db, { dag_run_id: dagRunId, map_index, try_number: 1 });
    }
    const marked = await patch("/a?map_index=1", { new_state: "skipped" });
    expect(marked.json()).toMatchObject({ total_entries: 1, task_instances: [{ map_index: 1, state: "skipped" }] });
    expect((await patch("/a/2", { new_state: "skipped" })).json()).toMatchObject({ total_entries: 1 });
    const rest = await patch("/a/dry_run?map_index=0", { new_state: "skipped" });
    expect(rest.json()).toMatchObject({ total_entries: 1, task_instances: [{ map_index: 0 }] });
    expect((await patch("/a/dry_run", { new_state: "skipped" })).json()).toMatchObject({ total_entries: 2 });
  });

  it("checks the state, the task and the instance", async () => {
    expect((await patch("/a", { new_state: "queued" })).json()).toMatchObject({
      detail: [
        { loc: ["body", "new_state"], msg: "Value error, 'queued' is not one of ['success', 'failed', 'skipped']" },
      ],
    });
    expect((await patch("/x", { new_state: "failed" })).json()).toEqual({
      detail: `Task 'x' not found in Dag '${dagId}'`,
    });
    expect((await patch("/a/7", { new_state: "failed" })).json<{ detail: string[] }>().detail[0]).toMatch(
      /map_index: `7` was not found$/,
    );
  });

  it("marks a whole group", async () => {
    const url = `/api/v2/dags/${dagId}/dagRuns/${runId}/taskGroupInstances/g`;
    const dry = await api.request("PATCH", `${url}/dry_run`, { new_state: "skipped" });
    expect(ids(dry.json())).toEqual(["g.b", "g.c"]);
    const done = await api.request("PATCH", url, { new_state: "skipped" });
    expect(done.json()).toMatchObject({ total_entries: 2 });
    expect(await states()).toEqual({ a: "success", "g.b": "skipped", "g.c": "skipped" });
    const again = await api.request("PATCH", url, { new_state: "skipped" });
    expect(again.json()).toEqual({ detail: "All task instances in the group are already in skipped state" });
    expect((await api.request("PATCH", `${url}x`, { new_state: "failed" })).statusCode).toBe(404);
  });
});

describe("DELETE and bulk", () => {
  it("removes a task instance with its history", async () => {
    const response = await api.request("DELETE", `${tisUrl}/a`);
    expect([response.statusCode, response.body]).toEqual([200, "null"]);
    expect(await states()).not.toHaveProperty("a");
    expect((await api.request("DELETE", `${tisUrl}/a`)).statusCode).toBe(404);
  });

  it("updates many, and reports each", async () => {
    const body = {
      actions: [
        {
          action: "update",
          entities: [
            { task_id: "g.b", new_state: "success" },
            { task_id: "a", map_index: -1, note: "seen" },
          ],
        },
        { action: "delete", entities: ["g.c", { task_id: "gone", map_index: 3 }] },
        { action: "create", entities: [] },
      ],
    };
    const answer = (await patch("", body)).json<Record<string, { success: string[]; errors: object[] }>>();
    expect(answer.update?.success).toEqual([`${dagId}.${runId}.a[-1]`, `${dagId}.${runId}.g.b[-1]`]);
    expect(answer.delete).toEqual({
      success: [],
      errors: [
        {
          error: `The task instances with these identifiers: [{'dag_id': '${dagId}', 'dag_run_id': '${runId}', 'task_id': 'gone', 'map_index': 3}] were not found`,
          status_code: 404,
        },
      ],
    });
    expect(answer.create?.errors).toEqual([{ error: "Task instances bulk create is not supported", status_code: 405 }]);
    expect(await states()).toEqual({ a: "success", "g.b": "success", "g.c": null });
  });

  it("needs to know the run behind a wildcard", async () => {
    const url = "/api/v2/dags/~/dagRuns/~/taskInstances";
    const entity = { task_id: "a", dag_id: dagId, dag_run_id: runId };
    const body = {
      actions: [{ action: "delete", entities: ["a", entity], action_on_non_existence: "skip" }],
    };
    expect((await api.request("PATCH", url, body)).json()).toMatchObject({
      delete: { success: [`${dagId}.${runId}.a[-1]`], errors: [{ status_code: 400 }] },
      update: null,
    });
  });
});
