import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { newId } from "../kit/ids.ts";
import { addMicros } from "../kit/instant.ts";
import type { LeoflowEvent } from "../domain/events.ts";
import type { ProcessExit } from "../domain/task-execution.ts";
import { makeRunningTask, NOON } from "../../test/support/factories.ts";
import { createTestExecution, WORKER, type TestExecution } from "../../test/support/execution.ts";

let t: TestExecution;
beforeAll(async () => {
  t = await createTestExecution();
});
afterAll(() => t.database.close());
beforeEach(() => t.events.splice(0));

const END = addMicros(NOON, 2_000_000);
const CRASH: ProcessExit = { code: 1, signal: null, taskState: null, reason: null, endDate: END };
const SHAPE = { tasks: [{ id: "a", retries: 1, retry_delay: 30 }] };

async function running(columns: Parameters<typeof makeRunningTask>[1] = {}) {
  const made = await makeRunningTask(t.database.db, columns, SHAPE);
  await t.execution.start(made.ti.id, WORKER);
  t.events.splice(0);
  return made;
}

const row = (id: string) =>
  t.database.db.selectFrom("task_instance").selectAll().where("id", "=", id).executeTakeFirst();

const lastLog = (runId: string) =>
  t.database.db
    .selectFrom("log")
    .selectAll()
    .where("run_id", "=", runId)
    .orderBy("id", "desc")
    .limit(1)
    .executeTakeFirst();

const taskInstanceEvents = () =>
  t.events.filter((event): event is Extract<LeoflowEvent, { kind: "task-instance" }> => event.kind === "task-instance");

describe("a process that said nothing", () => {
  it("has its try made again while there are retries, with the reason", async () => {
    const { ti, run } = await running({ max_tries: 1 });
    await t.execution.exited(ti.id, { ...CRASH, code: null, signal: "SIGKILL", reason: "killed: out of memory" });
    const [event] = taskInstanceEvents();
    expect(event).toMatchObject({ id: ti.id, state: "up_for_retry", wakeAt: addMicros(END, 30_000_000) });
    expect(await row(event?.newId as string)).toMatchObject({
      state: "up_for_retry",
      end_date: END,
      duration: 2,
      retry_reason: "killed: out of memory",
    });
    expect(await lastLog(run.run_id)).toMatchObject({
      event: "up_for_retry",
      extra: '{"host_name":"here","reason":"killed: out of memory"}',
    });
  });

  it.each([
    [{ code: 0 }, "the task's process ended without reporting a result"],
    [{ code: 7 }, "the task's process ended with exit code 7"],
    [{ code: null, signal: "SIGSEGV" }, "the task's process was ended by SIGSEGV"],
    [{ code: null }, "the task's process is gone"],
    [{ code: null, reason: "lost: no sign of life" }, "lost: no sign of life"],
  ])("fails without retries: %o", async (exit, reason) => {
    const { ti, run } = await running({ max_tries: 1, try_number: 2 });
    await t.execution.exited(ti.id, { ...CRASH, ...exit });
    expect(await row(ti.id)).toMatchObject({ state: "failed", end_date: END, duration: 2 });
    expect(taskInstanceEvents()).toMatchObject([{ id: ti.id, state: "failed", newId: null, wakeAt: null }]);
    expect(JSON.parse((await lastLog(run.run_id))?.extra ?? "null")).toEqual({ host_name: "here", reason });
  });

  it("is settled once, however often it is told", async () => {
    const { ti, run } = await running({ max_tries: 1 });
    await Promise.all([t.execution.exited(ti.id, CRASH), t.execution.exited(ti.id, CRASH)]);
    await t.execution.exited(ti.id, CRASH);
    expect(taskInstanceEvents()).toHaveLength(1);
    const history = t.database.db.selectFrom("task_instance_history").selectAll();
    expect(await history.where("dag_run_id", "=", run.id).execute()).toHaveLength(1);
  });

  it("is retried at once when it was cleared while it ran, whatever its retries", async () => {
    const { ti } = await running({ max_tries: 0 });
    await t.database.db.updateTable("task_instance").set({ state: "restarting" }).where("id", "=", ti.id).execute();
    await t.execution.exited(ti.id, CRASH);
    expect(taskInstanceEvents()).toMatchObject([{ state: "up_for_retry", wakeAt: END }]);
  });
});

