import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createTestExecution, raw, WORKER, type TestExecution } from "../../test/support/execution.ts";
import { makeDag, makeRun, makeRunningTask, makeTaskInstance, makeVersion } from "../../test/support/factories.ts";
import type { JsonText } from "../kit/json-text.ts";
import { clearTaskInstances } from "../store/clear.ts";
import { cleanUnusedTriggers, takeTriggers } from "../store/triggers.ts";
import { DeferredTasks } from "./trigger-outcomes.ts";

let t: TestExecution;
let tasks: DeferredTasks;
const handed: [number, string][] = [];
const failed: [number, string][] = [];
beforeAll(async () => {
  t = await createTestExecution({ deferral: "park" });
  tasks = new DeferredTasks(t.x, {
    onEvent: async (triggerId, payload) => {
      handed.push([triggerId, payload]);
    },
    onFailure: async (triggerId, reason) => {
      failed.push([triggerId, reason]);
    },
  });
});
afterAll(() => t.database.close());
beforeEach(() => {
  t.events.length = 0;
  handed.length = 0;
  failed.length = 0;
});

const row = (id: string) =>
  t.database.db.selectFrom("task_instance").selectAll().where("id", "=", id).executeTakeFirst();
const triggers = () => t.database.db.selectFrom("trigger").select("id").orderBy("id").execute();

/** A task that has deferred, for `seconds` at most. */
async function deferred(
  columns: Parameters<typeof makeRunningTask>[1] = {},
  seconds: number | null = null,
  shape: Parameters<typeof makeRunningTask>[2] = {},
) {
  const made = await makeRunningTask(t.database.db, { state: "queued", ...columns }, shape);
  await t.execution.start(made.ti.id, WORKER);
  await t.execution.handle(made.ti.id, {
    type: "DeferTask",
    classpath: "some.Trigger",
    trigger_kwargs: raw('{"moment": 1.0}'),
    trigger_timeout: seconds === null ? null : `PT${seconds}S`,
    queue: null,
    next_method: "resume",
    next_kwargs: raw('{"n": 1.0}'),
  });
  t.events.length = 0;
  const { trigger_id: triggerId } = (await row(made.ti.id)) ?? {};
  if (triggerId === null || triggerId === undefined) throw new Error("not deferred");
  return { ...made, triggerId };
}

const resume = (triggerId: number, nextKwargs = '{"n": 1.0, "event": "e"}') =>
  ({ kind: "resume", triggerId, nextKwargs: nextKwargs as JsonText }) as const;

describe("an event", () => {
  it("sends the task back to be scheduled, the same try, and the trigger goes", async () => {
    const { ti, triggerId } = await deferred({ try_number: 2, max_tries: 3 }, 60);
    await tasks.report([resume(triggerId)]);
    expect(await row(ti.id)).toMatchObject({
      state: "scheduled",
      try_number: 2,
      trigger_id: null,
      trigger_timeout: null,
      wake_at: null,
      next_method: "resume",
      next_kwargs: '{"n": 1.0, "event": "e"}',
      scheduled_dttm: t.clock.now(),
    });
    expect(t.events).toMatchObject([{ kind: "task-instance", id: ti.id, state: "scheduled", newId: null }]);
    expect((await triggers()).map(({ id }) => id)).not.toContain(triggerId);
  });

  it("counts once, however often it comes", async () => {
    const { ti, triggerId } = await deferred();
    await tasks.report([resume(triggerId, '{"event": 1}'), resume(triggerId, '{"event": 2}')]);
    await tasks.report([resume(triggerId, '{"event": 3}')]);
    expect((await row(ti.id))?.next_kwargs).toBe('{"event": 1}');
    expect(t.events).toHaveLength(1);
  });

  it("changes nothing of a task that was cleared, or marked, meanwhile", async () => {
    const { ti, triggerId, dag, run } = await deferred();
    await clearTaskInstances(
      { db: t.database.db, bus: t.x.deps.bus, kit: t.x.kit, graph: t.x.deps.graph },
      { dagId: dag.dag_id, runIds: [run.run_id] },
    );
    expect(t.events[0]).toMatchObject({ kind: "kill", ids: [ti.id] });
    t.events.length = 0;
    await tasks.report([
      resume(triggerId),
      { kind: "end", triggerId, state: "success", xcoms: new Map([["return_value", "1" as JsonText]]) },
      { kind: "failure", triggerId, error: null, traceback: null },
    ]);
    expect(t.events).toEqual([]);
    expect(await t.database.db.selectFrom("xcom").selectAll().where("dag_run_id", "=", run.id).execute()).toEqual([]);
  });

  it("resumes all that share a trigger", async () => {
    const { ti, triggerId, run } = await deferred();
    const other = await makeTaskInstance(t.database.db, {
      dag_run_id: run.id,
      task_id: "b",
      state: "deferred",
      trigger_id: triggerId,
      try_number: 1,
    });
    await tasks.report([resume(triggerId)]);
    expect((await row(ti.id))?.state).toBe("scheduled");
    expect((await row(other.id))?.state).toBe("scheduled");
  });

  it("of a trigger that no task waits for is handed on", async () => {
    await tasks.report([{ kind: "event", triggerId: 4711, payload: '{"a": 1.0}' as JsonText }]);
    expect(handed).toEqual([[4711, '{"a": 1.0}']]);
  });
});

