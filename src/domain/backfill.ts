import { pythonIsoFormat, type Instant } from "../kit/instant.ts";
import type { DagGraph } from "./dag-graph.ts";
import type { DagRunState } from "./states.ts";
import type { NextRun } from "./timetable/timetable.ts";

/** What a backfill does with runs that exist already: run failed ones again, all finished ones, or none. */
export const REPROCESS_BEHAVIORS = ["failed", "completed", "none"] as const;
export type ReprocessBehavior = (typeof REPROCESS_BEHAVIORS)[number];

/** Airflow's BackfillDagRunExceptionReason: why a backfill made no run. */
export type BackfillSkip = "in flight" | "already exists" | "unknown";

/** What is wrong with a backfill that was asked for, in Airflow's words; null: nothing. Dates of params are not looked at. */
export function backfillProblem(
  graph: DagGraph,
  asked: { from: Instant; to: Instant; reverse: boolean; reprocess: ReprocessBehavior },
  now: Instant,
): string | null {
  const { from, to, reverse, reprocess } = asked;
  if (from > to) return `from_date (${pythonIsoFormat(from)}) must not be after to_date (${pythonIsoFormat(to)}).`;
  if (from >= now && to >= now) return "Backfill cannot be executed for future dates.";
  if (![...graph.tasks.values()].some((task) => task.dependsOnPast)) return null;
  if (reverse) return "Backfill cannot be run in reverse when the Dag has tasks where depends_on_past=True.";
  if (reprocess !== "none") return null;
  return (
    "Dag has tasks for which depends_on_past=True. " +
    "You must set reprocess behavior to reprocess completed or reprocess failed."
  );
}

/** The runs a backfill is about, in its order: of timetables with data intervals those whose interval is over. */
export function backfillRuns<R extends NextRun>(runs: readonly R[], reverse: boolean, now: Instant): R[] {
  const past = runs.filter(
    ({ dataInterval, partitionKey }) => partitionKey !== null || (dataInterval !== null && dataInterval.end < now),
  );
  return reverse ? past.toReversed() : past;
}

/** Why a run that exists stands in the way of a backfill; null: it is run again. */
export function whyNotAgain(state: DagRunState, reprocess: ReprocessBehavior): BackfillSkip | null {
  if (state !== "success" && state !== "failed") return "in flight";
  if (reprocess === "none" || (reprocess === "failed" && state !== "failed")) return "already exists";
  return null;
}
