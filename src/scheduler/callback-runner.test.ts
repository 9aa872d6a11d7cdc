import { pino } from "pino";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../test/support/database.ts";
import { makeDag, makeRun, makeTaskInstance, makeVersion } from "../../test/support/factories.ts";
import { untilTrue } from "../../test/support/python.ts";
import type { CallbackHost, CallbackOutcome, DueCallback } from "../domain/callback.ts";
import { EventBus } from "../domain/events.ts";
import { systemClock } from "../kit/clock.ts";
import { addMicros } from "../kit/instant.ts";
import { addDagCallback, holdTaskCallbacks } from "../store/callbacks.ts";
import { finishRunWithMore } from "../store/run-end.ts";
import { timeOutRun } from "../store/run-timeout.ts";
import { CallbackRunner } from "./callback-runner.ts";

const kit = { logger: pino({ level: "silent" }), clock: systemClock };
let database: TestDatabase;
let runner: CallbackRunner | undefined;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterEach(async () => {
  await runner?.stop();
  await database.db.deleteFrom("callback").execute();
});
afterAll(() => database.close());

/** Stands for the agent's processes: what comes of a callback is what the test says. */
class SaidHost implements CallbackHost {
  readonly begun: DueCallback[] = [];
  readonly #ends: ((outcome: CallbackOutcome) => void)[] = [];
  answer: CallbackOutcome | null = { kind: "done", errors: [] };

