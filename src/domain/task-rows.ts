import type { Instant } from "../kit/instant.ts";
import type { DecidedState } from "./decision.ts";
import type { PlannedTask } from "./run-plan.ts";
import { TASK_INSTANCE_STATES, type TaskInstanceState } from "./states.ts";

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
  readonly #counts = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
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
    const { success, failed, skipped, upstream_failed, removed } = CODES;
    const counts = this.#counts;
    return (
      (counts[success] ?? 0) +
      (counts[failed] ?? 0) +
      (counts[skipped] ?? 0) +
      (counts[upstream_failed] ?? 0) +
      (counts[removed] ?? 0)
    );
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

/** The instances of one task in one run. Most tasks have one only, unmapped. */
export class TaskRows {
  readonly counts = new StateCounts();
  highestIndex = -1;
  #unexpanded: Row | null = null;
  #mapped: Map<number, Row> | null = null;

  get(mapIndex: number): Row | null {
    return mapIndex < 0 ? this.#unexpanded : (this.#mapped?.get(mapIndex) ?? null);
  }

  all(): Row[] {
    const mapped = this.#mapped ? [...this.#mapped.values()] : [];
    return this.#unexpanded ? [this.#unexpanded, ...mapped] : mapped;
  }

  add(row: Row): void {
    if (row.mapIndex < 0) this.#unexpanded = row;
    else (this.#mapped ??= new Map<number, Row>()).set(row.mapIndex, row);
    this.counts.add(row.state);
    this.highestIndex = Math.max(this.highestIndex, row.mapIndex);
  }

  remove(row: Row): void {
    if (row.mapIndex < 0) this.#unexpanded = null;
    else this.#mapped?.delete(row.mapIndex);
    this.counts.add(row.state, -1);
  }
}

export function isOpen(state: TaskInstanceState | null): boolean {
  return state === null || state === "up_for_retry" || state === "up_for_reschedule";
}
