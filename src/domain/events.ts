import type { TaskInstanceState } from "./states.ts";

/** What the parts tell each other. The database is the truth: an event only says where to look, and may be lost. */
export type LeoflowEvent =
  /** Execution changed this one task instance of a live run; the scheduler applies it to its memory. */
  | {
      kind: "task-instance";
      dagRunId: number;
      id: string;
      taskId: string;
      mapIndex: number;
      state: TaskInstanceState | null;
      /** Set when the new state is due again at a time (up_for_retry, up_for_reschedule, deferred). */
      wakeAt: string | null;
      /** Set when the row got a new id (retry). */
      newId: string | null;
      /** The task pushed a length that mapped tasks expand on. */
      mappedLength: number | null;
    }
  /** Something else in this run changed (made, cleared, marked, skipped downstream): reload it and decide again. */
  | { kind: "dag-run"; dagRunId: number }
  /** A DAG changed: new version, paused, unpaused, removed. */
  | { kind: "dag"; dagId: string }
  /** A backfill was made, paused, unpaused or cancelled: its queued runs may start, or may not. */
  | { kind: "backfill"; backfillId: number }
  /** Callbacks wait to be run. */
  | { kind: "callback" }
  /** Assets that these DAGs wait for were updated. */
  | { kind: "assets-updated"; dagIds: readonly string[] }
  /** Users were changed or removed: what their tokens allowed is to be asked again. */
  | { kind: "users" }
  /** Pool sizes changed: what waits for slots may go. */
  | { kind: "pool" }
  /** These tries were taken away (cleared, marked, timed out): end their processes. */
  | { kind: "kill"; ids: string[]; reason: string };

export type EventOf<K extends LeoflowEvent["kind"]> = Extract<LeoflowEvent, { kind: K }>;

/** In-process, synchronous, in order. Pro adds LISTEN/NOTIFY behind the same interface. */
export class EventBus {
  readonly #listeners = new Map<string, Set<(event: LeoflowEvent) => void>>();

  publish(event: LeoflowEvent): void {
    for (const listener of this.#listeners.get(event.kind) ?? []) listener(event);
  }

  /** Returns the way to unsubscribe. */
  on<K extends LeoflowEvent["kind"]>(kind: K, listener: (event: EventOf<K>) => void): () => void {
    const set = this.#listeners.get(kind) ?? new Set();
    this.#listeners.set(kind, set);
    set.add(listener as (event: LeoflowEvent) => void);
    return () => set.delete(listener as (event: LeoflowEvent) => void);
  }
}
