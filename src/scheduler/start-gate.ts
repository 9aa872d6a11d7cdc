import type { Instant } from "../kit/instant.ts";
import { byStartOrder, startGroup, startHold, type BackfillLimits, type StartHold } from "../domain/run-start.ts";
import { backfillLimits } from "../store/backfills.ts";
import type { Database } from "../store/database.ts";
import type { LiveRun } from "./live-run.ts";

/** Which queued runs may start, by `startHold`. */
export class StartGate {
  readonly #db: Database;
  readonly #backfills = new Map<number, BackfillLimits | null>();
  /** Counts what was forgotten: an answer that was on its way then is not kept. */
  #forgotten = 0;

  constructor(db: Database) {
    this.#db = db;
  }

  /** The backfill was made, paused or unpaused: it is read again when one of its runs wants to start. */
  forget(backfillId: number): void {
    this.#forgotten++;
    this.#backfills.delete(backfillId);
  }

  /** What holds a run of a DAG that is not paused; null: it may start. */
  async holdOf(run: LiveRun, running: RunningRuns, now: Instant): Promise<StartHold | null> {
    const { backfill_id: id, run_after: runAfter } = run.row;
    const facts = {
      isDagPaused: false,
      runAfter,
      maxActiveRuns: run.version.graph.maxActiveRuns,
      running: running.like(run),
    };
    // Where the limits of a backfill do not matter they are not read.
    const backfill = id === null || runAfter > now ? null : await this.#limitsOf(id);
    return startHold({ ...facts, backfill }, now);
  }

  async #limitsOf(id: number): Promise<BackfillLimits | null> {
    const known = this.#backfills.get(id);
    if (known !== undefined) return known;
    for (;;) {
      const before = this.#forgotten;
      const limits = await backfillLimits(this.#db, id);
      if (before !== this.#forgotten) continue;
      this.#backfills.set(id, limits);
      return limits;
    }
  }
}

/** How many runs are running, by DAG and backfill. */
export class RunningRuns {
  readonly #counts = new Map<string, number>();

  constructor(runs: Iterable<LiveRun>) {
    for (const run of runs) if (run.row.state === "running") this.add(run);
  }

  add(run: LiveRun): void {
    this.#counts.set(startGroup(run.row), this.like(run) + 1);
  }

  like(run: LiveRun): number {
    return this.#counts.get(startGroup(run.row)) ?? 0;
  }
}

/** See `byStartOrder`. */
export function inStartOrder(runs: LiveRun[]): LiveRun[] {
  if (!runs.some(({ row }) => row.backfill_ordinal !== null)) return runs;
  return runs.sort((a, b) => byStartOrder(a.row, b.row));
}
