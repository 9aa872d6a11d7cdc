import { TASK_INSTANCE_STATES, type TaskInstanceState } from "./states.ts";

export type StateName = TaskInstanceState | "none";

/** Who moves a task instance by itself. Users may do more: see `mayMove`. */
export type Mover = "scheduler" | "executor" | "task" | "trigger";

/**
 * Every way a task instance moves without a user: from, to, and who does it. Finished states stand still; what the table does
 * not name must not be written.
 */
export const TASK_TRANSITIONS: Readonly<Record<StateName, Readonly<Partial<Record<StateName, readonly Mover[]>>>>> = {
  none: {
    scheduled: ["scheduler"],
    deferred: ["scheduler"], // starts from its trigger
    success: ["scheduler"], // an EmptyOperator needs no process
    skipped: ["scheduler", "task"], // a branch or short circuit above skips it
    upstream_failed: ["scheduler"],
    removed: ["scheduler"],
  },
  scheduled: {
    queued: ["scheduler"],
    skipped: ["scheduler", "task"],
    upstream_failed: ["scheduler"],
    removed: ["scheduler"],
    failed: ["scheduler"], // nothing can run it, or its run timed out
  },
  queued: {
    running: ["task"],
    scheduled: ["executor", "scheduler"], // the executor lost it before it started
    up_for_retry: ["executor"],
    failed: ["executor", "scheduler"],
    skipped: ["scheduler", "task"],
    removed: ["scheduler"],
  },
  running: {
    success: ["task"],
    failed: ["task", "executor", "scheduler"],
    skipped: ["task", "scheduler"],
    removed: ["task", "scheduler"],
    up_for_retry: ["task", "executor"],
    up_for_reschedule: ["task"],
    deferred: ["task"],
    awaiting_input: ["task"],
  },
  restarting: {
    running: ["task"],
    up_for_retry: ["executor"],
    failed: ["executor"],
    none: ["executor"], // its process is gone: the clear takes effect
  },
  up_for_retry: {
    scheduled: ["scheduler"],
    deferred: ["scheduler"], // starts from its trigger
    skipped: ["scheduler", "task"],
    upstream_failed: ["scheduler"],
    removed: ["scheduler"],
    success: ["scheduler"],
    failed: ["scheduler"],
  },
  up_for_reschedule: {
    scheduled: ["scheduler"],
    deferred: ["scheduler"],
    skipped: ["scheduler", "task"],
    upstream_failed: ["scheduler"],
    removed: ["scheduler"],
    success: ["scheduler"],
    failed: ["scheduler"],
  },
  deferred: {
    scheduled: ["trigger", "scheduler"], // its event came, or its time is up
    success: ["trigger"],
    failed: ["trigger", "scheduler"],
    up_for_retry: ["trigger"], // its trigger ended it, and tries are left
    skipped: ["trigger", "scheduler", "task"],
    removed: ["scheduler"],
  },
  awaiting_input: {
    scheduled: ["trigger", "scheduler"],
    failed: ["scheduler"],
    skipped: ["scheduler", "task"],
    removed: ["scheduler"],
  },
  success: { removed: ["scheduler"] }, // its mapping shrank
  failed: { removed: ["scheduler"] },
  skipped: { removed: ["scheduler"] },
  upstream_failed: { removed: ["scheduler"] },
  removed: {},
};

const USERS_MARK: ReadonlySet<StateName> = new Set(["success", "failed", "skipped"]);

/** Whether a state may follow another. Users may clear anything, restart what runs, and mark any outcome. */
export function mayMove(from: TaskInstanceState | null, to: TaskInstanceState | null, mover: Mover | "user"): boolean {
  const target = to ?? "none";
  if (mover === "user")
    return target === "none" || USERS_MARK.has(target) || (target === "restarting" && from === "running");
  return TASK_TRANSITIONS[from ?? "none"][target]?.includes(mover) ?? false;
}

/** The states a mover may take a task instance to another from; a guarded write names them. */
export function statesBefore(to: TaskInstanceState, mover: Mover): (TaskInstanceState | null)[] {
  return [null, ...TASK_INSTANCE_STATES].filter((from) => mayMove(from, to, mover));
}

/** The table as a Mermaid state chart. */
export function taskStateChart(): string {
  const lines = Object.entries(TASK_TRANSITIONS).flatMap(([from, targets]) =>
    Object.entries(targets).map(([to, movers]) => `    ${from} --> ${to}: ${movers.join(", ")}`),
  );
  return ["stateDiagram-v2", "    [*] --> none", ...lines].join("\n");
}
