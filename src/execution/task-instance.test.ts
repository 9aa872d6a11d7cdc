import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { newId } from "../kit/ids.ts";
import { addMicros } from "../kit/instant.ts";
import type { Reply } from "../domain/task-execution.ts";
import { makeRun, makeRunningTask, makeTaskInstance, NOON } from "../../test/support/factories.ts";
import { createTestExecution, raw, type TestExecution } from "../../test/support/execution.ts";

let t: TestExecution;
beforeAll(async () => {
  t = await createTestExecution();
});
afterAll(() => t.database.close());

const GROUPED = {
  tasks: [{ id: "g.one" }, { id: "g.two" }, { id: "alone" }],
  dag: {
    task_group: {
      _group_id: null,
      group_display_name: "",
      prefix_group_id: true,
      tooltip: "",
      ui_color: "CornflowerBlue",
      ui_fgcolor: "#000",
      children: {
        alone: ["operator", "alone"],
        g: [
          "taskgroup",
          {
            _group_id: "g",
            group_display_name: "",
            prefix_group_id: true,
            tooltip: "",
            ui_color: "CornflowerBlue",
            ui_fgcolor: "#000",
            children: { "g.one": ["operator", "g.one"], "g.two": ["operator", "g.two"] },
            upstream_group_ids: [],
            downstream_group_ids: [],
            upstream_task_ids: [],
            downstream_task_ids: [],
          },
        ],
      },
      upstream_group_ids: [],
      downstream_group_ids: [],
      upstream_task_ids: [],
      downstream_task_ids: [],
    },
  },
};

let made: Awaited<ReturnType<typeof makeRunningTask>>;
beforeEach(async () => {
  const columns = { task_id: "alone", state: "running", start_date: NOON, try_number: 2 } as const;
  made = await makeRunningTask(t.database.db, columns, { ...GROUPED, run: { logical_date: NOON } });
});

const send = (type: string, fields: Record<string, unknown> = {}, id = made.ti.id): Promise<Reply> =>
  t.execution.handle(id, { type, dag_id: made.dag.dag_id, ...fields });

async function body(reply: Promise<Reply>): Promise<Record<string, unknown>> {
  const answer = await reply;
  if ("error" in answer || !answer.body) throw new Error(`no body: ${JSON.stringify(answer)}`);
  return answer.body;
}

const status = async (reply: Promise<Reply>) => {
  const answer = await reply;
  return "error" in answer ? (answer.error.detail as { status_code: number }).status_code : null;
};

describe("rendered fields", () => {
  const fields = () =>
    t.database.db
      .selectFrom("rendered_task_instance_fields")
      .selectAll()
      .where("dag_run_id", "=", made.run.id)
      .execute();

  it("are kept as they were written, and replaced", async () => {
    expect(await send("SetRenderedFields", { rendered_fields: raw('{"a":1.0}') })).toEqual({ body: null });
    expect(await send("SetRenderedFields", { rendered_fields: raw('{"a":2.0}') })).toEqual({ body: null });
    expect(await fields()).toMatchObject([{ task_id: "alone", map_index: -1, rendered_fields: '{"a":2.0}' }]);
  });

  it("are refused for an id nobody knows", async () => {
    expect(await status(send("SetRenderedFields", { rendered_fields: raw("{}") }, newId()))).toBe(404);
    expect(await status(send("SetRenderedFields", { rendered_fields: raw("{}") }, ""))).toBe(404);
  });
});

it("names a map index", async () => {
  expect(await send("SetRenderedMapIndex", { rendered_map_index: "europe" })).toEqual({ body: null });
  const row = await t.database.db
    .selectFrom("task_instance")
    .selectAll()
    .where("id", "=", made.ti.id)
    .executeTakeFirst();
  expect(row?.rendered_map_index).toBe("europe");
  expect(await status(send("SetRenderedMapIndex", { rendered_map_index: "" }))).toBe(422);
  expect(await status(send("SetRenderedMapIndex", { rendered_map_index: "x" }, newId()))).toBe(404);
});

