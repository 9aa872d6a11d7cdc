import { pino } from "pino";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../test/support/database.ts";
import { makeDag, makeVersion, triggerRun } from "../../test/support/factories.ts";
import { until } from "../../test/support/until.ts";
import { createTaskExecution } from "../execution/task-execution.ts";
import { systemClock } from "../kit/clock.ts";
import { fernet, newFernetKey } from "../kit/fernet.ts";
import { RawJson, type TaskExecution } from "../domain/task-execution.ts";
import { EventBus } from "../domain/events.ts";
import type { Executor, Workload } from "../domain/workload.ts";
import { parseInstant } from "../kit/instant.ts";
import { toJsonText } from "../kit/json-text.ts";
import { createDagRun } from "../store/dag-run-creation.ts";
import { VersionCache } from "../store/dag-versions.ts";
import { Reaper } from "./reaper.ts";
import { Scheduler } from "./scheduler.ts";

const kit = { logger: pino({ level: "silent" }), clock: systemClock };

type Outcome = "success" | "failed" | "hang" | "vanish" | { push: unknown; length: number | null; key?: string };

/** Stands where Python would be: starts each try through the real execution service and reports what the test says. */
class ScriptedExecutor implements Executor {
  readonly #execution: () => TaskExecution;
  readonly order: string[] = [];
  readonly #held = new Set<string>();
  outcome: (workload: Workload) => Outcome = () => "success";

  constructor(execution: () => TaskExecution) {
    this.#execution = execution;
  }

  enqueue(workloads: readonly Workload[]): void {
    for (const workload of workloads) void this.#run(workload);
  }

  terminate(): void {}

  held(): ReadonlySet<string> {
    return this.#held;
  }

  /** Lets what hangs succeed. */
  async finishHanging(): Promise<void> {
    for (const id of [...this.#held]) await this.#succeed(id);
  }

  async #run(workload: Workload): Promise<void> {
    if (this.#held.has(workload.id)) return;
    const execution = this.#execution();
    const outcome = this.outcome(workload);
    if (outcome === "vanish") return;
    this.#held.add(workload.id);
    this.order.push(`${workload.taskId}${workload.mapIndex < 0 ? "" : `[${workload.mapIndex}]`}#${workload.tryNumber}`);
    const now = systemClock.now();
    await execution.start(workload.id, { hostname: "h", unixname: "u", pid: 1, startDate: now });
    if (outcome === "hang") return;
    if (typeof outcome === "object") {
      await execution.handle(workload.id, {
        type: "SetXCom",
        key: outcome.key ?? "return_value",
        value: new RawJson(toJsonText(outcome.push)),
        dag_id: workload.dagId,
        run_id: workload.runId,
        task_id: workload.taskId,
        map_index: workload.mapIndex,
        dag_result: false,
        mapped_length: outcome.length,
      });
    }
    if (outcome === "failed") {
      const endDate = systemClock.now();
      await execution.exited(workload.id, {
        code: 1,
        signal: null,
        taskState: null,
        reason: null,
        endDate,
      });
    } else {
      await this.#succeed(workload.id);
    }
    this.#held.delete(workload.id);
  }

  async #succeed(id: string): Promise<void> {
    await this.#execution().handle(id, {
      type: "SucceedTask",
      state: "success",
      end_date: systemClock.now(),
      task_outlets: [],
      outlet_events: [],
      rendered_map_index: null,
    });
    this.#held.delete(id);
  }
}

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.close());

const running: Scheduler[] = [];
afterEach(async () => {
  for (const scheduler of running.splice(0)) await scheduler.stop();
  await database.pool.query("truncate dag cascade");
});

function controlPlane(parallelism = 32) {
  const bus = new EventBus();
  const versions = new VersionCache(database.db);
  const execution = createTaskExecution(kit, {
    database,
    bus,
    secrets: fernet(newFernetKey()),
    graph: async (id) => (await versions.get(id)).graph,
    createDagRun,
    manualDataInterval: async () => null,
  });
  const executor = new ScriptedExecutor(() => execution);
  const finished: string[] = [];
  const scheduler = new Scheduler(
    kit,
    {
      db: database.db,
      bus,
      versions,
      executor,
      startFromTrigger: async () => false,
      runFinished: (dagId) => finished.push(dagId),
    },
    { parallelism, retryMs: 10 },
  );
  running.push(scheduler);
  return { bus, versions, execution, executor, scheduler, finished };
}

