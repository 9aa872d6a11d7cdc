import { backfillLimits, type BackfillLimits } from "../store/backfills.ts";
import type { Database } from "../store/database.ts";
import type { LiveRun } from "./live-run.ts";

/**
 * Which queued runs may start. Runs of a backfill count among themselves, against its own max_active_runs; all others of a DAG
 * against the DAG's.
 */
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

  async isOpen(run: LiveRun, running: RunningRuns): Promise<boolean> {
    const id = run.row.backfill_id;
    const backfill = id === null ? null : await this.#limitsOf(id);
    if (backfill?.isPaused) return false;
    const limit = backfill ? backfill.maxActiveRuns : run.version.graph.maxActiveRuns;
    return limit === null || running.like(run) < limit;
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
    this.#counts.set(groupOf(run), this.like(run) + 1);
  }

  like(run: LiveRun): number {
    return this.#counts.get(groupOf(run)) ?? 0;
  }
}

function groupOf({ row }: LiveRun): string {
  return `${row.backfill_id ?? ""} ${row.dag_id}`;
}

/** Runs of backfills come after all others and in the backfill's order, which may go backwards in time. */
export function inStartOrder(runs: LiveRun[]): LiveRun[] {
  if (!runs.some(({ row }) => row.backfill_ordinal !== null)) return runs;
  return runs.sort((a, b) => (a.row.backfill_ordinal ?? 0) - (b.row.backfill_ordinal ?? 0));
}
