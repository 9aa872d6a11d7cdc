import { byImportance, type Limits, type Slots } from "../domain/slots.ts";
import type { TaskInstanceState } from "../domain/states.ts";
import type { Candidate } from "./live-run.ts";

export interface Ready {
  candidate: Candidate;
  limits: Limits;
  /** State the row has in the database: "scheduled" once it waits there. */
  expected: TaskInstanceState | null;
  tryNumber: number;
}

/**
 * Task instances that wait for slots, the most important first: priority weight, then the earlier run, then map index.
 * One that does not fit is passed over, so that a full pool starves nobody else.
 */
export class ReadyQueue {
  #waiting: Ready[] = [];
  #unwritten = new Map<string, Ready>();
  #sorted = true;

  add(ready: Ready): void {
    this.#waiting.push(ready);
    if (ready.expected !== "scheduled") this.#unwritten.set(ready.candidate.id, ready);
    this.#sorted = false;
  }

  removeRun(dagRunId: number): void {
    this.#waiting = this.#waiting.filter(({ candidate }) => candidate.dagRunId !== dagRunId);
    for (const [id, { candidate }] of this.#unwritten) if (candidate.dagRunId === dagRunId) this.#unwritten.delete(id);
  }

  get size(): number {
    return this.#waiting.length;
  }

  /** Takes out all that fit now, with their slots. */
  takeFitting(slots: Slots, mayRun: (dagRunId: number) => boolean): Ready[] {
    if (this.#waiting.length === 0 || slots.full) return [];
    if (!this.#sorted) {
      this.#waiting.sort((a, b) => byImportance(a.candidate, b.candidate));
      this.#sorted = true;
    }
    const taken: Ready[] = [];
    const left: Ready[] = [];
    for (const ready of this.#waiting) {
      if (mayRun(ready.candidate.dagRunId) && slots.take(ready.candidate, ready.limits)) taken.push(ready);
      else left.push(ready);
    }
    this.#waiting = left;
    for (const { candidate } of taken) this.#unwritten.delete(candidate.id);
    return taken;
  }

  /** Those that did not fit and whose rows do not say "scheduled" yet. */
  takeUnwritten(): Ready[] {
    const unwritten = [...this.#unwritten.values()];
    this.#unwritten.clear();
    return unwritten;
  }

  /** The row says "scheduled" now. */
  written(ready: Ready): void {
    ready.expected = "scheduled";
  }
}
