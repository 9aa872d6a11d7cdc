import { Alarm } from "../kit/alarm.ts";
import type { Instant } from "../kit/instant.ts";
import type { Kit, Service } from "../kit/service.ts";
import type { EventBus } from "../domain/events.ts";
import { timetableFor } from "../domain/timetable/timetable-for.ts";
import { randomSuffix, timeRestriction, type BuiltinTimetable, type NextRun } from "../domain/timetable/timetable.ts";
import { createDagRun, type DagRunCreation } from "../store/dag-run-creation.ts";
import { dagSchedules, setNextRun, type DagScheduleRow } from "../store/dag-schedule.ts";
import type { VersionCache } from "../store/dag-versions.ts";
import type { Database } from "../store/database.ts";

export interface RunCreatorDeps {
  db: Database;
  bus: EventBus;
  versions: VersionCache;
}

/**
 * Makes scheduled runs at their time, and keeps each DAG's next-run fields right.
 *
 * 1. The next run follows from the DAG's last automated run, read from the database each time: nothing to lose in a crash.
 * 2. A run is made only while fewer than max_active_runs are queued or running; the end of a run asks again.
 * 3. A run that exists already (same run id or logical date) counts as made.
 */
export class RunCreator implements Service {
  readonly #kit: Kit;
  readonly #deps: RunCreatorDeps;
  readonly #alarm: Alarm<string>;
  readonly #refreshing = new Map<string, Promise<void>>();
  #unsubscribe: (() => void) | undefined;

  constructor(kit: Kit, deps: RunCreatorDeps) {
    this.#kit = kit;
    this.#deps = deps;
    this.#alarm = new Alarm(kit.clock, (dagIds) => {
      for (const dagId of dagIds) this.refresh(dagId);
    });
  }

  async start(): Promise<void> {
    this.#unsubscribe = this.#deps.bus.on("dag", ({ dagId }) => this.refresh(dagId));
    for (const row of await dagSchedules(this.#deps.db)) this.refresh(row.dag_id);
  }

  async stop(): Promise<void> {
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
    this.#alarm.clear();
    await Promise.allSettled(this.#refreshing.values());
  }

  /** Looks at the DAG again: makes what is due, sets the alarm for what comes next. One at a time for each DAG. */
  refresh(dagId: string): void {
    const before = this.#refreshing.get(dagId) ?? Promise.resolve();
    const next = before
      .then(() => this.#createDue(dagId))
      .catch((error: unknown) => {
        this.#kit.logger.error({ err: error, dagId }, "the next run could not be computed");
      })
      .finally(() => {
        if (this.#refreshing.get(dagId) === next) this.#refreshing.delete(dagId);
      });
    this.#refreshing.set(dagId, next);
  }

  /** Resolves when no DAG is being looked at. For tests. */
  async settled(): Promise<void> {
    while (this.#refreshing.size > 0) await Promise.allSettled(this.#refreshing.values());
  }

  /** Backstop for stepped clocks and lost events. */
  check(): void {
    this.#alarm.check();
  }

  async #createDue(dagId: string): Promise<void> {
    const { db, versions } = this.#deps;
    // A manual run that took a scheduled run's logical date stands for it.
    let standIn: NextRun | null = null;
    for (;;) {
      const row = (await dagSchedules(db, dagId))[0];
      if (!row || row.is_stale) {
        this.#alarm.set(dagId, null);
        return;
      }
      const { graph } = await versions.get(row.current_version_id);
      const timetable = timetableFor(graph.timetable);
      if (timetable.kind === "custom") {
        this.#kit.logger.warn({ dagId, timetable: timetable.typeName }, "custom timetables are not scheduled yet");
        return;
      }
      const next: NextRun | null = timetable.canBeScheduled
        ? timetable.nextRun({
            last: standIn ?? lastRun(row),
            restriction: timeRestriction(graph),
            now: this.#kit.clock.now(),
          })
        : null;
      const exceeds = graph.maxActiveRuns !== null && row.active_runs >= graph.maxActiveRuns;
      const blocked =
        row.is_paused || exceeds || (row.allowed_run_types !== null && !row.allowed_run_types.includes("scheduled"));
      const due = next !== null && next.runAfter <= this.#kit.clock.now();
      if (next === null || blocked || !due) {
        await setNextRun(db, dagId, {
          logicalDate: next?.logicalDate ?? null,
          dataIntervalStart: next?.dataInterval?.start ?? null,
          dataIntervalEnd: next?.dataInterval?.end ?? null,
          createAfter: next?.runAfter ?? null,
          exceedsMaxActiveRuns: exceeds,
        });
        this.#alarm.set(dagId, blocked ? null : (next?.runAfter ?? null));
        return;
      }
      const made = await this.#create(dagId, timetable, next);
      if (made === "no_dag") return;
      standIn = made === "exists" ? next : null;
    }
  }

  async #create(dagId: string, timetable: BuiltinTimetable, next: NextRun): Promise<DagRunCreation["kind"]> {
    const made = await createDagRun(this.#deps.db, {
      dagId,
      runId: timetable.runId("scheduled", next, randomSuffix),
      runType: "scheduled",
      logicalDate: next.logicalDate,
      dataIntervalStart: next.dataInterval?.start ?? null,
      dataIntervalEnd: next.dataInterval?.end ?? null,
      runAfter: next.runAfter,
      conf: null,
      triggeredBy: "timetable",
      triggeringUserName: null,
      partitionKey: next.partitionKey,
    });
    if (made.kind === "created") this.#deps.bus.publish({ kind: "dag-run", dagRunId: made.id });
    return made.kind;
  }
}

function lastRun(
  row: DagScheduleRow,
): { dataInterval: { start: Instant; end: Instant } | null; runAfter: Instant } | null {
  if (row.last_run_after === null) return null;
  const { last_interval_start: start, last_interval_end: end } = row;
  return { dataInterval: start !== null && end !== null ? { start, end } : null, runAfter: row.last_run_after };
}
