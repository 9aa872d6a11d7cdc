import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { newId } from "../kit/ids.ts";
import type { JsonText } from "../kit/json-text.ts";
import { makeRunningTask, makeTaskInstanceHistory, NOON } from "../../test/support/factories.ts";
import { createTestExecution, raw, WORKER, type TestExecution } from "../../test/support/execution.ts";

let t: TestExecution;
beforeAll(async () => {
  t = await createTestExecution();
});
afterAll(() => t.database.close());
beforeEach(() => t.events.splice(0));

const row = (id: string) =>
  t.database.db.selectFrom("task_instance").selectAll().where("id", "=", id).executeTakeFirstOrThrow();

async function startedContext(id: string): Promise<{ text: string; context: Record<string, unknown> }> {
  const answer = await t.execution.start(id, WORKER);
  if (answer.kind !== "started") throw new Error(`refused: ${answer.reason}`);
  return { text: answer.context, context: JSON.parse(answer.context) as Record<string, unknown> };
}

describe("start", () => {
  it("moves a queued try to running and answers with its context", async () => {
    const { ti, run } = await makeRunningTask(
      t.database.db,
      { max_tries: 2, retry_reason: "before", retry_delay_override: 5, end_date: NOON },
      { run: { conf: '{"rate": 1.0, "count": 1, "big": 12345678901234567890}' as JsonText, note: "a note" } },
    );
    const { text, context } = await startedContext(ti.id);
    expect(text).toContain('"conf":{"rate": 1.0, "count": 1, "big": 12345678901234567890}');
    expect(context).toMatchObject({
      dag_run: {
        dag_id: run.dag_id,
        run_id: run.run_id,
        run_type: "manual",
        state: "running",
        consumed_asset_events: [],
        note: "a note",
      },
      task_reschedule_count: 0,
      max_tries: 2,
      xcom_keys_to_clear: [],
      should_retry: true,
    });
    expect(context).not.toHaveProperty("next_method");
    expect(context).not.toHaveProperty("start_date");
    expect(await row(ti.id)).toMatchObject({
      state: "running",
      hostname: "here",
      unixname: "leo",
      pid: 42,
      start_date: NOON,
      end_date: null,
      last_heartbeat_at: NOON,
      retry_reason: null,
      retry_delay_override: null,
    });
    expect(t.events).toEqual([
      {
        kind: "task-instance",
        dagRunId: run.id,
        id: ti.id,
        taskId: "a",
        mapIndex: -1,
        state: "running",
        wakeAt: null,
        newId: null,
        mappedLength: null,
      },
    ]);
    const log = await t.database.db.selectFrom("log").selectAll().where("run_id", "=", run.run_id).execute();
    expect(log).toMatchObject([{ event: "running", task_id: "a", owner: "airflow", extra: '{"host_name" : "here"}' }]);
  });

  it("answers the same process again, and no other", async () => {
    const { ti } = await makeRunningTask(t.database.db);
    await startedContext(ti.id);
    t.events.splice(0);
    expect((await t.execution.start(ti.id, WORKER)).kind).toBe("started");
    expect(t.events).toEqual([]);
    expect(await t.execution.start(ti.id, { ...WORKER, pid: 43 })).toEqual({
      kind: "refused",
      reason: "invalid_state",
      previousState: "running",
    });
    expect((await row(ti.id)).pid).toBe(42);
  });

  it.each([null, "scheduled", "success", "failed", "skipped", "up_for_retry", "deferred"] as const)(
    "refuses a try that is %s",
    async (state) => {
      const { ti } = await makeRunningTask(t.database.db, { state });
      const answer = await t.execution.start(ti.id, WORKER);
      expect(answer).toEqual({ kind: "refused", reason: "invalid_state", previousState: state });
      expect((await row(ti.id)).state).toBe(state);
    },
  );

  it("refuses an id that names no live row", async () => {
    const answer = { kind: "refused", reason: "not_found", previousState: null };
    expect(await t.execution.start(newId(), WORKER)).toEqual(answer);
  });

  it("starts only one of two processes that ask at the same time", async () => {
    const { ti } = await makeRunningTask(t.database.db);
    const answers = await Promise.all([1, 2, 3, 4].map((pid) => t.execution.start(ti.id, { ...WORKER, pid })));
    expect(answers.filter(({ kind }) => kind === "started")).toHaveLength(1);
  });

  it("names the XComs of an earlier try, of its own map index only", async () => {
    const { ti, run } = await makeRunningTask(t.database.db, { map_index: 1 });
    for (const [mapIndex, key] of [
      [1, "return_value"],
      [1, "other"],
      [2, "not mine"],
    ] as const) {
      const message = {
        type: "SetXCom",
        dag_id: run.dag_id,
        run_id: run.run_id,
        task_id: "a",
        map_index: mapIndex,
        key,
      };
      expect(await t.execution.handle("", { ...message, value: raw("1") })).toEqual({ body: null });
    }
    const { context } = await startedContext(ti.id);
    expect(context.xcom_keys_to_clear).toEqual(["other", "return_value"]);
  });

  it("resumes with the method, its arguments and the first start date", async () => {
    const { ti, run } = await makeRunningTask(t.database.db, {
      next_method: "execute_complete",
      next_kwargs: '{"event": 2.0}' as JsonText,
      start_date: "2026-01-01T10:00:00.000000Z" as typeof NOON,
    });
    await t.database.db
      .insertInto("xcom")
      .values({
        dag_run_id: run.id,
        dag_id: run.dag_id,
        run_id: run.run_id,
        task_id: "a",
        key: "k",
        value: "1" as JsonText,
      })
      .execute();
    const { text, context } = await startedContext(ti.id);
    expect(text).toContain('"next_kwargs":{"event": 2.0}');
    expect(context).toMatchObject({
      next_method: "execute_complete",
      start_date: "2026-01-01T10:00:00.000000Z",
      xcom_keys_to_clear: [],
    });
    expect((await row(ti.id)).start_date).toBe("2026-01-01T10:00:00.000000Z");
  });

  it.each([
    { try_number: 1, max_tries: 0, expected: false },
    { try_number: 1, max_tries: 1, expected: true },
    { try_number: 2, max_tries: 1, expected: false },
    { state: "restarting", try_number: 2, max_tries: 0, expected: true },
  ] as const)("says whether a failure is retried: %o", async ({ expected, ...columns }) => {
    const { ti } = await makeRunningTask(t.database.db, columns);
    expect((await startedContext(ti.id)).context.should_retry).toBe(expected);
  });
});

