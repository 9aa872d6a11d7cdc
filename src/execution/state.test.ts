import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { newId } from "../kit/ids.ts";
import { addMicros, parseInstant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import type { LeoflowEvent } from "../domain/events.ts";
import type { Reply } from "../domain/task-execution.ts";
import { makeRunningTask, makeTaskInstance, NOON } from "../../test/support/factories.ts";
import { createTestExecution, raw, WORKER, type TestExecution } from "../../test/support/execution.ts";

let t: TestExecution;
let parking: TestExecution;
beforeAll(async () => {
  [t, parking] = await Promise.all([createTestExecution(), createTestExecution({ deferral: "park" })]);
});
afterAll(() => Promise.all([t.database.close(), parking.database.close()]));
beforeEach(() => {
  t.events.splice(0);
  parking.events.splice(0);
});

const END = addMicros(NOON, 1_500_000);
const OK: Reply = { body: null };

async function running(
  columns: Parameters<typeof makeRunningTask>[1] = {},
  shape: Parameters<typeof makeRunningTask>[2] = {},
  on = t,
) {
  const made = await makeRunningTask(on.database.db, columns, shape);
  await on.execution.start(made.ti.id, WORKER);
  on.events.splice(0);
  return made;
}

const row = (id: string, on = t) =>
  on.database.db.selectFrom("task_instance").selectAll().where("id", "=", id).executeTakeFirst();

function statusOf(reply: Reply): unknown {
  return "error" in reply ? (reply.error.detail as { status_code: unknown }).status_code : null;
}

describe("success", () => {
  it("ends the try, says what mapped tasks expand on, and writes the audit log", async () => {
    const { ti, run } = await running({ next_method: "m", next_kwargs: "{}" as JsonText, start_date: NOON });
    const value = { dag_id: run.dag_id, run_id: run.run_id, task_id: "a", key: "return_value", value: raw("[1,2,3]") };
    expect(await t.execution.handle(ti.id, { type: "SetXCom", ...value, mapped_length: 3 })).toEqual(OK);
    const report = {
      type: "SucceedTask",
      state: "success",
      end_date: END,
      task_outlets: [{ name: "x" }],
      outlet_events: [],
    };
    expect(await t.execution.handle(ti.id, { ...report, rendered_map_index: "label" })).toEqual(OK);
    expect(await row(ti.id)).toMatchObject({
      state: "success",
      end_date: END,
      duration: 1.5,
      next_method: null,
      next_kwargs: null,
      rendered_map_index: "label",
    });
    const event = { kind: "task-instance", dagRunId: run.id, id: ti.id, taskId: "a", mapIndex: -1, state: "success" };
    expect(t.events).toEqual([{ ...event, wakeAt: null, newId: null, mappedLength: 3 }]);
    const log = await t.database.db
      .selectFrom("log")
      .selectAll()
      .where("run_id", "=", run.run_id)
      .orderBy("id")
      .execute();
    expect(log.map(({ event, try_number, extra }) => [event, try_number, extra])).toEqual([
      ["running", 1, '{"host_name" : "here"}'],
      ["success", 1, '{"host_name":"here"}'],
    ]);
  });

  it("may be said twice", async () => {
    const { ti } = await running();
    const report = { type: "SucceedTask", end_date: END };
    await t.execution.handle(ti.id, report);
    t.events.splice(0);
    expect(await t.execution.handle(ti.id, report)).toEqual(OK);
    expect(t.events).toEqual([]);
  });

  it.each(["queued", "failed", "skipped", "up_for_retry"] as const)("is refused when the try is %s", async (state) => {
    const { ti } = await makeRunningTask(t.database.db, { state });
    const reply = await t.execution.handle(ti.id, { type: "SucceedTask", end_date: END });
    expect(statusOf(reply)).toBe(409);
    expect(reply).toMatchObject({
      error: {
        error: "API_SERVER_ERROR",
        detail: { detail: { detail: { reason: "invalid_state", previous_state: state } } },
      },
    });
    expect((await row(ti.id))?.state).toBe(state);
    expect(t.events).toEqual([]);
  });

  it("is refused for ids that are not live", async () => {
    expect(statusOf(await t.execution.handle(newId(), { type: "SucceedTask", end_date: END }))).toBe(404);
    const { ti } = await running({ max_tries: 1 });
    await t.execution.handle(ti.id, { type: "RetryTask", end_date: END });
    expect(statusOf(await t.execution.handle(ti.id, { type: "SucceedTask", end_date: END }))).toBe(410);
  });
});

describe("retry", () => {
  const SHAPE = { tasks: [{ id: "a", retries: 2, retry_delay: 60 }] };

  it("archives the try, gives the row a new id and says when it is due", async () => {
    const { ti, run, version } = await running({ max_tries: 2, note: "kept" }, SHAPE);
    await t.execution.handle(ti.id, { type: "SetRenderedFields", rendered_fields: raw('{"x": 1.0}') });
    await t.database.db
      .insertInto("task_reschedule")
      .values({
        ti_id: ti.id,
        dag_run_id: run.id,
        start_date: NOON,
        end_date: NOON,
        duration: 0,
        reschedule_date: NOON,
      })
      .execute();
    const reply = await t.execution.handle(ti.id, { type: "RetryTask", end_date: END, rendered_map_index: "r" });
    expect(reply).toEqual(OK);
    const event = t.events[0] as Extract<LeoflowEvent, { kind: "task-instance" }>;
    expect(event).toMatchObject({ id: ti.id, state: "up_for_retry", wakeAt: addMicros(END, 60_000_000) });
    expect(await row(ti.id)).toBeUndefined();
    expect(await row(event.newId as string)).toMatchObject({
      dag_run_id: run.id,
      state: "up_for_retry",
      try_number: 1,
      max_tries: 2,
      end_date: END,
      wake_at: addMicros(END, 60_000_000),
      note: "kept",
    });
    const history = await t.database.db
      .selectFrom("task_instance_history")
      .selectAll()
      .where("id", "=", ti.id)
      .execute();
    expect(history).toMatchObject([
      {
        state: "failed",
        try_number: 1,
        end_date: END,
        duration: 1.5,
        hostname: "here",
        pid: 42,
        rendered_fields: '{"x": 1.0}',
        rendered_map_index: "r",
        dag_version_id: version.id,
        note: "kept",
      },
    ]);
    const reschedules = await t.database.db
      .selectFrom("task_reschedule")
      .selectAll()
      .where("ti_id", "=", ti.id)
      .execute();
    expect(reschedules).toEqual([]);
  });

  it("lets a retry policy say when and why", async () => {
    const { ti } = await running({ max_tries: 2 }, SHAPE);
    const report = { type: "RetryTask", end_date: END, retry_delay_seconds: 0.25, retry_reason: "z".repeat(600) };
    await t.execution.handle(ti.id, report);
    const event = t.events[0] as Extract<LeoflowEvent, { kind: "task-instance" }>;
    expect(await row(event.newId as string)).toMatchObject({
      wake_at: addMicros(END, 250_000),
      retry_delay_override: 0.25,
      retry_reason: "z".repeat(500),
    });
  });

  it("is refused a second time, and nothing of the old try can be written any more", async () => {
    const { ti, run } = await running({ max_tries: 2 }, SHAPE);
    await t.execution.handle(ti.id, { type: "RetryTask", end_date: END });
    t.events.splice(0);
    const late = (message: { type: string; [field: string]: unknown }) => t.execution.handle(ti.id, message);
    expect(statusOf(await late({ type: "RetryTask", end_date: END }))).toBe(410);
    expect(statusOf(await late({ type: "RescheduleTask", end_date: END, reschedule_date: END }))).toBe(410);
    expect(statusOf(await late({ type: "SetRenderedMapIndex", rendered_map_index: "late" }))).toBe(410);
    expect(statusOf(await late({ type: "SkipDownstreamTasks", tasks: ["b"] }))).toBe(410);
    expect(await late({ type: "SetRenderedFields", rendered_fields: raw("{}") })).toEqual(OK);
    const xcom = { dag_id: run.dag_id, run_id: run.run_id, task_id: "a", key: "link" };
    expect(await late({ type: "SetXCom", ...xcom, value: raw('"late"') })).toEqual(OK);
    await t.execution.exited(ti.id, { code: 1, signal: null, taskState: null, reason: null, endDate: END });
    expect(await t.database.db.selectFrom("xcom").selectAll().where("dag_run_id", "=", run.id).execute()).toEqual([]);
    const fields = t.database.db.selectFrom("rendered_task_instance_fields").selectAll();
    expect(await fields.where("dag_run_id", "=", run.id).execute()).toEqual([]);
    expect(t.events).toEqual([]);
  });
});

describe("reschedule", () => {
  it("parks the try under its id and counts the pokes", async () => {
    const { ti } = await running();
    const due = addMicros(END, 60_000_000);
    const reply = await t.execution.handle(ti.id, { type: "RescheduleTask", end_date: END, reschedule_date: due });
    expect(reply).toEqual(OK);
    expect(t.events).toMatchObject([{ id: ti.id, state: "up_for_reschedule", wakeAt: due, newId: null }]);
    expect(await row(ti.id)).toMatchObject({ state: "up_for_reschedule", wake_at: due, duration: 1.5 });
    const start = await t.execution.handle(ti.id, { type: "GetTaskRescheduleStartDate", ti_id: ti.id, try_number: 1 });
    expect(start).toEqual({ body: { type: "TaskRescheduleStartDate", start_date: NOON } });

    await t.database.db.updateTable("task_instance").set({ state: "queued" }).where("id", "=", ti.id).execute();
    const again = await t.execution.start(ti.id, WORKER);
    expect(again.kind === "started" && JSON.parse(again.context)).toMatchObject({ task_reschedule_count: 1 });
  });
});

describe("deferral", () => {
  const DEFER = {
    type: "DeferTask",
    classpath: "airflow.providers.standard.triggers.temporal.DateTimeTrigger",
    trigger_kwargs: raw('{"moment": 1.0}'),
    trigger_timeout: "PT90S",
    queue: null,
    next_method: "execute_complete",
    next_kwargs: raw('{"n": 1.0}'),
  };

  it("writes the trigger and parks the try", async () => {
    const { ti } = await running({}, {}, parking);
    const timeout = addMicros(parking.clock.now(), 90_000_000);
    expect(await parking.execution.handle(ti.id, DEFER)).toEqual(OK);
    expect(parking.events).toMatchObject([{ state: "deferred", wakeAt: timeout, newId: null }]);
    const deferred = await row(ti.id, parking);
    expect(deferred).toMatchObject({
      state: "deferred",
      trigger_timeout: timeout,
      wake_at: timeout,
      next_method: "execute_complete",
      next_kwargs: '{"n": 1.0}',
    });
    const trigger = await parking.database.db
      .selectFrom("trigger")
      .selectAll()
      .where("id", "=", deferred?.trigger_id as number)
      .executeTakeFirst();
    expect(trigger).toMatchObject({ classpath: DEFER.classpath, kwargs: '{"moment": 1.0}', triggerer_id: null });
  });

  it("keeps what the worker encrypted as it came, and waits for ever without a timeout", async () => {
    const { ti } = await running({}, {}, parking);
    const message = { ...DEFER, trigger_kwargs: raw('"gAAAA="'), trigger_timeout: null, next_kwargs: null };
    await parking.execution.handle(ti.id, message);
    const deferred = await row(ti.id, parking);
    expect(deferred).toMatchObject({ wake_at: null, next_kwargs: "{}" });
    const triggers = parking.database.db.selectFrom("trigger").select("kwargs");
    expect(await triggers.where("id", "=", deferred?.trigger_id as number).execute()).toEqual([{ kwargs: "gAAAA=" }]);
  });

  it("fails the task where nothing would ever resume it, and says so to the task", async () => {
    const { ti } = await running({ max_tries: 3 });
    const reply = await t.execution.handle(ti.id, DEFER);
    expect(statusOf(reply)).toBe(501);
    expect(JSON.stringify(reply)).toContain("no triggerer runs here");
    expect((await row(ti.id))?.state).toBe("failed");
    expect(t.events).toMatchObject([{ state: "failed", newId: null }]);
    await t.execution.exited(ti.id, { code: 0, signal: null, taskState: null, reason: null, endDate: END });
    expect((await row(ti.id))?.state).toBe("failed");
  });
});

describe("waiting for a person", () => {
  it("keeps the request and parks the try until the time is up", async () => {
    const { ti } = await running();
    const request = {
      ti_id: ti.id,
      options: ["yes", "no"],
      subject: "Go on?",
      body: null,
      defaults: ["no"],
      multiple: false,
    };
    const reply = await t.execution.handle(ti.id, {
      type: "CreateHITLDetailPayload",
      ...request,
      params: raw('{"p": 1.0}'),
    });
    expect(reply).toMatchObject({
      body: { type: "HITLDetailRequestResult", ti_id: ti.id, options: raw('["yes","no"]'), subject: "Go on?" },
    });
    await t.execution.handle(ti.id, {
      type: "AwaitInputTask",
      timeout: "P1DT0S",
      next_method: "execute_complete",
      next_kwargs: null,
    });
    const due = addMicros(t.clock.now(), 86_400_000_000);
    expect(await row(ti.id)).toMatchObject({ state: "awaiting_input", wake_at: due, next_method: "execute_complete" });
    expect(t.events).toMatchObject([{ state: "awaiting_input", wakeAt: due }]);
  });

  it("asks again in the next try, without the answer to the one before", async () => {
    const { ti } = await running({ max_tries: 1 });
    const request = { type: "CreateHITLDetailPayload", options: ["a"], subject: "?" };
    await t.execution.handle(ti.id, { ...request, ti_id: ti.id });
    await t.database.db
      .updateTable("hitl_detail")
      .set({ responded_at: NOON, chosen_options: '["a"]' as JsonText })
      .where("ti_id", "=", ti.id)
      .execute();
    await t.execution.handle(ti.id, { type: "RetryTask", end_date: END });
    const { newId: id } = t.events[0] as { newId: string };
    const detail = () => t.database.db.selectFrom("hitl_detail").selectAll().where("ti_id", "=", id).executeTakeFirst();
    expect(await detail()).toMatchObject({ responded_at: NOON });
    await t.execution.handle(id, { ...request, ti_id: id });
    expect(await detail()).toMatchObject({ responded_at: null, chosen_options: null, subject: "?" });
  });

  it("asks only for the task that asks, and offers something", async () => {
    const { ti } = await running();
    const request = { type: "CreateHITLDetailPayload", subject: "?" };
    expect(statusOf(await t.execution.handle(ti.id, { ...request, ti_id: newId(), options: ["a"] }))).toBe(403);
    expect(statusOf(await t.execution.handle(ti.id, { ...request, ti_id: ti.id, options: [] }))).toBe(422);
  });
});

describe("skipping downstream", () => {
  it("skips what has not run, and leaves the rest", async () => {
    const { ti, run } = await running();
    const others = Object.fromEntries(
      await Promise.all(
        ([null, "scheduled", "queued", "running", "success", "failed", "up_for_retry"] as const).map(async (state) => {
          const other = await makeTaskInstance(t.database.db, { dag_run_id: run.id, task_id: `t_${state}`, state });
          return [`t_${state}`, other.id] as const;
        }),
      ),
    );
    const mapped = await makeTaskInstance(t.database.db, { dag_run_id: run.id, task_id: "m", map_index: 1 });
    const unmapped = await makeTaskInstance(t.database.db, { dag_run_id: run.id, task_id: "m", map_index: 2 });
    const tasks = raw(JSON.stringify([...Object.keys(others), ["m", 1]]));
    expect(await t.execution.handle(ti.id, { type: "SkipDownstreamTasks", tasks })).toEqual(OK);
    const states: Record<string, unknown> = {};
    for (const [name, id] of Object.entries(others)) states[name] = (await row(id))?.state;
    expect(states).toEqual({
      t_null: "skipped",
      t_scheduled: "skipped",
      t_queued: "skipped",
      t_running: "running",
      t_success: "success",
      t_failed: "failed",
      t_up_for_retry: "skipped",
    });
    expect((await row(mapped.id))?.state).toBe("skipped");
    expect((await row(unmapped.id))?.state).toBe(null);
    expect(t.events).toEqual([{ kind: "dag-run", dagRunId: run.id }]);
    expect((await row(ti.id))?.state).toBe("running");
  });
});

describe("fail_fast", () => {
  it("ends what runs, skips what waits, and lets teardowns run", async () => {
    const shape = {
      tasks: [{ id: "a" }, { id: "b" }, { id: "c" }, { id: "d" }, { id: "done" }, { id: "down", is_teardown: true }],
      dag: { fail_fast: true },
    };
    const { ti, run, dag } = await running({}, shape);
    await t.database.db.updateTable("dag").set({ fail_fast: true }).where("dag_id", "=", dag.dag_id).execute();
    const other = async (task_id: string, state: "running" | "queued" | "success" | null) =>
      (await makeTaskInstance(t.database.db, { dag_run_id: run.id, task_id, state, try_number: 1 })).id;
    const [b, c, d, done, down] = [
      await other("b", "running"),
      await other("c", "queued"),
      await other("d", null),
      await other("done", "success"),
      await other("down", null),
    ];
    const end = { state: "failed", endDate: END, renderedMapIndex: null } as const;
    await t.execution.exited(ti.id, { code: 0, signal: null, taskState: end, reason: null, endDate: END });
    const states = await Promise.all([ti.id, b, c, d, done, down].map(async (id) => (await row(id))?.state));
    expect(states).toEqual(["failed", "failed", "skipped", "skipped", "success", null]);
    const kill = t.events.find((event) => event.kind === "kill");
    expect(kill?.ids.toSorted()).toEqual([b, c].toSorted());
    expect(kill?.reason).toContain("fail_fast");
    expect(t.events).toContainEqual({ kind: "dag-run", dagRunId: run.id });
    const log = await t.database.db.selectFrom("log").selectAll().where("run_id", "=", run.run_id).execute();
    expect(log.map(({ event, task_id }) => `${task_id} ${event}`).toSorted()).toEqual(
      ["a running", "a failed", "b fail task", "c skip task", "d skip task"].toSorted(),
    );
  });

  it("does not happen while the task has retries left", async () => {
    const shape = { tasks: [{ id: "a", retries: 1 }, { id: "b" }], dag: { fail_fast: true } };
    const { ti, run, dag } = await running({ max_tries: 1 }, shape);
    await t.database.db.updateTable("dag").set({ fail_fast: true }).where("dag_id", "=", dag.dag_id).execute();
    const other = await makeTaskInstance(t.database.db, { dag_run_id: run.id, task_id: "b" });
    await t.execution.exited(ti.id, { code: 1, signal: null, taskState: null, reason: null, endDate: END });
    expect((await row(other.id))?.state).toBe(null);
    expect(t.events).toMatchObject([{ kind: "task-instance", state: "up_for_retry" }]);
  });
});

describe("times", () => {
  it("come in any offset and keep their microseconds", async () => {
    const { ti } = await running();
    await t.execution.handle(ti.id, { type: "SucceedTask", end_date: "2026-01-01T14:00:00.123456+02:00" });
    expect((await row(ti.id))?.end_date).toBe(parseInstant("2026-01-01T12:00:00.123456Z"));
  });

  it("are refused when they are none", async () => {
    const { ti } = await running();
    const reply = await t.execution.handle(ti.id, { type: "SucceedTask", end_date: "soon" });
    expect(statusOf(reply)).toBe(422);
    expect((await row(ti.id))?.state).toBe("running");
  });
});
