import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../test/support/database.ts";
import { makeDag, makeRun, makeTaskInstance, makeVersion, NOON } from "../../test/support/factories.ts";
import { systemClock } from "../kit/clock.ts";
import { addMicros } from "../kit/instant.ts";
import { EventBus, type LeoflowEvent } from "../domain/events.ts";
import type { TaskInstanceState } from "../domain/states.ts";
import type { Surgery } from "./clear.ts";
import { VersionCache } from "./dag-versions.ts";
import { markDagRun, markTaskInstances, selectToMark } from "./mark.ts";

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

const TASKS = [{ id: "a", downstream: ["b"] }, { id: "b", downstream: ["c"] }, { id: "c" }];

async function scene(shape: Parameters<typeof makeVersion>[2] = {}) {
  events = [];
  const dag = await makeDag(test.db);
  const version = await makeVersion(test.db, { dag_id: dag.dag_id }, { tasks: TASKS, ...shape });
  return { dag, graph: await surgery.graph(version.id) };
}

async function runWith(
  dagId: string,
  states: Record<string, TaskInstanceState | null>,
  columns: Partial<Parameters<typeof makeRun>[1]> = {},
) {
  const run = await makeRun(test.db, { dag_id: dagId, ...columns });
  const ids: Record<string, string> = {};
  for (const [task_id, state] of Object.entries(states)) {
    const ti = await makeTaskInstance(test.db, { dag_run_id: run.id, task_id, state, try_number: state ? 1 : 0 });
    ids[task_id] = ti.id;
  }
  return { ...run, ids };
}

async function statesOf(dagRunId: number) {
  const rows = await test.db
    .selectFrom("task_instance")
    .select(["task_id", "state"])
    .where("dag_run_id", "=", dagRunId)
    .execute();
  return Object.fromEntries(rows.map((row) => [row.task_id, row.state]));
}

const runRow = (id: number) => test.db.selectFrom("dag_run").selectAll().where("id", "=", id).executeTakeFirstOrThrow();

describe("markTaskInstances", () => {
  it("ends the running task and lets what failed behind it go on", async () => {
    const { dag, graph } = await scene();
    const run = await runWith(
      dag.dag_id,
      { a: "running", b: "upstream_failed", c: "upstream_failed" },
      { state: "failed" },
    );
    const changed = await markTaskInstances(surgery, { graph, runId: run.run_id, tasks: ["a"], state: "success" });
    expect(changed).toEqual([run.ids.a]);
    expect(await statesOf(run.id)).toEqual({ a: "success", b: null, c: null });
    expect(await runRow(run.id)).toMatchObject({ state: "queued" });
    const row = await test.db
      .selectFrom("task_instance")
      .selectAll()
      .where("id", "=", run.ids.a as string)
      .execute();
    expect(row[0]).toMatchObject({ duration: 0 });
    expect(row[0]?.end_date).not.toBeNull();
    expect(events).toContainEqual({ kind: "kill", ids: [run.ids.a], reason: "marked success" });
    expect(events).toContainEqual({ kind: "dag-run", dagRunId: run.id });
  });

  it("does nothing when all of them are in that state", async () => {
    const { dag, graph } = await scene();
    const run = await runWith(dag.dag_id, { a: "success", b: "failed", c: null });
    expect(await markTaskInstances(surgery, { graph, runId: run.run_id, tasks: ["a"], state: "success" })).toEqual([]);
    expect(await statesOf(run.id)).toEqual({ a: "success", b: "failed", c: null });
    expect(events).toEqual([]);
  });

  it("takes upstream and downstream along", async () => {
    const { dag, graph } = await scene();
    const run = await runWith(dag.dag_id, { a: null, b: null, c: "success" });
    const ask = { graph, runId: run.run_id, tasks: ["b"], state: "failed" as const };
    expect(await selectToMark(test.db, { ...ask, upstream: true })).toEqual([run.ids.a, run.ids.b]);
    await markTaskInstances(surgery, { ...ask, upstream: true, downstream: true });
    // What is marked downstream as failed is cleared again, as Airflow does.
    expect(await statesOf(run.id)).toMatchObject({ a: "failed", b: "failed", c: null });
  });

  it("reaches past and future runs of a schedule", async () => {
    const { dag, graph } = await scene({ dag: { timetable: cron } });
    const at = (days: number) => addMicros(NOON, days * 86_400_000_000);
    const runs = [];
    for (const day of [0, 1, 2]) {
      runs.push(await runWith(dag.dag_id, { a: null }, { run_type: "scheduled", logical_date: at(day) }));
    }
    const manual = await runWith(dag.dag_id, { a: null }, { logical_date: at(1.5) });
    const [first, second, third] = runs.map((run) => run.ids.a);
    const ask = { graph, runId: (runs[1] as { run_id: string }).run_id, tasks: ["a"], state: "success" as const };
    expect(await selectToMark(test.db, { ...ask, past: true })).toEqual([first, second]);
    expect(await selectToMark(test.db, { ...ask, future: true })).toEqual([second, third]);
    expect(await selectToMark(test.db, ask)).toEqual([second]);
    expect(await selectToMark(test.db, { ...ask, future: true, past: true })).not.toContain(manual.ids.a);
  });

  it("marks one map index", async () => {
    const { dag, graph } = await scene();
    const run = await runWith(dag.dag_id, {});
    const made = [];
    for (const map_index of [0, 1]) made.push(await makeTaskInstance(test.db, { dag_run_id: run.id, map_index }));
    const ask = { graph, runId: run.run_id, state: "skipped" as const };
    expect(await markTaskInstances(surgery, { ...ask, tasks: [["a", 1]] })).toEqual([made[1]?.id]);
    expect(await markTaskInstances(surgery, { ...ask, tasks: ["a"] })).toEqual([made[0]?.id]);
  });
});

