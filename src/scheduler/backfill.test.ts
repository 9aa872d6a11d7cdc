import { pino } from "pino";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../test/support/database.ts";
import { makeDag, makeRun, makeTaskInstance, makeVersion, unique } from "../../test/support/factories.ts";
import { until } from "../../test/support/until.ts";
import type { ReprocessBehavior } from "../domain/backfill.ts";
import { EventBus } from "../domain/events.ts";
import type { TaskExecution } from "../domain/task-execution.ts";
import type { Executor, Workload } from "../domain/workload.ts";
import { createTaskExecution } from "../execution/task-execution.ts";
import { systemClock } from "../kit/clock.ts";
import { fernet, newFernetKey } from "../kit/fernet.ts";
import { addMicros, parseInstant } from "../kit/instant.ts";
import { createBackfill } from "../store/backfill-creation.ts";
import { cancelBackfill, findBackfill, setBackfillPaused } from "../store/backfills.ts";
import { clearTaskInstances } from "../store/clear.ts";
import { createDagRun } from "../store/dag-run-creation.ts";
import { VersionCache } from "../store/dag-versions.ts";
import { BackfillFinisher } from "./backfill-finisher.ts";
import { Scheduler } from "./scheduler.ts";

const kit = { logger: pino({ level: "silent" }), clock: systemClock };
const DAY = 86_400_000_000;
const FIRST = parseInstant("2026-01-01T00:00:00Z");

/** Runs tasks until they are told to end. */
class HeldExecutor implements Executor {
  readonly #execution: () => TaskExecution;
  readonly #held = new Map<string, Workload>();

  constructor(execution: () => TaskExecution) {
    this.#execution = execution;
  }

  enqueue(workloads: readonly Workload[]): void {
    for (const workload of workloads) void this.#start(workload);
  }

  terminate(): void {}

  held(): ReadonlySet<string> {
    return new Set(this.#held.keys());
  }

  /** Days of the runs whose tasks are held. */
  get days(): string[] {
    return [...this.#held.values()].map(({ runId }) => dayOf(runId)).sort();
  }

  async end(day: string, isGood = true): Promise<void> {
    const execution = this.#execution();
    for (const [id, { runId }] of this.#held) {
      if (dayOf(runId) !== day) continue;
      this.#held.delete(id);
      const endDate = systemClock.now();
      if (!isGood) await execution.exited(id, { code: 1, signal: null, taskState: null, reason: null, endDate });
      else
        await execution.handle(id, {
          type: "SucceedTask",
          state: "success",
          end_date: endDate,
          task_outlets: [],
          outlet_events: [],
          rendered_map_index: null,
        });
    }
  }

  async #start(workload: Workload): Promise<void> {
    await this.#execution().start(workload.id, {
      hostname: "h",
      unixname: "u",
      pid: 1,
      startDate: systemClock.now(),
    });
    this.#held.set(workload.id, workload);
  }
}

function dayOf(runId: string): string {
  return /2026-01-(\d\d)/.exec(runId)?.[1] ?? runId;
}

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.close());

const running: { stop(): Promise<void> }[] = [];
afterEach(async () => {
  for (const part of running.splice(0)) await part.stop();
  await database.pool.query("truncate dag cascade");
});

async function controlPlane() {
  const bus = new EventBus();
  const versions = new VersionCache(database.db);
  const graph = async (id: string) => (await versions.get(id)).graph;
  const execution = createTaskExecution(kit, {
    database,
    bus,
    secrets: fernet(newFernetKey()),
    graph,
    createDagRun,
    manualDataInterval: async () => null,
  });
  const executor = new HeldExecutor(() => execution);
  const finisher = new BackfillFinisher(kit, { db: database.db, bus });
  const scheduler = new Scheduler(
    kit,
    {
      db: database.db,
      bus,
      versions,
      executor,
      startFromTrigger: async () => false,
      runFinished: () => finisher.check(),
    },
    { parallelism: 32, retryMs: 10 },
  );
  running.push(finisher, scheduler);
  await finisher.start();
  await scheduler.start();
  return { bus, scheduler, executor, surgery: { db: database.db, bus, kit, graph } };
}

