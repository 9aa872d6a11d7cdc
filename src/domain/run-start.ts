import type { Instant } from "../kit/instant.ts";

/** What holds a run that is queued. */
export type StartHold = "paused" | "run_after" | "backfill_paused" | "max_active_runs";

export interface StartFacts {
  isDagPaused: boolean;
  runAfter: Instant;
  /** What the run's backfill says; null where the run is on its own. */
  backfill: BackfillLimits | null;
  /** Of the DAG; null: no limit. */
  maxActiveRuns: number | null;
  /** Running runs that count against the same limit: see `startGroup`. */
  running: number;
}

/** What decides whether a backfill's queued runs may start. */
export interface BackfillLimits {
  maxActiveRuns: number;
  isPaused: boolean;
}

/** What keeps a queued run from starting; null: nothing does. The first that applies is what must change first. */
export function startHold(facts: StartFacts, now: Instant): StartHold | null {
  if (facts.isDagPaused) return "paused";
  if (facts.runAfter > now) return "run_after";
  if (facts.backfill?.isPaused) return "backfill_paused";
  const limit = startLimit(facts);
  return limit !== null && facts.running >= limit ? "max_active_runs" : null;
}

/** One that a DAG is tried with (`leoflow run`, as `airflow dags test`) runs whether its DAG is paused or not. */
export function heedsPause(run: { triggered_by: string | null }): boolean {
  return run.triggered_by !== "test";
}

/** How many runs may be running beside each other; null: any number. */
export function startLimit({ backfill, maxActiveRuns }: Pick<StartFacts, "backfill" | "maxActiveRuns">): number | null {
  return backfill ? backfill.maxActiveRuns : maxActiveRuns;
}

interface Startable {
  dag_id: string;
  backfill_id: number | null;
  backfill_ordinal: number | null;
}

/** Runs of a backfill count among themselves, against its own max_active_runs; all others of a DAG against the DAG's. */
export function startGroup(run: Pick<Startable, "dag_id" | "backfill_id">): string {
  return `${run.backfill_id ?? ""} ${run.dag_id}`;
}

/** Runs of backfills come after all others and in the backfill's order, which may go backwards in time. */
export function byStartOrder(a: Pick<Startable, "backfill_ordinal">, b: Pick<Startable, "backfill_ordinal">): number {
  return (a.backfill_ordinal ?? 0) - (b.backfill_ordinal ?? 0);
}
