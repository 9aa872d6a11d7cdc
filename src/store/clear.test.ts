import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../test/support/database.ts";
import {
  makeDag,
  makeRun,
  makeTaskInstance,
  makeTaskInstanceHistory,
  makeVersion,
  NOON,
} from "../../test/support/factories.ts";
import { systemClock } from "../kit/clock.ts";
import { toJsonText } from "../kit/json-text.ts";
import { EventBus, type LeoflowEvent } from "../domain/events.ts";
import type { TaskInstanceState } from "../domain/states.ts";
import { clearTaskInstances, type Surgery } from "./clear.ts";
import { VersionCache } from "./dag-versions.ts";
import { findTries } from "./task-instance-tries.ts";

let test: TestDatabase;
let surgery: Surgery;
let events: LeoflowEvent[];

beforeAll(async () => {
  test = await createTestDatabase();
  const versions = new VersionCache(test.db);
  const bus = new EventBus();
  bus.on("kill", (event) => events.push(event));
  bus.on("dag-run", (event) => events.push(event));
  surgery = { db: test.db, bus, kit: { clock: systemClock }, graph: async (id) => (await versions.get(id)).graph };
});
afterAll(() => test.close());

/** A run of a → b, where a has two retries, with both in the given states. */
async function chain(
  states: { a?: TaskInstanceState | null; b?: TaskInstanceState | null } = {},
  run: Parameters<typeof makeRun>[1] | object = {},
) {
  events = [];
  const dag = await makeDag(test.db);
  const tasks = [{ id: "a", downstream: ["b"], retries: 2, pool: "etl" }, { id: "b" }];
  const version = await makeVersion(test.db, { dag_id: dag.dag_id }, { tasks });
  const dagRun = await makeRun(test.db, { dag_id: dag.dag_id, ...run });
  const common = { dag_run_id: dagRun.id, try_number: 1, start_date: NOON };
  const a = await makeTaskInstance(test.db, { ...common, state: states.a ?? null, hostname: "h", pid: 7 });
  const b = await makeTaskInstance(test.db, { ...common, task_id: "b", state: states.b ?? null });
  return { dag, version, run: dagRun, a, b };
}

async function row(dagRunId: number, taskId: string, mapIndex = -1) {
  return await test.db
    .selectFrom("task_instance")
    .selectAll()
    .where("dag_run_id", "=", dagRunId)
    .where("task_id", "=", taskId)
    .where("map_index", "=", mapIndex)
    .executeTakeFirstOrThrow();
}

const runRow = (id: number) => test.db.selectFrom("dag_run").selectAll().where("id", "=", id).executeTakeFirstOrThrow();

