/** Airflow's states and run types, once, as value and type. Source: airflow.utils.state, airflow.utils.types (3.3.2). */

export const TASK_INSTANCE_STATES = [
  "removed",
  "scheduled",
  "queued",
  "running",
  "success",
  "restarting",
  "failed",
  "up_for_retry",
  "up_for_reschedule",
  "upstream_failed",
  "skipped",
  "deferred",
  "awaiting_input",
] as const;
export type TaskInstanceState = (typeof TASK_INSTANCE_STATES)[number];

/** States a task instance never leaves without a clear. */
export const FINISHED_STATES = ["success", "failed", "skipped", "upstream_failed", "removed"] as const;
export type FinishedState = (typeof FINISHED_STATES)[number];

export function isFinished(state: TaskInstanceState | null): state is FinishedState {
  return state !== null && (FINISHED_STATES as readonly string[]).includes(state);
}

export const DAG_RUN_STATES = ["queued", "running", "success", "failed"] as const;
export type DagRunState = (typeof DAG_RUN_STATES)[number];

export const DAG_RUN_TYPES = [
  "backfill",
  "scheduled",
  "manual",
  "operator_triggered",
  "asset_triggered",
  "asset_materialization",
] as const;
export type DagRunType = (typeof DAG_RUN_TYPES)[number];

export const TRIGGER_RULES = [
  "all_success",
  "all_failed",
  "all_done",
  "all_done_min_one_success",
  "all_done_setup_success",
  "one_success",
  "one_failed",
  "one_done",
  "none_failed",
  "none_failed_min_one_success",
  "none_skipped",
  "all_skipped",
  "always",
] as const;
export type TriggerRule = (typeof TRIGGER_RULES)[number];
