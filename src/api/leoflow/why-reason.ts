import type { Instant } from "../../kit/instant.ts";
import type { StartHold } from "../../domain/run-start.ts";
import type { MakingHold } from "../../domain/run-making.ts";
import type { SlotLimit } from "../../domain/slots.ts";
import type { DagRunState, TaskInstanceState } from "../../domain/states.ts";

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

/** Most things that one reason names. */
const NAMED = 10;

/** The first of a list, and how many more there are. */
export function named<T>(things: readonly T[], total = things.length): { shown: T[]; more?: number } {
  const shown = things.slice(0, NAMED);
  return total > shown.length ? { shown, more: total - shown.length } : { shown };
}

/** "a, b and 3 more". */
export function listed(names: readonly string[], more = 0): string {
  const shown = names.slice(0, NAMED);
  const left = more + names.length - shown.length;
  return left === 0 ? shown.join(", ") : `${shown.join(", ")} and ${left} more`;
}

/** `2026-01-01 12:00:00 UTC`. */
export function written(at: Instant): string {
  return `${at.slice(0, 10)} ${at.slice(11, 19)} UTC`;
}

export function taskName({ task_id, map_index }: { task_id: string; map_index: number }): string {
  return map_index < 0 ? task_id : `${task_id}[${map_index}]`;
}

export function dagPaused(dagId: string): Reason {
  return { code: "paused", message: `DAG ${dagId} is paused.` };
}