describe("clearTaskInstances", () => {
  it("gives a finished task a new try and queues its finished run", async () => {
    const { dag, run, a } = await chain({ a: "success", b: "success" }, { state: "success" });
    await test.db
      .insertInto("rendered_task_instance_fields")
      .values({ dag_run_id: run.id, task_id: "a", rendered_fields: toJsonText({ command: "x" }) })
      .execute();

    const result = await clearTaskInstances(surgery, { dagId: dag.dag_id, runIds: [run.run_id], tasks: ["a"] });

    const live = await row(run.id, "a");
    expect(result).toMatchObject({
      kind: "cleared",
      cleared: [{ oldId: a.id, id: live.id, taskId: "a", mapIndex: -1 }],
      killed: [],
    });
    expect(live).toMatchObject({
      state: null,
      try_number: 1,
      max_tries: 3,
      start_date: null,
      end_date: null,
      pid: null,
    });
    expect(live).toMatchObject({ pool: "etl", hostname: "" });
    const [old] = await test.db.selectFrom("task_instance_history").selectAll().where("id", "=", a.id).execute();
    expect(old).toMatchObject({ state: "success", try_number: 1, hostname: "h", pid: 7, start_date: NOON });
    expect(old?.rendered_fields).toBe('{"command":"x"}');
    expect(await runRow(run.id)).toMatchObject({ state: "queued", start_date: null, end_date: null, clear_number: 1 });
    expect((await row(run.id, "b")).state).toBe("success");
    expect(events).toEqual([{ kind: "dag-run", dagRunId: run.id }]);
  });

  it("asks what runs to end before it may run again, and leaves a live run as it is", async () => {
    const { dag, run, a } = await chain({ a: "running" });
    const result = await clearTaskInstances(surgery, { dagId: dag.dag_id, runIds: [run.run_id] });
    expect(result).toMatchObject({ killed: [a.id] });
    expect(await row(run.id, "a")).toMatchObject({ id: a.id, state: "restarting", try_number: 1 });
    expect(await test.db.selectFrom("task_instance_history").selectAll().where("id", "=", a.id).execute()).toEqual([]);
    expect(await runRow(run.id)).toMatchObject({ state: "running", clear_number: 1, start_date: NOON });
    expect(events).toEqual([
      { kind: "kill", ids: [a.id], reason: "cleared" },
      { kind: "dag-run", dagRunId: run.id },
    ]);
  });

  it("refuses a running task when asked to", async () => {
    const { dag, run, a } = await chain({ a: "running" });
    const options = { preventRunningTask: true };
    const which = { dagId: dag.dag_id, runIds: [run.run_id] };
    expect(await clearTaskInstances(surgery, which, options)).toEqual({ kind: "running" });
    expect((await row(run.id, "a")).id).toBe(a.id);
    expect(events).toEqual([]);
  });

  it("keeps the history of a retry, and leaves no trace of what never ran", async () => {
    const { dag, run, a } = await chain({ a: "up_for_retry" });
    await makeTaskInstanceHistory(test.db, { dag_run_id: run.id, try_number: 1 });
    await test.db.updateTable("task_instance").set({ try_number: 0 }).where("task_id", "=", "b").execute();
    await clearTaskInstances(surgery, { dagId: dag.dag_id, runIds: [run.run_id] });
    const history = await test.db
      .selectFrom("task_instance_history")
      .select(["id", "task_id"])
      .where("dag_run_id", "=", run.id)
      .execute();
    expect(history).toHaveLength(1);
    expect(history[0]?.id).not.toBe(a.id);
    expect((await row(run.id, "b")).state).toBeNull();
  });

  it("counts tries on over two clears", async () => {
    const { dag, run } = await chain({ a: "failed" }, { state: "failed" });
    const which = { dagId: dag.dag_id, runIds: [run.run_id], tasks: ["a"] };
    await clearTaskInstances(surgery, which);
    await test.db
      .updateTable("task_instance")
      .set({ try_number: 2, state: "failed" })
      .where("task_id", "=", "a")
      .execute();
    await clearTaskInstances(surgery, which);
    expect(await row(run.id, "a")).toMatchObject({ try_number: 2, max_tries: 4, state: null });
    const tries = await findTries(test.db, { dagId: dag.dag_id, runId: run.run_id, taskId: "a", mapIndex: -1 });
    expect(tries.map((one) => [one.try_number, one.state, one.live])).toEqual([
      [1, "failed", false],
      [2, "failed", false],
      [2, null, true],
    ]);
  });

  it("clears one map index or all of them", async () => {
    const { dag, run } = await chain({}, { state: "failed" });
    for (const map_index of [0, 1, 2]) {
      await makeTaskInstance(test.db, { dag_run_id: run.id, task_id: "m", map_index, state: "failed", try_number: 1 });
    }
    await clearTaskInstances(surgery, { dagId: dag.dag_id, runIds: [run.run_id], tasks: [["m", 1]] });
    expect((await row(run.id, "m", 0)).state).toBe("failed");
    expect((await row(run.id, "m", 1)).state).toBeNull();
    await clearTaskInstances(surgery, { dagId: dag.dag_id, runIds: [run.run_id], tasks: ["m"], states: ["failed"] });
    expect((await row(run.id, "m", 2)).state).toBeNull();
  });

  it("moves a run to the newest version when asked to", async () => {
    const { dag, run } = await chain({ a: "failed", b: "upstream_failed" }, { state: "failed" });
    const tasks = [{ id: "a", downstream: ["c"], retries: 5 }, { id: "c" }];
    const newest = await makeVersion(test.db, { dag_id: dag.dag_id }, { tasks });
    const which = { dagId: dag.dag_id, runIds: [run.run_id], tasks: ["a"] };
    await clearTaskInstances(surgery, which, { runOnLatestVersion: true });
    expect(await row(run.id, "a")).toMatchObject({ dag_version_id: newest.id, max_tries: 6 });
    expect(await row(run.id, "c")).toMatchObject({ dag_version_id: newest.id, state: null });
    expect((await row(run.id, "b")).state).toBe("removed");
    expect((await runRow(run.id)).dag_version_id).toBe(newest.id);
  });

  it("stays on the run's version otherwise, and leaves the run alone when told", async () => {
    const { dag, run, version } = await chain({ a: "failed" }, { state: "failed" });
    await makeVersion(test.db, { dag_id: dag.dag_id }, { tasks: [{ id: "a", retries: 9 }] });
    await clearTaskInstances(surgery, { ids: [(await row(run.id, "a")).id] }, { dagRunState: false });
    expect(await row(run.id, "a")).toMatchObject({ dag_version_id: version.id, max_tries: 3 });
    expect(await runRow(run.id)).toMatchObject({ state: "failed", clear_number: 0 });
  });

  it("writes a note", async () => {
    const { run } = await chain({ a: "failed" });
    const ids = [(await row(run.id, "a")).id];
    await clearTaskInstances(surgery, { ids }, { note: { text: "again", userId: "ann" } });
    expect(await row(run.id, "a")).toMatchObject({ note: "again", note_user_id: "ann" });
  });

  it("selects by logical date", async () => {
    const first = await chain({ a: "failed" }, { state: "failed", logical_date: NOON });
    const later = await makeRun(test.db, { dag_id: first.dag.dag_id, state: "failed", logical_date: null });
    await makeTaskInstance(test.db, { dag_run_id: later.id, state: "failed", try_number: 1 });
    const result = await clearTaskInstances(surgery, { dagId: first.dag.dag_id, startDate: NOON, endDate: NOON });
    expect(result).toMatchObject({ dagRunIds: [first.run.id] });
  });
});
