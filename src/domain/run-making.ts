import type { DagRunType } from "./states.ts";

/** What keeps a DAG from a new run of its schedule or of its assets, whatever is due. */
export type MakingHold = "stale" | "paused" | "import_errors" | "max_active_runs" | "run_type";

export interface MakingFacts {
  isStale: boolean;
  isPaused: boolean;
  hasImportErrors: boolean;
  /** null: no limit. */
  maxActiveRuns: number | null;
  /** Queued and running runs that count. */
  activeRuns: number;
  /** null: all. */
  allowedRunTypes: readonly string[] | null;
}

/** Everything that keeps a DAG from a new run of this type; empty: one is made as soon as it is due. */
export function makingHolds(facts: MakingFacts, type: DagRunType): MakingHold[] {
  const { maxActiveRuns, activeRuns, allowedRunTypes } = facts;
  const holds: Record<MakingHold, boolean> = {
    stale: facts.isStale,
    paused: facts.isPaused,
    import_errors: facts.hasImportErrors,
    max_active_runs: maxActiveRuns !== null && activeRuns >= maxActiveRuns,
    run_type: allowedRunTypes !== null && !allowedRunTypes.includes(type),
  };
  return (Object.keys(holds) as MakingHold[]).filter((hold) => holds[hold]);
}