describe("other task instances", () => {
  let later: Awaited<ReturnType<typeof makeRun>>;
  beforeEach(async () => {
    const { db } = t.database;
    later = await makeRun(db, { dag_id: made.dag.dag_id, logical_date: addMicros(NOON, 1_000_000) });
    const one = { dag_run_id: made.run.id, task_id: "g.one" };
    await makeTaskInstance(db, { ...one, state: "success", duration: 1.5, end_date: NOON });
    await makeTaskInstance(db, { dag_run_id: made.run.id, task_id: "g.two", map_index: 0, state: "failed" });
    await makeTaskInstance(db, { dag_run_id: made.run.id, task_id: "g.two", map_index: 1 });
    await makeTaskInstance(db, { dag_run_id: later.id, task_id: "g.one", state: "queued" });
  });

  it.each([
    [{}, 5],
    [{ task_ids: ["g.one"] }, 2],
    [{ map_index: 1 }, 1],
    [{ map_index: -1 }, 5],
    [{ states: ["success", "queued"] }, 2],
    [{ states: ["null"] }, 1],
    [{ states: ["null", "failed"] }, 2],
    [{ logical_dates: [NOON] }, 4],
    [{ task_group_id: "g" }, 4],
    [{ task_group_id: "g", task_ids: ["g.one", "alone"] }, 2],
    [{ task_group_id: "g", task_ids: ["alone"] }, 0],
    [{ task_group_id: "g", logical_dates: [NOON], states: ["success"] }, 1],
  ])("are counted: %o", async (filter, count) => {
    expect(await send("GetTICount", filter)).toEqual({ body: { type: "TICount", count } });
  });

  it("are counted by run id", async () => {
    expect(await send("GetTICount", { run_ids: [later.run_id] })).toMatchObject({ body: { count: 1 } });
  });

  it("have their states listed by run", async () => {
    const { run_id } = made.run;
    const states = async (fields: Record<string, unknown>) => (await body(send("GetTaskStates", fields))).task_states;
    expect(await states({})).toEqual({
      [run_id]: { alone: "running", "g.one": "success", "g.two_0": "failed", "g.two_1": null },
      [later.run_id]: { "g.one": "queued" },
    });
    expect(await states({ task_group_id: "g", run_ids: [run_id] })).toEqual({
      [run_id]: { "g.one": "success", "g.two_0": "failed", "g.two_1": null },
    });
    expect(await states({ task_group_id: "g", task_ids: ["alone"], run_ids: [run_id], map_index: 0 })).toEqual({
      [run_id]: { "g.two_0": "failed" },
    });
    expect(await status(send("GetTaskStates", { task_group_id: "none" }))).toBe(404);
    expect(await status(send("GetTICount", { dag_id: "none", task_group_id: "g" }))).toBe(404);
  });

  it("leave breadcrumbs once they ended", async () => {
    const crumbs = (await body(send("GetTaskBreadcrumbs", { run_id: made.run.run_id }))).breadcrumbs;
    expect(crumbs).toEqual([
      { task_id: "g.one", map_index: -1, state: "success", operator: "PythonOperator", duration: 1.5 },
      { task_id: "g.two", map_index: 0, state: "failed", operator: "PythonOperator", duration: null },
    ]);
  });

  it("are found in the run before", async () => {
    const previous = async (fields: Record<string, unknown>) =>
      (await body(send("GetPreviousTI", { task_id: "g.one", ...fields }))).task_instance;
    expect(await previous({})).toMatchObject({ run_id: later.run_id, state: "queued" });
    expect(await previous({ logical_date: later.logical_date })).toEqual({
      task_id: "g.one",
      dag_id: made.dag.dag_id,
      run_id: made.run.run_id,
      logical_date: NOON,
      start_date: null,
      end_date: NOON,
      state: "success",
      try_number: 0,
      map_index: -1,
      duration: 1.5,
    });
    expect(await previous({ state: "failed" })).toBe(null);
    expect(await previous({ logical_date: NOON })).toBe(null);
  });
});

it("has no reschedule to tell of", async () => {
  expect(await send("GetTaskRescheduleStartDate", { ti_id: made.ti.id })).toEqual({
    body: { type: "TaskRescheduleStartDate", start_date: null },
  });
});

describe("the state store", () => {
  const store = (type: string, fields: Record<string, unknown> = {}, id = made.ti.id) =>
    send(`${type}TaskStateStore`, { ti_id: id, key: "k", ...fields }, id);
  const OK = { body: { type: "OKResponse", ok: true } };

  it("keeps values through a retry", async () => {
    await t.database.db.updateTable("task_instance").set({ max_tries: 3 }).where("id", "=", made.ti.id).execute();
    expect(await store("Get")).toEqual({
      body: { type: "ErrorResponse", error: "TASK_STORE_NOT_FOUND", detail: { key: "k" } },
    });
    expect(await store("Set", { value: raw("1.0"), expires_at: NOON })).toEqual(OK);
    expect(await store("Set", { value: raw('{"n":2.0}'), expires_at: null })).toEqual(OK);
    t.events.splice(0);
    await send("RetryTask", { end_date: NOON });
    const newTry = (t.events[0] as { newId: string }).newId;
    expect(await store("Get", {}, newTry)).toEqual({ body: { type: "TaskStateStoreResult", value: raw('{"n":2.0}') } });
    expect(await status(store("Set", { value: raw("3") }))).toBe(410);
    expect(await store("Get", {}, newTry)).toMatchObject({ body: { value: raw('{"n":2.0}') } });
  });

  it("forgets one key, or all", async () => {
    for (const key of ["k", "l", "m"]) await store("Set", { key, value: raw("1"), expires_at: null });
    const keys = async () =>
      (
        await t.database.db
          .selectFrom("task_state_store")
          .select("key")
          .where("ti_dag_run_id", "=", made.run.id)
          .execute()
      )
        .map(({ key }) => key)
        .toSorted();
    expect(await store("Delete")).toEqual(OK);
    expect(await keys()).toEqual(["l", "m"]);
    expect(await store("Clear")).toEqual(OK);
    expect(await keys()).toEqual([]);
  });

  it("is reached by its own task only, and holds no null", async () => {
    expect(await status(store("Set", { value: raw("null") }))).toBe(422);
    expect(await status(store("Get", { ti_id: newId() }))).toBe(403);
    expect(await status(store("Clear", {}, newId()))).toBe(404);
  });
});