describe("a process that was lost with Leoflow", () => {
  const LOST: ProcessExit = { ...CRASH, code: null, reason: "lost: Leoflow stopped", withLeoflow: true };

  it("has its try made again at once, though there are no retries", async () => {
    const { ti } = await running({ max_tries: 0 });
    await t.execution.exited(ti.id, LOST);
    expect(taskInstanceEvents()).toMatchObject([{ state: "up_for_retry", wakeAt: END }]);
  });

  it("but not for ever", async () => {
    const { ti } = await running({ max_tries: 1, try_number: 5 });
    await t.execution.exited(ti.id, LOST);
    expect(taskInstanceEvents()).toMatchObject([{ state: "failed" }]);
  });
});

describe("callbacks that no process is left to call", () => {
  const calls = { has_on_failure_callback: true, has_on_retry_callback: true, email: ["a@b.c"], email_on_retry: false };
  const callbacks = async (runId: number) => {
    const rows = await t.database.db
      .selectFrom("callback")
      .selectAll()
      .where("dag_run_id", "=", runId)
      .orderBy("created_at")
      .execute();
    return rows.map(({ state, data }) => [state, ...summary(JSON.parse(data) as CallbackData)]).sort();
  };
  interface CallbackData {
    kind: string;
    state: string;
    msg: string;
    ti: { id: string; try_number: number };
    dag_run: { run_id: string; conf: unknown };
    max_tries: number;
  }
  const summary = ({ kind, state, msg, ti }: CallbackData) => [kind, state, msg, ti.try_number];
  const begun = async (columns: Parameters<typeof makeRunningTask>[1]) => {
    const made = await makeRunningTask(t.database.db, columns, { tasks: [{ id: "a", ...calls }] });
    await t.execution.start(made.ti.id, WORKER);
    t.events.splice(0);
    return made;
  };

  it("are called for a failure, e-mail included, once", async () => {
    const { ti, run } = await begun({ max_tries: 0 });
    await Promise.all([t.execution.exited(ti.id, CRASH), t.execution.exited(ti.id, CRASH)]);
    const reason = "the task's process ended with exit code 1";
    expect(await callbacks(run.id)).toEqual([
      ["pending", "email", "failed", reason, 1],
      ["pending", "task", "failed", reason, 1],
    ]);
    expect(t.events.filter(({ kind }) => kind === "callback").length).toBeGreaterThan(0);
  });

  it("are called for a retry, of the try that ended", async () => {
    const { ti, run } = await begun({ max_tries: 1 });
    await t.execution.exited(ti.id, { ...CRASH, reason: "killed" });
    expect(await callbacks(run.id)).toEqual([["pending", "task", "up_for_retry", "killed", 1]]);
  });

  it("are not called when the task's process has done so, or Leoflow itself was killed", async () => {
    const said = await begun({ max_tries: 0 });
    const taskState = { state: "failed" as const, endDate: END, renderedMapIndex: null };
    await t.execution.exited(said.ti.id, { ...CRASH, taskState });
    expect(await callbacks(said.run.id)).toEqual([]);
    const lost = await begun({ max_tries: 1 });
    await t.execution.exited(lost.ti.id, { ...CRASH, withLeoflow: true });
    expect(await callbacks(lost.run.id)).toEqual([]);
  });

  it("are not called for a try that was taken away meanwhile", async () => {
    const { ti, run } = await begun({ max_tries: 0 });
    const id = newId();
    // Held by a settling that was killed; what happened since is not its failure.
    await t.database.db.updateTable("task_instance").set({ state: "success" }).where("id", "=", ti.id).execute();
    await t.execution.exited(ti.id, CRASH);
    await t.execution.exited(id, CRASH);
    expect(await callbacks(run.id)).toEqual([]);
  });
});