type Shape = Parameters<typeof makeVersion>[2];

async function makeDagWith(shape: Shape, columns = {}): Promise<string> {
  const dag = await makeDag(database.db, columns);
  await makeVersion(database.db, { dag_id: dag.dag_id }, shape);
  return dag.dag_id;
}

const trigger = (bus: EventBus, dagId: string) => triggerRun(database.db, bus, dagId);

async function stateOf(runId: number): Promise<string> {
  const row = await database.db.selectFrom("dag_run").select("state").where("id", "=", runId).executeTakeFirstOrThrow();
  return row.state;
}

const comesTo = (runId: number, state: string) =>
  until(`run ${runId} is ${state}`, async () => (await stateOf(runId)) === state);

async function taskStates(runId: number): Promise<Record<string, string | null>> {
  const rows = await database.db
    .selectFrom("task_instance")
    .select(["task_id", "map_index", "state"])
    .where("dag_run_id", "=", runId)
    .orderBy("task_id")
    .orderBy("map_index")
    .execute();
  return Object.fromEntries(
    rows.map((row) => [row.map_index < 0 ? row.task_id : `${row.task_id}[${row.map_index}]`, row.state]),
  );
}

describe("Scheduler", () => {
  it("runs a chain in order and ends the run", async () => {
    const { bus, scheduler, executor, finished } = controlPlane();
    await scheduler.start();
    const dagId = await makeDagWith({
      tasks: [{ id: "a", downstream: ["b"] }, { id: "b", downstream: ["c"] }, { id: "c" }],
    });
    const run = await trigger(bus, dagId);
    await comesTo(run, "success");
    expect(executor.order).toEqual(["a#1", "b#1", "c#1"]);
    expect(await taskStates(run)).toEqual({ a: "success", b: "success", c: "success" });
    await until("its end is told", () => finished.length === 1);
  });

  it("retries after the delay, then fails what is behind", async () => {
    const { bus, scheduler, executor } = controlPlane();
    await scheduler.start();
    executor.outcome = ({ taskId }) => (taskId === "a" ? "failed" : "success");
    const dagId = await makeDagWith({
      tasks: [{ id: "a", downstream: ["b"], retries: 1, retry_delay: 0.05 }, { id: "b" }],
    });
    const run = await trigger(bus, dagId);
    await comesTo(run, "failed");
    expect(executor.order).toEqual(["a#1", "a#2"]);
    expect(await taskStates(run)).toEqual({ a: "failed", b: "upstream_failed" });
  });

  it("expands a mapped task on the length that was pushed, and reduces", async () => {
    const { bus, scheduler, executor } = controlPlane();
    await scheduler.start();
    executor.outcome = ({ taskId }) => (taskId === "generate" ? { push: [1, 2, 3], length: 3 } : "success");
    const dagId = await makeDagWith({
      tasks: [
        { id: "generate", downstream: ["each"] },
        {
          id: "each",
          downstream: ["reduce"],
          _is_mapped: true,
          _needs_expansion: true,
          partial_kwargs: {},
          _expand_input_attr: "op_kwargs_expand_input",
          op_kwargs_expand_input: {
            type: "dict-of-lists",
            value: {
              __type: "dict",
              __var: { x: { __type: "xcomref", __var: { task_id: "generate", key: "return_value" } } },
            },
          },
        },
        { id: "reduce" },
      ],
    });
    const run = await trigger(bus, dagId);
    await comesTo(run, "success");
    expect(await taskStates(run)).toEqual({
      generate: "success",
      "each[0]": "success",
      "each[1]": "success",
      "each[2]": "success",
      reduce: "success",
    });
    expect(executor.order.at(-1)).toBe("reduce#1");
  });

  it("lets no task run that a branch left aside, however much goes on beside", async () => {
    const { bus, scheduler, executor } = controlPlane();
    await scheduler.start();
    executor.outcome = ({ taskId }) =>
      taskId === "branch" ? { key: "skipmixin_key", push: { followed: ["taken"] }, length: null } : "success";
    const aside = Array.from({ length: 5 }, (_, index) => `aside${index}`);
    const dagId = await makeDagWith(
      {
        tasks: [
          { id: "branch", _can_skip_downstream: true, downstream: ["taken", ...aside] },
          { id: "taken" },
          ...aside.map((id) => ({ id })),
        ],
        dag: { max_active_runs: 100, max_active_tasks: 100 },
      },
      { max_active_runs: 100 },
    );
    const runs = [];
    for (let count = 0; count < 60; count++) runs.push(await trigger(bus, dagId));
    for (const run of runs) await comesTo(run, "success");
    expect([...new Set(executor.order)].sort()).toEqual(["branch#1", "taken#1"]);
  });

  it("never has more at work than the parallelism, and loses none", async () => {
    const { bus, scheduler, executor } = controlPlane(3);
    await scheduler.start();
    let most = 0;
    executor.outcome = () => {
      most = Math.max(most, executor.held().size + 1);
      return "success";
    };
    const dagId = await makeDagWith({
      tasks: Array.from({ length: 40 }, (_, index) => ({ id: `t${index}` })),
      dag: { max_active_tasks: 64 },
    });
    const run = await trigger(bus, dagId);
    await comesTo(run, "success");
    expect(executor.order).toHaveLength(40);
    expect(most).toBeLessThanOrEqual(3);
  });

  it("starts no run of a paused DAG, and at most max_active_runs at a time", async () => {
    const { bus, scheduler, executor } = controlPlane();
    await scheduler.start();
    executor.outcome = () => "hang";
    const paused = await makeDagWith({ tasks: [{ id: "a" }] }, { is_paused: true });
    const limited = await makeDagWith({ tasks: [{ id: "a" }], dag: { max_active_runs: 1 } });
    const runs = [await trigger(bus, paused), await trigger(bus, limited), await trigger(bus, limited)];
    await comesTo(runs[1] as number, "running");
    await scheduler.settled();
    expect(await Promise.all(runs.map(stateOf))).toEqual(["queued", "running", "queued"]);
    await database.db.updateTable("dag").set({ is_paused: false }).where("dag_id", "=", paused).execute();
    bus.publish({ kind: "dag", dagId: paused });
    await comesTo(runs[0] as number, "running");
  });

  it("lets a run that a DAG is tried with go on while the DAG is paused, and no other", async () => {
    const { bus, scheduler } = controlPlane();
    await scheduler.start();
    const paused = await makeDagWith({ tasks: [{ id: "a", downstream: ["b"] }, { id: "b" }] }, { is_paused: true });
    const [held, tried] = [await trigger(bus, paused), await triggerRun(database.db, bus, paused, "test")];
    await comesTo(tried, "success");
    expect(await stateOf(held)).toBe("queued");
  });

  it("pauses a DAG whose last runs have all failed", async () => {
    const { bus, scheduler, executor } = controlPlane();
    await scheduler.start();
    const dagId = await makeDagWith({ tasks: [{ id: "a" }], dag: { max_consecutive_failed_dag_runs: 2 } });
    const isPaused = async () =>
      (await database.db.selectFrom("dag").select("is_paused").where("dag_id", "=", dagId).executeTakeFirst())
        ?.is_paused;
    for (const [outcome, state, paused] of [
      ["failed", "failed", false],
      ["success", "success", false],
      ["failed", "failed", false],
      ["failed", "failed", true],
    ] as const) {
      executor.outcome = () => outcome;
      await comesTo(await trigger(bus, dagId), state);
      await scheduler.settled();
      expect(await isPaused()).toBe(paused);
    }
    const held = await trigger(bus, dagId);
    await scheduler.settled();
    expect(await stateOf(held)).toBe("queued");
  });

  it("waits for run_after and ends a run that takes too long", async () => {
    const { bus, scheduler, executor } = controlPlane();
    await scheduler.start();
    executor.outcome = () => "hang";
    const killed: string[] = [];
    bus.on("kill", ({ ids }) => killed.push(...ids));
    const dagId = await makeDagWith({
      tasks: [{ id: "a", downstream: ["b"] }, { id: "b" }],
      dag: { dagrun_timeout: 0.2 },
    });
    const run = await trigger(bus, dagId);
    await comesTo(run, "failed");
    expect(await taskStates(run)).toEqual({ a: "skipped", b: "skipped" });
    await until("its task is killed", () => killed.length === 1);
  });

  it("takes up where a killed scheduler stopped", async () => {
    const first = controlPlane();
    await first.scheduler.start();
    first.executor.outcome = ({ taskId }) => (taskId === "b" ? "hang" : taskId === "c" ? "vanish" : "success");
    const dagId = await makeDagWith({
      tasks: [
        { id: "a", downstream: ["b", "c"] },
        { id: "b", downstream: ["d"] },
        { id: "c", downstream: ["d"] },
        { id: "d" },
      ],
    });
    const run = await trigger(first.bus, dagId);
    await until(
      "b runs and c waits",
      async () => (await taskStates(run))["b"] === "running" && (await taskStates(run))["c"] === "queued",
    );
    await first.scheduler.stop();

    const second = controlPlane();
    await second.scheduler.start();
    const ended: string[] = [];
    const reaper = new Reaper(
      kit,
      {
        db: database.db,
        held: () => second.executor.held(),
        settle: (id, exit) => second.execution.exited(id, exit),
        logEnd: async (ti, reason) => void ended.push(`${ti.task_id}: ${reason}`),
        requeue: (id, dagRunId) => second.scheduler.requeue(id, dagRunId),
      },
      { heartbeatTimeoutMs: 30_000, queuedTimeoutMs: 10_000 },
    );
    expect(await reaper.adoptAfterRestart()).toEqual({ lost: 1, requeued: 1 });
    await comesTo(run, "success");
    expect(ended).toEqual(["b: lost: Leoflow stopped while this task was running"]);
    expect(second.executor.order.sort()).toEqual(["b#2", "c#1", "d#1"]);
  });

  it("holds a task with depends_on_past until the run before has done with it", async () => {
    const { bus, scheduler, executor } = controlPlane();
    await scheduler.start();
    let first = true;
    executor.outcome = () => {
      if (!first) return "success";
      first = false;
      return "hang";
    };
    const dagId = await makeDagWith({ tasks: [{ id: "a", depends_on_past: true }] });
    const runs: number[] = [];
    for (const day of ["2026-01-01", "2026-01-02"]) {
      const made = await createDagRun(database.db, {
        dagId,
        runId: `scheduled__${day}`,
        runType: "scheduled",
        logicalDate: parseInstant(`${day}T00:00:00Z`),
        dataIntervalStart: null,
        dataIntervalEnd: null,
        runAfter: parseInstant(`${day}T00:00:00Z`),
        conf: null,
        triggeredBy: "timetable",
        triggeringUserName: null,
      });
      if (made.kind !== "created") throw new Error(made.kind);
      runs.push(made.id);
      bus.publish({ kind: "dag-run", dagRunId: made.id });
      await scheduler.settled();
    }
    const [before, after] = runs as [number, number];
    await until("a runs", async () => (await taskStates(before))["a"] === "running");
    expect(await taskStates(after)).toEqual({ a: null });
    await executor.finishHanging();
    await comesTo(before, "success");
    await comesTo(after, "success");
  });

  it("goes on after the database was away", async () => {
    const { bus, scheduler } = controlPlane();
    await scheduler.start();
    const dagId = await makeDagWith({
      tasks: Array.from({ length: 20 }, (_, index) => ({
        id: `t${index}`,
        downstream: index < 19 ? [`t${index + 1}`] : [],
      })),
    });
    const run = await trigger(bus, dagId);
    await until(
      "some have run",
      async () => Object.values(await taskStates(run)).filter((state) => state === "success").length > 3,
      60,
      5,
    );
    await database.pool
      .query(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()",
      )
      .catch(() => undefined);
    // The test's own connections are gone too: its first queries may fail like anybody's.
    await until("it has run", async () => (await stateOf(run).catch(() => "")) === "success");
  });
});
