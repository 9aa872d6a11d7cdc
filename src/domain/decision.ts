import type { Instant } from "../kit/instant.ts";
import type { TaskInstanceState } from "./states.ts";

/** A row of task_instance, as far as deciding goes. */
export interface InstanceSnapshot {
  id: string;
  taskId: string;
  mapIndex: number;
  state: TaskInstanceState | null;
  tryNumber: number;
  wakeAt: Instant | null;
}

/** What a branch or short circuit left behind (XCom `skipmixin_key`): a cleared task must still honour it. */
export interface SkipRecord {
  followed?: readonly string[];
  skipped?: readonly string[];
}

/** The run before, for tasks with depends_on_past: the previous scheduled run when the DAG catches up, else the previous run. */
export interface PreviousRun {
  logicalDate: Instant | null;
  /** Its task instances' states by task id. */
  states: ReadonlyMap<string, readonly (TaskInstanceState | null)[]>;
  /** Tasks with an instance in any earlier run; matters to ignore_first_depends_on_past. */
  everRan: ReadonlySet<string>;
}

export interface RunSnapshot {
  instances: Iterable<InstanceSnapshot>;
  /**
   * What mapped tasks expand on, by the id of the task that returned it: the task_map length (map_index -1) or null when
   * there is none; for a mapped task the number of its `return_value` XComs. An id that is missing is asked for through
   * `Decision.lengthsNeeded` when it matters.
   */
  lengths?: ReadonlyMap<string, number | null>;
  /** null or missing: the first run, or nothing depends on the past. */
  previous?: PreviousRun | null;
  /** Skip records by task id and map index. */
  skips?: ReadonlyMap<string, ReadonlyMap<number, SkipRecord>>;
}

/** A task instance changed outside of a decision. `EventOf<"task-instance">` fits. */
export interface InstanceChange {
  id: string;
  taskId: string;
  mapIndex: number;
  state: TaskInstanceState | null;
  wakeAt: string | null;
  newId: string | null;
  mappedLength: number | null;
}

export type DecidedState = "scheduled" | "success" | "skipped" | "upstream_failed" | "removed" | "failed";

export interface Transition {
  id: string;
  taskId: string;
  mapIndex: number;
  from: TaskInstanceState | null;
  to: DecidedState;
  /** What try_number becomes. */
  tryNumber: number;
  /** Made by an expansion of the same decision: to be inserted with this state, not updated. */
  isNew: boolean;
}

export interface Expansion {
  taskId: string;
  /** The row with map_index -1: it becomes index 0, or goes when 0 exists already. null: further indexes of an expanded task. */
  unexpanded: { id: string; becomes: 0 | "deleted" } | null;
  /** Rows to insert. Those that changed again since are also in `transitions`, with isNew. */
  create: { id: string; mapIndex: number; state: DecidedState | null; tryNumber: number }[];
}

/** To be written in this order: expansions, then transitions, then the run's state. */
export interface Decision {
  expansions: Expansion[];
  transitions: Transition[];
  runState: "running" | "success" | "failed";
  /** Why the run ended: Airflow's words ("task_failure", "success", "all_tasks_deadlocked"); null while it runs. */
  reason: "task_failure" | "success" | "all_tasks_deadlocked" | null;
  /** Give these to `RunMemory.setLengths` and decide again. */
  lengthsNeeded: string[];
}
