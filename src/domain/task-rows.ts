import type { Instant } from "../kit/instant.ts";
import type { DecidedState } from "./decision.ts";
import type { PlannedTask } from "./run-plan.ts";
import { FINISHED_STATES, TASK_INSTANCE_STATES, type TaskInstanceState } from "./states.ts";

export interface Row {
  id: string;
  readonly task: PlannedTask;
  mapIndex: number;
  state: TaskInstanceState | null;
  tryNumber: number;
  wakeAt: Instant | null;
  /** Its row is made by the decision that is being taken. */
  isNew: boolean;
  /** The state it takes at the end of the wave that is going on. */
  moving: DecidedState | null;
}

type StateName = TaskInstanceState | "none";

/** A run has one set of counts per task: small arrays, not maps. */
const CODES = Object.fromEntries(["none", ...TASK_INSTANCE_STATES].map((state, code) => [state, code])) as Record<
  StateName,
  number
>;

/** How many task instances are in which state. */
export class StateCounts {
  readonly #counts: number[] = new Array<number>(TASK_INSTANCE_STATES.length + 1).fill(0);
  total = 0;

  get(state: StateName): number {
    return this.#counts[CODES[state]] ?? 0;
  }

  add(state: TaskInstanceState | null, by: 1 | -1 = 1): void {
    const code = CODES[state ?? "none"];
    this.#counts[code] = (this.#counts[code] ?? 0) + by;
    this.total += by;
  }

  get finished(): number {
    return FINISHED_STATES.reduce((sum, state) => sum + this.get(state), 0);
  }

  /** Could be scheduled: Airflow's SCHEDULEABLE_STATES. */
  get open(): number {
    return this.get("none") + this.get("up_for_retry") + this.get("up_for_reschedule");
  }

  /** With an executor, a triggerer or a person, or on the way there. */
  get active(): number {
    return this.total - this.finished - this.open;
  }
}

/** The instances of one task in one run. */
export class TaskRows {
  readonly byIndex = new Map<number, Row>();
  readonly counts = new StateCounts();
  highestIndex = -1;

  add(row: Row): void {
    this.byIndex.set(row.mapIndex, row);
    this.counts.add(row.state);
    this.highestIndex = Math.max(this.highestIndex, row.mapIndex);
  }

  remove(row: Row): void {
    this.byIndex.delete(row.mapIndex);
    this.counts.add(row.state, -1);
  }
}

export function isOpen(state: TaskInstanceState | null): boolean {
  return state === null || state === "up_for_retry" || state === "up_for_reschedule";
}
