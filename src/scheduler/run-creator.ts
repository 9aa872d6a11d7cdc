import { Alarm } from "../kit/alarm.ts";
import { Batcher } from "../kit/batcher.ts";
import type { Instant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import { Rounds } from "../kit/rounds.ts";
import type { Kit, Service } from "../kit/service.ts";
import type { EventBus } from "../domain/events.ts";
import type { AskTimetable } from "../domain/timetable/custom.ts";
import { timetableFor } from "../domain/timetable/timetable-for.ts";
import { randomSuffix, timeRestriction, type NextRun, type NextRunInput } from "../domain/timetable/timetable.ts";
import { createDagRuns, type DagRunCreation, type NewDagRun } from "../store/dag-run-creation.ts";
import {
  dagSchedules,
  saysNextRun,
  scheduleHolds,
  setNextRuns,
  type DagScheduleRow,
  type NextRunFields,
} from "../store/dag-schedule.ts";
import type { LoadedVersion, VersionCache } from "../store/dag-versions.ts";
import type { Database } from "../store/database.ts";
import { CustomSchedules } from "./custom-schedules.ts";

export interface RunCreatorDeps {
  db: Database;
  bus: EventBus;
  versions: VersionCache;
  askTimetable: AskTimetable;
}

/** Tasks look into their run's conf without asking whether there is one. */
const NO_CONF = "{}" as JsonText;

/** What a DAG's timetable names next. */
interface Named {
  run: (NextRun & { runId: string }) | null;
  /** Why there is none. */
  error: string | null;
  /** When to look again before the run is due; null: there is no need. */
  lookAgainAt: Instant | null;
}

/**
 * Makes scheduled runs at their time, and keeps each DAG's next-run fields right.
 *
 * 1. The next run follows from the DAG's last automated run, read from the database each time: nothing to lose in a crash.
 * 2. A run is made only while fewer than max_active_runs are queued or running; the end of a run asks again.
 * 3. A run that exists already (same run id or logical date) counts as made.
 * 4. A user's own timetable is asked in Python; the DAGs do not wait for each other.
 */
export class RunCreator implements Service {
  readonly #kit: Kit;
  readonly #deps: RunCreatorDeps;
  readonly #alarm: Alarm<string>;
  readonly #rounds = new Rounds<string>((dagId) => this.#refresh(dagId));
  readonly #custom: CustomSchedules;
  // Many DAGs are due at the same full minute.
  readonly #rows: Batcher<string, DagScheduleRow | undefined>;
  readonly #creations: Batcher<NewDagRun, DagRunCreation>;
  readonly #nextRuns: Batcher<NextRunFields, void>;
  #unsubscribe: (() => void) | undefined;
  #stopped = false;

  constructor(kit: Kit, deps: RunCreatorDeps) {
    this.#kit = kit;
    this.#deps = deps;
    this.#custom = new CustomSchedules(kit, deps.askTimetable);
    const { db } = deps;
    this.#rows = new Batcher(async (dagIds) => {
      const rows = new Map((await dagSchedules(db, dagIds)).map((row) => [row.dag_id, row]));
      return dagIds.map((dagId) => rows.get(dagId));
    });
    this.#creations = new Batcher((runs) => createDagRuns(db, runs));
    this.#nextRuns = new Batcher<NextRunFields, void>(async (next) => {
      await setNextRuns(db, next);
      return [];
    });
    this.#alarm = new Alarm(kit.clock, (dagIds) => {
      for (const dagId of dagIds) this.refresh(dagId);
    });
  }

  async start(): Promise<void> {
    this.#unsubscribe = this.#deps.bus.on("dag", ({ dagId }) => {
      this.#custom.forget(dagId);
      this.refresh(dagId);
    });
    for (const row of await dagSchedules(this.#deps.db)) this.refresh(row.dag_id);
  }

  async stop(): Promise<void> {
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
    this.#alarm.clear();
    this.#custom.stop();
    this.#stopped = true;
    await this.settled();
  }

  /** Looks at the DAG again: makes what is due, sets the alarm for what comes next. One at a time for each DAG. */
  refresh(dagId: string): void {
    if (!this.#stopped) this.#rounds.ask(dagId);
  }

  /** Plugins changed, and with them perhaps users' own timetables. */
  pluginsChanged(): void {
    for (const dagId of this.#custom.forgetAll()) this.refresh(dagId);
  }

  /** Resolves when no DAG is being looked at. For tests. */
  settled(): Promise<void> {
    return this.#rounds.settled();
  }

  /** Backstop for stepped clocks and lost events. */
  check(): void {
    this.#alarm.check();
  }

  async #refresh(dagId: string): Promise<void> {
    try {
      await this.#createDue(dagId);
    } catch (error) {
      this.#kit.logger.error({ err: error, dagId }, "the next run could not be computed");
    }
  }

  async #createDue(dagId: string): Promise<void> {
    // A manual run that took a scheduled run's logical date stands for it.
    let standIn: NextRun | null = null;
    for (;;) {
      const row = await this.#rows.run(dagId);
      if (!row || row.is_stale) {
        this.#alarm.set(dagId, null);
        return;
      }
      const version = await this.#deps.versions.get(row.current_version_id);
      const named = await this.#named(version, standIn ?? lastRun(row));
      if (named === null) return;
      const { run, lookAgainAt } = named;
      const holds = scheduleHolds(row, version.graph.maxActiveRuns);
      const blocked = holds.length > 0;
      const due = run !== null && run.runAfter <= this.#kit.clock.now();
      // One that names what was made already would do so for ever.
      const standsStill = run !== null && standIn !== null && run.runAfter <= standIn.runAfter;
      if (run === null || blocked || !due || standsStill) {
        const fields = {
          dagId,
          logicalDate: run?.logicalDate ?? null,
          dataIntervalStart: run?.dataInterval?.start ?? null,
          dataIntervalEnd: run?.dataInterval?.end ?? null,
          createAfter: run?.runAfter ?? null,
          exceedsMaxActiveRuns: holds.includes("max_active_runs"),
          timetableError: named.error,
        };
        if (!saysNextRun(row, fields)) await this.#nextRuns.run(fields);
        this.#alarm.set(dagId, earlier(blocked || standsStill ? null : (run?.runAfter ?? null), lookAgainAt));
        return;
      }
      const made = await this.#create(dagId, run);
      if (made === "no_dag") return;
      standIn = made === "exists" ? run : null;
    }
  }

  /** null: we are being stopped. */
  async #named(version: LoadedVersion, last: NextRunInput["last"]): Promise<Named | null> {
    const { dagId, graph } = version;
    const timetable = timetableFor(graph.timetable);
    const restriction = timeRestriction(graph);
    if (timetable.kind === "custom") {
      const next = await this.#custom.next({ dagId, versionId: version.id, last, restriction });
      if (next === null) return null;
      const { run, failure, lookAgainAt } = next;
      const error = failure && (failure.details === "" ? failure.reason : `${failure.reason}\n\n${failure.details}`);
      return { run, error, lookAgainAt };
    }
    try {
      const run = timetable.canBeScheduled
        ? timetable.nextRun({ last, restriction, now: this.#kit.clock.now() })
        : null;
      const runId = run && timetable.runId("scheduled", run, randomSuffix);
      return { run: run && { ...run, runId: runId as string }, error: null, lookAgainAt: null };
    } catch (error) {
      this.#kit.logger.error({ err: error, dagId }, `the timetable of ${dagId} named no next run`);
      return { run: null, error: String(error), lookAgainAt: null };
    }
  }

  async #create(dagId: string, next: NextRun & { runId: string }): Promise<DagRunCreation["kind"]> {
    const made = await this.#creations.run({
      dagId,
      runId: next.runId,
      runType: "scheduled",
      logicalDate: next.logicalDate,
      dataIntervalStart: next.dataInterval?.start ?? null,
      dataIntervalEnd: next.dataInterval?.end ?? null,
      runAfter: next.runAfter,
      conf: NO_CONF,
      triggeredBy: "timetable",
      triggeringUserName: null,
      partitionKey: next.partitionKey,
      partitionDate: next.partitionDate,
    });
    if (made.kind === "created") this.#deps.bus.publish({ kind: "dag-run", dagRunId: made.id });
    return made.kind;
  }
}

function earlier(one: Instant | null, other: Instant | null): Instant | null {
  return one === null || (other !== null && other < one) ? other : one;
}

function lastRun(
  row: DagScheduleRow,
): { dataInterval: { start: Instant; end: Instant } | null; runAfter: Instant } | null {
  if (row.last_run_after === null) return null;
  const { last_interval_start: start, last_interval_end: end } = row;
  return { dataInterval: start !== null && end !== null ? { start, end } : null, runAfter: row.last_run_after };
}