describe("heartbeat", () => {
  it("notes the sign of life", async () => {
    const { ti } = await makeRunningTask(t.database.db);
    await startedContext(ti.id);
    const now = t.clock.advanceSeconds(5);
    expect(await t.execution.heartbeat(ti.id, { hostname: "here", pid: 42 })).toBe("alive");
    expect((await row(ti.id)).last_heartbeat_at).toBe(now);
  });

  it("says why a process must end", async () => {
    const { ti, run } = await makeRunningTask(t.database.db);
    await startedContext(ti.id);
    expect(await t.execution.heartbeat(ti.id, { hostname: "here", pid: 43 })).toBe("running_elsewhere");
    expect(await t.execution.heartbeat(ti.id, { hostname: "there", pid: 42 })).toBe("running_elsewhere");
    await t.database.db.updateTable("task_instance").set({ state: "failed" }).where("id", "=", ti.id).execute();
    expect(await t.execution.heartbeat(ti.id, { hostname: "here", pid: 42 })).toBe("not_running");
    expect(await t.execution.heartbeat(newId(), { hostname: "here", pid: 42 })).toBe("not_found");
    const old = await makeTaskInstanceHistory(t.database.db, { dag_run_id: run.id });
    expect(await t.execution.heartbeat(old.id, { hostname: "here", pid: 42 })).toBe("gone");
  });
});
