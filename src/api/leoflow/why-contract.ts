import type { Instant } from "../../kit/instant.ts";
import type { StartHold } from "../../domain/run-start.ts";
import type { MakingHold } from "../../domain/run-making.ts";
import type { SlotLimit } from "../../domain/slots.ts";
import type { DagRunState, TaskInstanceState } from "../../domain/states.ts";

/** What `/api/leoflow/why/…`, its page and `leoflow why` say to each other. */

/** What a reason is called; stable. docs/why.md says what each means. */
export type ReasonCode =
  | MakingHold
  | StartHold
  | SlotLimit
  | "depends_on_past"
  | "wait_for_downstream"
  | "no_version"
  | "no_schedule"
  | "schedule_ended"
  | "next_run"
  | "timetable_error"
  | "assets"
  | "active_runs"
  | "starting"
  | "run_running"
  | "run_queued"
  | "run_finished"
  | "no_task_instance"
  | "trigger_rule"
  | "mapped_dependency"
  | "left_out"
  | "being_decided"
  | "goes_first"
  | "queued_behind"
  | "not_finished"
  | "up_for_retry"
  | "up_for_reschedule"
  | "deferred"
  | "awaiting_input"
  | "queued"
  | "running"
  | "restarting"
  | "finished";

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
  as_of: Instant;
  reasons: Reason[];
}
