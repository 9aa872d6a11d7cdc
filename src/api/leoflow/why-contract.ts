import type { Instant } from "../../kit/instant.ts";
import type { DagRunState, TaskInstanceState } from "../../domain/states.ts";

/** What `/api/leoflow/why/…`, its page and `leoflow why` say to each other. */

/** What reasons are called, which is stable, and what each says. docs/why.md has the same table. */
export const REASONS = {
  paused: "the DAG is paused",
  stale: "the DAG is no longer in its file",
  import_errors: "the DAG's file cannot be imported; `details` has the traceback",
  no_version: "the DAG was never read without an error",
  run_type: "the DAG's `allowed_run_types` leaves out scheduled runs",
  max_active_runs: "as many runs as `max_active_runs` allows are active; `dag_runs` are those",
  no_schedule: "the DAG has no schedule: it runs when it is triggered",
  schedule_ended: "the schedule has no further run",
  timetable_error: "the timetable named no next run",
  next_run: "when the next scheduled run is due",
  assets: "which assets the DAG waits for, and which of them were updated",
  active_runs: "which runs of the DAG are running",
  run_after: "the run starts at its time (`until`)",
  backfill_paused: "the run's backfill is paused",
  queued_behind: "runs that start before this one",
  starting: "nothing holds the queued run",
  run_running: "the run is running; what follows is about its tasks",
  run_finished: "the run ended, and how",
  no_task_instance: "the run has no instance of this task",
  trigger_rule: "upstream task instances that the trigger rule waits for, with their states",
  mapped_dependency: "what the task expands on did not succeed",
  depends_on_past: "the same task in the run before is not done",
  wait_for_downstream: "tasks after the same task in the run before are not done",
  left_out: "the task instance will not run; it ends at once",
  being_decided: "nothing holds the task instance: it moves at once",
  parallelism: "all workers of the installation are taken",
  unknown_pool: "the task's pool does not exist",
  pool_of_team: "the task's pool belongs to a team that the DAG is not of",
  pool: "the pool has too few free slots; `task_instances` hold them",
  max_active_tasks: "the run has as many task instances at work as the DAG's `max_active_tasks`",
  max_active_tis_per_dag: "the task has as many instances at work as it may have in all runs",
  max_active_tis_per_dagrun: "the task has as many instances at work as it may have in one run",
  goes_first: "who waits for the same and is served first",
  up_for_retry: "waits for its next try (`until`)",
  up_for_reschedule: "a sensor waits until it looks again (`until`)",
  deferred: "waits for a trigger",
  awaiting_input: "waits for a person; `question` is what is asked",
  no_agent: "no agent is connected that serves the task's queue",
  queued: "has its slots and waits for a worker",
  running: "is running",
  restarting: "was cleared; its process is being ended",
  finished: "ended, and how; for what did not run, because of whom",
  not_finished: "what comes after all that was told",
} as const;
export type ReasonCode = keyof typeof REASONS;

export interface NamedRun {
  dag_id: string;
  run_id: string;
  state?: DagRunState;
}

export interface NamedTaskInstance {
  dag_id: string;
  run_id: string;
  task_id: string;
  map_index: number;
  /** null: not looked at yet. */
  state?: TaskInstanceState | null;
  pool_slots?: number;
}

/** Why something is not running: what was decided, and by what. What does not apply is left out. */
export interface Reason {
  code: ReasonCode;
  message: string;
  /** Since when it is so. */
  since?: Instant;
  /** When it ends by itself. */
  until?: Instant;
  dag_runs?: NamedRun[];
  task_instances?: NamedTaskInstance[];
  /** How many more there are than are named. */
  more?: number;
  /** `slots` is missing where the pool has no limit. */
  pool?: { name: string; slots?: number; occupied: number };
  limit?: number;
  backfill_id?: number;
  trigger?: { id: number; classpath: string };
  assets?: { name?: string; uri?: string; alias?: string; updated_at?: Instant }[];
  question?: { subject: string; options: unknown; assignees?: unknown };
  file?: string;
  details?: string;
}

/** An answer of `/api/leoflow/why/…`. */
export interface Why {
  dag_id: string;
  run_id?: string;
  task_id?: string;
  map_index?: number;
  /** Of the run or the task instance that was asked for. */
  state?: DagRunState | TaskInstanceState | null;
  /** Of a run: the folder that its tasks share (LEOFLOW_STAGING_DIR), while there is one. */
  staging?: string;
  as_of: Instant;
  reasons: Reason[];
}