describe("a failure", () => {
  it("of the trigger makes the task fail in a process, with the traceback", async () => {
    const { ti, triggerId } = await deferred();
    await tasks.report([{ kind: "failure", triggerId, error: null, traceback: ["Traceback\n", "ValueError: x\n"] }]);
    const failed = await row(ti.id);
    expect(failed).toMatchObject({ state: "scheduled", next_method: "__fail__" });
    expect(JSON.parse(failed?.next_kwargs ?? "")).toEqual({
      error: "Trigger failure",
      traceback: ["Traceback\n", "ValueError: x\n"],
    });
  });

  it("of the time makes it fail too, and nothing before the time", async () => {
    const { ti } = await deferred({}, 60);
    t.clock.advanceSeconds(59);
    expect(await tasks.timeOut([ti.id])).toEqual([]);
    t.clock.advanceSeconds(1);
    expect(await tasks.timeOut([ti.id])).toEqual([ti.id]);
    expect(await row(ti.id)).toMatchObject({
      state: "scheduled",
      next_method: "__fail__",
      next_kwargs: '{"error":"Trigger timeout"}',
    });
    expect(await tasks.timeOut([ti.id])).toEqual([]);
  });
});

describe("an end without a process", () => {
  const end = (triggerId: number, state: "success" | "failed" | "skipped") =>
    ({ kind: "end", triggerId, state, xcoms: new Map([["key", '"[1]"' as JsonText]]) }) as const;
  const xcoms = (runId: number) =>
    t.database.db.selectFrom("xcom").select(["key", "value"]).where("dag_run_id", "=", runId).execute();

  it.each(["success", "skipped", "failed"] as const)("%s, with what it leaves behind", async (state) => {
    const { ti, triggerId, run } = await deferred();
    const now = t.clock.advanceSeconds(3);
    await tasks.report([end(triggerId, state)]);
    expect(await row(ti.id)).toMatchObject({ state, end_date: now });
    expect(await xcoms(run.id)).toEqual([{ key: "key", value: '"[1]"' }]);
    expect(t.events).toMatchObject([{ kind: "task-instance", id: ti.id, state }]);
  });

  it("a failure is tried again while tries are left, and leaves nothing behind", async () => {
    const { ti, triggerId, run } = await deferred({ try_number: 1, max_tries: 1 });
    await tasks.report([end(triggerId, "failed")]);
    expect(await row(ti.id)).toBeUndefined();
    expect(t.events).toMatchObject([{ kind: "task-instance", id: ti.id, state: "up_for_retry" }]);
    expect(await xcoms(run.id)).toEqual([]);
  });
});

describe("starting from a trigger", () => {
  const ARGS = {
    __type: "START_TRIGGER_ARGS",
    trigger_cls: "some.Trigger",
    trigger_kwargs: { __type: "dict", __var: { a: 1 } },
    next_method: "resume",
    next_kwargs: null,
    timeout: 90.0,
  };

  async function startable(args: Record<string, unknown> = {}, executionTimeoutSeconds: number | null = null) {
    const { db } = t.database;
    const dag = await makeDag(db);
    await makeVersion(db, { dag_id: dag.dag_id }, { tasks: [{ id: "a", start_trigger_args: { ...ARGS, ...args } }] });
    const run = await makeRun(db, { dag_id: dag.dag_id });
    const ti = await makeTaskInstance(db, { dag_run_id: run.id });
    const start = { id: ti.id, expected: null, tryNumber: 1, now: t.clock.now(), executionTimeoutSeconds };
    return { ti, start };
  }

  it("defers with the arguments of the serialized DAG", async () => {
    const { ti, start } = await startable();
    expect(await tasks.start(start)).toBe(true);
    const waiting = await row(ti.id);
    expect(waiting).toMatchObject({
      state: "deferred",
      try_number: 1,
      start_date: start.now,
      next_method: "resume",
      next_kwargs: "{}",
    });
    const [trigger] = await takeTriggers(t.database.pool, 7, [ti.id]);
    expect(trigger).toMatchObject({ id: waiting?.trigger_id, classpath: "some.Trigger" });
    expect(JSON.parse(trigger?.kwargs ?? "")).toEqual(ARGS.trigger_kwargs);
    expect(t.events).toMatchObject([{ state: "deferred", wakeAt: waiting?.trigger_timeout }]);
    expect(await tasks.start(start)).toBe(false);
  });

  it("takes the shorter of the trigger's timeout and the task's", async () => {
    const seconds = async (one: Awaited<ReturnType<typeof startable>>) => {
      await tasks.start(one.start);
      const at = (await row(one.ti.id))?.trigger_timeout;
      return at ? (Date.parse(at) - Date.parse(one.start.now)) / 1000 : null;
    };
    expect(await seconds(await startable())).toBe(90);
    expect(await seconds(await startable({}, 30))).toBe(30);
    expect(await seconds(await startable({ timeout: null }, 30))).toBe(30);
    expect(await seconds(await startable({ timeout: null }))).toBeNull();
  });
});

it("clears away what nothing waits for", async () => {
  const kept = await deferred();
  const left = await deferred();
  await t.database.db.updateTable("task_instance").set({ state: "success" }).where("id", "=", left.ti.id).execute();
  await cleanUnusedTriggers(t.database.db);
  const ids = (await triggers()).map(({ id }) => id);
  expect(ids).toContain(kept.triggerId);
  expect(ids).not.toContain(left.triggerId);
  expect((await row(left.ti.id))?.trigger_id).toBeNull();
});