it("is made again even where its DAG version is gone", async () => {
  const { ti, run } = await running({ max_tries: 1 });
  await t.database.db.updateTable("task_instance").set({ dag_version_id: null }).where("id", "=", ti.id).execute();
  await t.database.db.updateTable("dag_run").set({ dag_version_id: null }).where("id", "=", run.id).execute();
  await t.execution.exited(ti.id, CRASH);
  expect(taskInstanceEvents()).toMatchObject([{ state: "up_for_retry", wakeAt: END }]);
});

describe("a process that named its end", () => {
  it.each(["failed", "skipped", "removed"] as const)("%s: as it said, retries or not", async (state) => {
    const { ti } = await running({ max_tries: 5 });
    expect(await t.execution.handle(ti.id, { type: "TaskState", state, end_date: END })).toEqual({ body: null });
    expect((await row(ti.id))?.state).toBe("running");
    const taskState = { state, endDate: addMicros(NOON, 500_000), renderedMapIndex: "label" };
    await t.execution.exited(ti.id, { ...CRASH, code: 0, taskState });
    expect(await row(ti.id)).toMatchObject({ state, duration: 0.5, rendered_map_index: "label" });
    expect(taskInstanceEvents()).toMatchObject([{ state }]);
  });

  it("takes the exit's time where it gave none", async () => {
    const { ti } = await running();
    const taskState = { state: "skipped", endDate: null, renderedMapIndex: null } as const;
    await t.execution.exited(ti.id, { ...CRASH, taskState });
    expect((await row(ti.id))?.end_date).toBe(END);
  });
});

describe("what an exit leaves alone", () => {
  it.each(["success", "failed", "skipped", "up_for_reschedule", "deferred", "scheduled", "queued", null] as const)(
    "a try that is %s",
    async (state) => {
      const { ti } = await running({ max_tries: 1 });
      await t.database.db.updateTable("task_instance").set({ state }).where("id", "=", ti.id).execute();
      await t.execution.exited(ti.id, CRASH);
      expect((await row(ti.id))?.state).toBe(state);
      expect(t.events).toEqual([]);
    },
  );

  it("an id nobody knows", async () => {
    await t.execution.exited(newId(), CRASH);
    expect(t.events).toEqual([]);
  });

  it("a try that came back and runs in another process", async () => {
    const { ti } = await running();
    await t.database.db.updateTable("task_instance").set({ state: "queued" }).where("id", "=", ti.id).execute();
    await t.execution.start(ti.id, { ...WORKER, pid: 99 });
    await t.execution.exited(ti.id, { ...CRASH, process: { hostname: "here", pid: 42 } });
    expect((await row(ti.id))?.state).toBe("running");
    await t.execution.exited(ti.id, { ...CRASH, process: { hostname: "here", pid: 99 } });
    expect((await row(ti.id))?.state).toBe("failed");
  });
});

describe("a queued try", () => {
  const queued = () => makeRunningTask(t.database.db, { max_tries: 0 }, SHAPE);

  it.each([{ process: null }, { process: undefined, code: null }])(
    "fails when no process came to start: %o",
    async (exit) => {
      const { ti } = await queued();
      await t.execution.exited(ti.id, { ...CRASH, ...exit, reason: "the venv is broken" });
      expect(await row(ti.id)).toMatchObject({ state: "failed", end_date: END, duration: 0 });
    },
  );

  it.each([{ code: 0 }, { code: null, signal: "SIGKILL" }, { process: { hostname: "here", pid: 42 }, code: null }])(
    "waits on when the process before it ended: %o",
    async (exit) => {
      const { ti } = await queued();
      await t.execution.exited(ti.id, { ...CRASH, ...exit });
      expect((await row(ti.id))?.state).toBe("queued");
    },
  );
});
