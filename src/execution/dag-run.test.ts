import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { newId } from "../kit/ids.ts";
import { addMicros, parseInstant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import type { Reply } from "../domain/task-execution.ts";
import { makeDag, makeRun, makeTaskInstance, makeVersion, NOON } from "../../test/support/factories.ts";
import { createTestExecution, raw, type TestExecution } from "../../test/support/execution.ts";

let t: TestExecution;
beforeAll(async () => {
  t = await createTestExecution();
});
afterAll(() => t.database.close());
beforeEach(() => t.events.splice(0));

const send = (type: string, fields: Record<string, unknown>, id = ""): Promise<Reply> =>
  t.execution.handle(id, { type, ...fields });
const day = (n: number) => addMicros(NOON, n * 86_400_000_000);

async function dagWithVersion(columns: Parameters<typeof makeDag>[1] = {}) {
  const dag = await makeDag(t.database.db, columns);
  await makeVersion(t.database.db, { dag_id: dag.dag_id });
  return dag;
}

describe("runs", () => {
  it("are described as the SDK's model wants them", async () => {
    const { dag_id } = await dagWithVersion();
    const run = await makeRun(t.database.db, {
      dag_id,
      logical_date: NOON,
      data_interval_start: day(-1),
      data_interval_end: NOON,
      conf: '{"x": 1.0}' as JsonText,
      triggering_user_name: "ann",
    });
    expect(await send("GetDagRun", { dag_id, run_id: run.run_id })).toEqual({
      body: {
        type: "DagRunResult",
        dag_id,
        run_id: run.run_id,
        logical_date: NOON,
        data_interval_start: day(-1),
        data_interval_end: NOON,
        run_after: NOON,
        start_date: NOON,
        end_date: null,
        clear_number: 0,
        run_type: "manual",
        state: "running",
        conf: raw('{"x": 1.0}'),
        triggering_user_name: "ann",
        consumed_asset_events: [],
        partition_key: null,
        partition_date: null,
        note: null,
        team_name: null,
      },
    });
    expect(await send("GetDagRunState", { dag_id, run_id: run.run_id })).toEqual({
      body: { type: "DagRunStateResult", state: "running" },
    });
    expect(await send("GetDagRunState", { dag_id, run_id: "none" })).toMatchObject({
      error: { error: "API_SERVER_ERROR", detail: { status_code: 404 } },
    });
  });

  it("are counted and found before one another", async () => {
    const { dag_id } = await dagWithVersion();
    const [first, second] = await Promise.all([
      makeRun(t.database.db, { dag_id, logical_date: day(1), state: "success", data_interval_start: day(0) }),
      makeRun(t.database.db, { dag_id, logical_date: day(2), state: "failed" }),
    ]);
    const third = await makeRun(t.database.db, { dag_id, logical_date: day(3) });
    const count = async (fields: Record<string, unknown>) => {
      const reply = await send("GetDRCount", { dag_id, ...fields });
      return "body" in reply ? reply.body?.count : reply;
    };
    expect(await count({})).toBe(3);
    expect(await count({ states: ["success", "failed"] })).toBe(2);
    expect(await count({ logical_dates: [day(1), "2026-01-04T14:00:00+02:00"] })).toBe(2);
    expect(await count({ run_ids: [second.run_id], states: ["success"] })).toBe(0);

    const previous = (fields: Record<string, unknown>) => send("GetPreviousDagRun", { dag_id, ...fields });
    expect(await previous({ logical_date: day(3) })).toMatchObject({ body: { dag_run: { run_id: second.run_id } } });
    expect(await previous({ logical_date: day(3), state: "success" })).toMatchObject({
      body: { type: "PreviousDagRunResult", dag_run: { run_id: first.run_id } },
    });
    expect(await previous({ logical_date: day(1) })).toEqual({ body: { type: "PreviousDagRunResult", dag_run: null } });
    expect(await previous({ logical_date: day(1), state: "odd" })).toMatchObject({
      error: { detail: { status_code: 422 } },
    });

    const ti = await makeTaskInstance(t.database.db, { dag_run_id: third.id });
    expect(await send("GetPrevSuccessfulDagRun", { ti_id: ti.id }, ti.id)).toEqual({
      body: {
        type: "PrevSuccessfulDagRunResult",
        data_interval_start: day(0),
        data_interval_end: null,
        start_date: NOON,
        end_date: NOON,
      },
    });
    expect(await send("GetPrevSuccessfulDagRun", { ti_id: newId() })).toEqual({
      body: { type: "PrevSuccessfulDagRunResult" },
    });
  });
});

it("describes a DAG", async () => {
  const { dag_id } = await dagWithVersion({ next_dagrun: day(1), is_paused: true });
  await t.database.db
    .insertInto("dag_tag")
    .values(["b", "a"].map((name) => ({ dag_id, name })))
    .execute();
  expect(await send("GetDag", { dag_id })).toEqual({
    body: {
      type: "DagResult",
      dag_id,
      is_paused: true,
      bundle_name: "dags-folder",
      bundle_version: null,
      relative_fileloc: `${dag_id}.py`,
      owners: "airflow",
      tags: ["a", "b"],
      next_dagrun: day(1),
    },
  });
  expect(await send("GetDag", { dag_id: "none" })).toMatchObject({ error: { detail: { status_code: 404 } } });
});

describe("triggering", () => {
  const OK = { body: { type: "OKResponse", ok: true } };
  const run = (dagId: string) =>
    t.database.db
      .selectFrom("dag_run")
      .selectAll()
      .where("dag_id", "=", dagId)
      .where("run_id", "=", "new")
      .executeTakeFirst();

  it("makes a run in the name of who began the chain", async () => {
    const caller = await dagWithVersion();
    const { id: dag_run_id } = await makeRun(t.database.db, { dag_id: caller.dag_id, triggering_user_name: "ann" });
    const ti = await makeTaskInstance(t.database.db, { dag_run_id, state: "running" });
    const { dag_id } = await dagWithVersion();
    const fields = { dag_id, run_id: "new", logical_date: NOON, conf: raw('{"n": 1.0}'), note: "from a task" };
    expect(await send("TriggerDagRun", fields, ti.id)).toEqual(OK);
    const made = await run(dag_id);
    expect(made).toMatchObject({
      state: "queued",
      run_type: "operator_triggered",
      triggered_by: "operator",
      triggering_user_name: "ann",
      logical_date: NOON,
      data_interval_start: NOON,
      conf: '{"n": 1.0}',
      note: "from a task",
    });
    expect(t.events).toEqual([{ kind: "dag-run", dagRunId: made?.id }]);
  });

  it("takes the time now, no logical date and no conf where none is given", async () => {
    const { dag_id } = await dagWithVersion();
    const fields = { dag_id, run_id: "new", logical_date: null, run_after: null, conf: null, note: null };
    expect(await send("TriggerDagRun", fields)).toEqual(OK);
    const made = await run(dag_id);
    expect(made).toMatchObject({ logical_date: null, data_interval_start: null, conf: "{}" });
    expect(made?.run_after).toBe(t.clock.now());
    const later = parseInstant("2027-01-01T00:00:00Z");
    const { dag_id: other } = await dagWithVersion();
    await send("TriggerDagRun", { ...fields, dag_id: other, run_after: later });
    expect((await run(other))?.run_after).toBe(later);
  });

  it("says that there is such a run, or clears it", async () => {
    const { dag_id } = await dagWithVersion();
    const { id } = await makeRun(t.database.db, { dag_id, run_id: "new", state: "success" });
    const ti = await makeTaskInstance(t.database.db, { dag_run_id: id, state: "success", try_number: 1 });
    const fields = { dag_id, run_id: "new", reset_dag_run: false };
    expect(await send("TriggerDagRun", fields)).toEqual({
      body: { type: "ErrorResponse", error: "DAGRUN_ALREADY_EXISTS", detail: null },
    });
    expect(await send("TriggerDagRun", { ...fields, reset_dag_run: true })).toEqual(OK);
    expect((await run(dag_id))?.state).toBe("queued");
    const rows = await t.database.db.selectFrom("task_instance").selectAll().where("dag_run_id", "=", id).execute();
    expect(rows).toMatchObject([{ state: null, try_number: 1 }]);
    expect(rows[0]?.id).not.toBe(ti.id);
  });

  it.each([
    [{ is_stale: true }, 404, "not_found"],
    [{ has_import_errors: true }, 400, "import_errors"],
    [{ allowed_run_types: '["scheduled"]' as JsonText }, 400, "denied_run_type"],
  ])("is refused by a DAG with %o", async (columns, status_code, reason) => {
    const { dag_id } = await dagWithVersion(columns);
    const reply = await send("TriggerDagRun", { dag_id, run_id: "new" });
    expect(reply).toMatchObject({ error: { detail: { status_code, detail: { detail: { reason } } } } });
    expect(await run(dag_id)).toBeUndefined();
  });

  it("is refused when its conf does not fit the DAG's params", async () => {
    const { dag_id } = await makeDag(t.database.db);
    const notSet = { __var: null, __type: "arg_not_set" };
    const param = { __class: "airflow.sdk.definitions.param.Param", default: notSet, schema: { type: "integer" } };
    await makeVersion(t.database.db, { dag_id }, { dag: { params: [["needed", param]] } });
    const valueError = (text: string) => ({
      error: {
        detail: {
          status_code: 400,
          detail: { detail: { reason: "value_error", message: expect.stringContaining(text) as string } },
        },
      },
    });
    expect(await send("TriggerDagRun", { dag_id, run_id: "new" })).toMatchObject(
      valueError("Invalid input for param needed: No value passed"),
    );
    expect(await run(dag_id)).toBeUndefined();
    expect(await send("TriggerDagRun", { dag_id, run_id: "new", conf: { needed: 5 } })).toEqual(OK);
    expect(await send("TriggerDagRun", { dag_id, run_id: "new", conf: {} })).toMatchObject({
      body: { error: "DAGRUN_ALREADY_EXISTS" },
    });
  });

  it("is refused for a DAG nobody knows, and for partitions", async () => {
    expect(await send("TriggerDagRun", { dag_id: "none", run_id: "new" })).toMatchObject({
      error: { detail: { status_code: 404 } },
    });
    const { dag_id } = await dagWithVersion();
    expect(await send("TriggerDagRun", { dag_id, run_id: "new", partition_key: "p" })).toMatchObject({
      error: { detail: { status_code: 400 } },
    });
  });
});