describe("markDagRun", () => {
  it("ends what runs, skips what waits and keeps what is finished", async () => {
    const { dag, graph } = await scene();
    const run = await runWith(dag.dag_id, { a: "success", b: "running", c: "queued" });
    const changed = await markDagRun(surgery, { id: run.id, runId: run.run_id, graph }, "failed");
    expect(changed).toEqual([run.ids.c, run.ids.b]);
    expect(await statesOf(run.id)).toEqual({ a: "success", b: "failed", c: "skipped" });
    expect(await runRow(run.id)).toMatchObject({ state: "failed" });
    expect((await runRow(run.id)).end_date).not.toBeNull();
    expect(events).toEqual([
      { kind: "kill", ids: [run.ids.c, run.ids.b], reason: "dag run marked failed" },
      { kind: "dag-run", dagRunId: run.id },
    ]);
  });

  it("leaves teardowns to their work, and the run open for them", async () => {
    const tasks = [
      { id: "a", downstream: ["t"] },
      { id: "t", is_teardown: true },
    ];
    const { dag, graph } = await scene({ tasks });
    const run = await runWith(dag.dag_id, { a: "running", t: null });
    await markDagRun(surgery, { id: run.id, runId: run.run_id, graph }, "success");
    expect(await statesOf(run.id)).toEqual({ a: "success", t: null });
    expect((await runRow(run.id)).state).toBe("running");
  });

  it("queues a finished run", async () => {
    const { dag, graph } = await scene();
    const run = await runWith(dag.dag_id, { a: "failed" }, { state: "failed" });
    expect(await markDagRun(surgery, { id: run.id, runId: run.run_id, graph }, "queued")).toEqual([]);
    expect(await runRow(run.id)).toMatchObject({ state: "queued", start_date: null, end_date: null });
    expect(await statesOf(run.id)).toEqual({ a: "failed" });
  });
});

const cron = {
  __type: "airflow.timetables.trigger.CronTriggerTimetable",
  __var: { expression: "0 12 * * *", timezone: "UTC", interval: 0.0, run_immediately: false },
};