type Plane = Awaited<ReturnType<typeof controlPlane>>;

async function aDag(task: Record<string, unknown> = {}): Promise<string> {
  const dag = await makeDag(database.db, { max_active_runs: 1 });
  await makeVersion(
    database.db,
    { dag_id: dag.dag_id },
    { tasks: [{ id: "a", ...task }], dag: { max_active_runs: 1 } },
  );
  return dag.dag_id;
}

interface BackfillOptions {
  days?: number;
  maxActiveRuns?: number;
  reverse?: boolean;
  reprocess?: ReprocessBehavior;
}

/** A backfill of so many days from 1 January. */
async function backfill(
  { surgery }: Plane,
  dagId: string,
  { days = 4, maxActiveRuns = 2, reverse = false, reprocess = "none" }: BackfillOptions = {},
): Promise<number> {
  const runs = Array.from({ length: days }, (_, day) => {
    const [start, end] = [addMicros(FIRST, day * DAY), addMicros(FIRST, (day + 1) * DAY)];
    const runId = `backfill__${start}`;
    return {
      logicalDate: start,
      dataInterval: { start, end },
      runAfter: end,
      partitionKey: null,
      partitionDate: null,
      runId,
    };
  });
  const made = await createBackfill(surgery, {
    dagId,
    from: FIRST,
    to: addMicros(FIRST, days * DAY),
    reprocess,
    maxActiveRuns,
    conf: null,
    userName: "admin",
    runOnLatestVersion: true,
    runs: reverse ? runs.reverse() : runs,
  });
  if (made.kind !== "created") throw new Error(made.kind);
  return made.id;
}

const runs = (executor: HeldExecutor, days: string[]) =>
  until(`${days.join(", ")} run`, () => executor.days.join() === days.sort().join());
const isComplete = async (id: number) => (await findBackfill(database.db, id))?.completed_at !== null;

async function states(dagId: string): Promise<string[]> {
  const rows = await database.db
    .selectFrom("dag_run")
    .select(["run_id", "state"])
    .where("dag_id", "=", dagId)
    .orderBy("logical_date")
    .execute();
  return rows.map(({ run_id: runId, state }) => `${dayOf(runId)} ${state}`);
}