  async runCallback(callback: DueCallback): Promise<CallbackOutcome> {
    this.begun.push(callback);
    return this.answer ?? (await new Promise((resolve) => this.#ends.push(resolve)));
  }

  end(outcome: CallbackOutcome): void {
    for (const resolve of this.#ends.splice(0)) resolve(outcome);
  }
}

function start(host: SaidHost): EventBus {
  const bus = new EventBus();
  runner = new CallbackRunner(kit, { db: database.db, bus, host }, { parallelism: 2, attempts: 2, retryMs: 1 });
  return bus;
}

async function aRun(states: readonly string[] = []) {
  const dag = await makeDag(database.db);
  const tasks = states.map((state, index) => ({ id: `${state}_${index}` }));
  await makeVersion(database.db, { dag_id: dag.dag_id }, { tasks: tasks.length > 0 ? tasks : [{ id: "a" }] });
  const run = await makeRun(database.db, { dag_id: dag.dag_id, conf: '{"n": 1.0}' as never });
  for (const [index, state] of states.entries()) {
    await makeTaskInstance(database.db, {
      dag_run_id: run.id,
      dag_id: dag.dag_id,
      task_id: `${state}_${index}`,
      state: state as "success",
      start_date: addMicros(run.run_after, index * 1_000_000),
      end_date: state === "running" ? null : addMicros(run.run_after, index * 2_000_000),
    });
  }
  return run;
}
const add = async (runId: number) =>
  addDagCallback(database.db, {
    id: runId,
    state: "success",
    reason: "success",
    relevant: "last-success",
    now: systemClock.now(),
  });
const states = async () =>
  (await database.db.selectFrom("callback").select(["state", "attempts"]).execute()).map(
    ({ state, attempts }) => `${state} ${attempts}`,
  );

describe("what a callback is told", () => {
  const told = async () => {
    const row = await database.db.selectFrom("callback").select("data").executeTakeFirstOrThrow();
    const { msg, state, ti } = JSON.parse(row.data) as { msg: string; state: string; ti: { task_id: string } | null };
    return { msg, state, task: ti?.task_id ?? null };
  };
  const end = { reason: "task_failure", hasDeadlines: false, now: systemClock.now() };

  it("is the last task that failed, or succeeded, and the run with its conf as it was written", async () => {
    const failed = await aRun(["failed", "success", "failed", "success"]);
    const ended = { ...end, id: failed.id, state: "failed" as const, callback: "last-failed" as const };
    expect(await finishRunWithMore(database.db, ended)).toBe(true);
    expect(await told()).toEqual({ msg: "task_failure", state: "failed", task: "failed_2" });
    const { data } = await database.db.selectFrom("callback").select("data").executeTakeFirstOrThrow();
    expect(data).toContain('"conf":{"n": 1.0}');
    expect(await finishRunWithMore(database.db, ended)).toBe(false);
    expect(await states()).toHaveLength(1);
  });

  it("is nothing of a task where there is none", async () => {
    const run = await aRun(["failed"]);
    await finishRunWithMore(database.db, { ...end, id: run.id, state: "success", callback: "last-success" });
    expect(await told()).toMatchObject({ state: "success", task: null });
  });

  it("is what was begun last when a run takes too long", async () => {
    const run = await aRun(["running", "running", "success"]);
    expect(await timeOutRun(database.db, run.id, systemClock.now(), { callsBack: true })).toHaveLength(2);
    expect(await told()).toEqual({ msg: "timed_out", state: "failed", task: "running_1" });
  });
});

describe("a callback", () => {
  it("is run when it is told of, and gone then", async () => {
    const host = new SaidHost();
    const bus = start(host);
    await runner?.start();
    const run = await aRun();
    await add(run.id);
    bus.publish({ kind: "callback" });
    await untilTrue(() => host.begun.length === 1);
    await runner?.settled();
    expect(host.begun[0]).toMatchObject({ type: "dag_processor", dagId: run.dag_id, runId: run.run_id, attempt: 1 });
    expect(host.begun[0]?.logPath).toMatch(/^dag_processor\/\d{4}-\d\d-\d\d\/dags-folder\/dag_\d+\.py\.log$/);
    expect(await states()).toEqual([]);
  });

  it("of a Leoflow that was killed is run again", async () => {
    await add((await aRun()).id);
    const first = new SaidHost();
    first.answer = null;
    start(first);
    await runner?.start();
    await untilTrue(() => first.begun.length === 1);
    expect(await states()).toEqual(["running 1"]);
    // It is stopped, and Python with it.
    const stopping = runner?.stop();
    first.end({ kind: "lost", reason: "Python is being stopped" });
    await stopping;
    const second = new SaidHost();
    start(second);
    await runner?.start();
    await untilTrue(() => second.begun.length === 1);
    await runner?.settled();
    expect(second.begun[0]?.attempt).toBe(2);
    expect(await states()).toEqual([]);
  });

  it("that Leoflow never outlives is given up", async () => {
    const run = await aRun();
    await add(run.id);
    await database.db.updateTable("callback").set({ state: "running", attempts: 2 }).execute();
    const host = new SaidHost();
    start(host);
    await runner?.start();
    await runner?.settled();
    expect(host.begun).toEqual([]);
    expect(await states()).toEqual([]);
    const logged = await database.db.selectFrom("log").select("extra").where("dag_id", "=", run.dag_id).execute();
    expect(logged).toMatchObject([{ extra: expect.stringContaining("begun 2 times") as string }]);
  });

  it("keeps only as many others waiting as run at a time", async () => {
    for (let i = 0; i < 3; i++) await add((await aRun()).id);
    const host = new SaidHost();
    host.answer = null;
    start(host);
    await runner?.start();
    await untilTrue(() => host.begun.length === 2);
    host.answer = { kind: "done", errors: [] };
    host.end({ kind: "timed-out", seconds: 50 });
    await untilTrue(() => host.begun.length === 3);
    await runner?.settled();
    expect(await states()).toEqual([]);
  });

  it("whose process is lost is tried again, and given up at last with the reason in the audit log", async () => {
    const run = await aRun();
    await add(run.id);
    const host = new SaidHost();
    host.answer = { kind: "lost", reason: "it was killed" };
    start(host);
    await runner?.start();
    await untilTrue(() => host.begun.length === 2);
    await runner?.settled();
    expect(await states()).toEqual([]);
    const logged = await database.db
      .selectFrom("log")
      .select(["event", "extra", "run_id"])
      .where("dag_id", "=", run.dag_id)
      .execute();
    expect(logged).toMatchObject([
      { event: "callback failed", run_id: run.run_id, extra: expect.stringContaining("it was killed") as string },
    ]);
  });

  it("that is held for a try waits until it is let go, or forgotten", async () => {
    const run = await aRun(["running"]);
    const ti = await database.db
      .selectFrom("task_instance")
      .select("id")
      .where("dag_run_id", "=", run.id)
      .executeTakeFirstOrThrow();
    const hold = (now: typeof run.run_after) =>
      holdTaskCallbacks(database.db, [
        { taskInstanceId: ti.id, kind: "task", state: "failed", reason: "gone", byTrigger: false, now },
      ]);
    const host = new SaidHost();
    start(host);
    await runner?.start();
    const [id] = await hold(systemClock.now());
    await runner?.runOnce();
    await runner?.settled();
    expect(await states()).toEqual(["queued 0"]);
    expect(await hold(addMicros(systemClock.now(), -61_000_000))).toEqual([id]);
    await runner?.runOnce();
    await untilTrue(() => host.begun.length === 1);
    await runner?.settled();
    expect(await states()).toEqual([]);
  });
});