describe("a backfill's runs", () => {
  it("start in its order, as many as it allows, whatever its DAG allows, and complete it", async () => {
    const plane = await controlPlane();
    const { executor, bus } = plane;
    const dagId = await aDag();
    const manual = await makeRun(database.db, { dag_id: dagId, run_id: "by hand", state: "queued", start_date: null });
    bus.publish({ kind: "dag-run", dagRunId: manual.id });
    await runs(executor, ["by hand"]);
    const id = await backfill(plane, dagId, { reverse: true });
    await runs(executor, ["by hand", "04", "03"]);
    // The run by hand counts by itself: another one waits for it.
    const second = await makeRun(database.db, { dag_id: dagId, run_id: "second", state: "queued", start_date: null });
    bus.publish({ kind: "dag-run", dagRunId: second.id });
    await executor.end("04");
    await runs(executor, ["by hand", "03", "02"]);
    await executor.end("03", false);
    await runs(executor, ["by hand", "02", "01"]);
    await executor.end("by hand");
    await runs(executor, ["02", "01", "second"]);
    expect(await isComplete(id)).toBe(false);
    for (const day of ["02", "01"]) await executor.end(day);
    await until("it is complete", () => isComplete(id));
    expect((await states(dagId)).slice(0, 4)).toEqual(["01 success", "02 success", "03 failed", "04 success"]);
    expect(executor.days).toEqual(["second"]);
  });

  it("wait while it is paused, and fail when it is cancelled", async () => {
    const plane = await controlPlane();
    const { executor, bus, scheduler, surgery } = plane;
    const dagId = await aDag();
    const id = await backfill(plane, dagId, { maxActiveRuns: 1 });
    await runs(executor, ["01"]);
    await setBackfillPaused(database.db, id, true, systemClock.now());
    bus.publish({ kind: "backfill", backfillId: id });
    await executor.end("01");
    await until("the first ends", async () => (await states(dagId))[0] === "01 success");
    await scheduler.tick();
    await scheduler.settled();
    expect(await states(dagId)).toEqual(["01 success", "02 queued", "03 queued", "04 queued"]);
    await setBackfillPaused(database.db, id, false, systemClock.now());
    bus.publish({ kind: "backfill", backfillId: id });
    await runs(executor, ["02"]);
    const failed = await cancelBackfill(database.db, id, systemClock.now());
    for (const dagRunId of failed ?? []) bus.publish({ kind: "dag-run", dagRunId });
    await executor.end("02");
    await until("the second ends", async () => (await states(dagId))[1] === "02 success");
    expect(await states(dagId)).toEqual(["01 success", "02 success", "03 failed", "04 failed"]);
    expect(executor.days).toEqual([]);
    // A cancelled run that is cleared later is on its own.
    await clearTaskInstances(surgery, { dagId, runIds: [`backfill__${addMicros(FIRST, 2 * DAY)}`] });
    await runs(executor, ["03"]);
  });

  it("go on in its order after a restart", async () => {
    const first = await controlPlane();
    const dagId = await aDag();
    await database.db.updateTable("dag").set({ is_paused: true }).where("dag_id", "=", dagId).execute();
    await backfill(first, dagId, { reverse: true, maxActiveRuns: 1 });
    await first.scheduler.settled();
    await first.scheduler.stop();
    const { bus, executor } = await controlPlane();
    expect(executor.days).toEqual([]);
    await database.db.updateTable("dag").set({ is_paused: false }).where("dag_id", "=", dagId).execute();
    bus.publish({ kind: "dag", dagId });
    for (const day of ["04", "03", "02", "01"]) {
      await runs(executor, [day]);
      await executor.end(day);
    }
  });

  it("depend on their past, but for the first", async () => {
    const plane = await controlPlane();
    const { executor } = plane;
    const dagId = await aDag({ depends_on_past: true });
    const before = await makeRun(database.db, {
      dag_id: dagId,
      run_id: unique("scheduled__"),
      run_type: "scheduled",
      state: "failed",
      logical_date: addMicros(FIRST, -DAY),
    });
    await makeTaskInstance(database.db, { dag_run_id: before.id, state: "failed", try_number: 1 });
    await backfill(plane, dagId, { maxActiveRuns: 4, reprocess: "failed" });
    for (const day of ["01", "02"]) {
      await runs(executor, [day]);
      await executor.end(day);
    }
    await runs(executor, ["03"]);
    await executor.end("03", false);
    await until("the third fails", async () => (await states(dagId))[3] === "03 failed");
    expect(executor.days).toEqual([]);
  });
});

describe("a backfill is complete", () => {
  it("at once when nothing is left to do, and when its runs are deleted", async () => {
    const plane = await controlPlane();
    const dagId = await aDag();
    await makeRun(database.db, { dag_id: dagId, run_id: "there", state: "success", logical_date: FIRST });
    const id = await backfill(plane, dagId, { days: 1 });
    const finisher = new BackfillFinisher(kit, { db: database.db, bus: new EventBus() });
    await finisher.runOnce();
    expect(await isComplete(id)).toBe(true);

    await database.db.updateTable("dag").set({ is_paused: true }).where("dag_id", "=", dagId).execute();
    const other = await backfill(plane, dagId, { days: 3 });
    await finisher.runOnce();
    expect(await isComplete(other)).toBe(false);
    await database.db.deleteFrom("dag_run").where("backfill_id", "=", other).execute();
    await finisher.runOnce();
    expect(await isComplete(other)).toBe(true);
  });
});
