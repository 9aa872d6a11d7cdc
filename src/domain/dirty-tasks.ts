import { MinHeap } from "./min-heap.ts";

/** Tasks to be looked at, by number, lowest first: all their instances, or some indexes. */
export class DirtyTasks {
  readonly #indexes = new Map<number, Set<number> | null>();
  readonly #order = new MinHeap<number>((a, b) => a < b);

  /** Without an index: all instances of the task. */
  mark(number: number, mapIndex?: number): void {
    const known = this.#indexes.get(number);
    if (known === undefined) this.#order.push(number);
    if (mapIndex === undefined) this.#indexes.set(number, null);
    else if (known === undefined) this.#indexes.set(number, new Set([mapIndex]));
    else known?.add(mapIndex);
  }

  markEverything(tasks: number): void {
    for (let number = 0; number < tasks; number++) this.mark(number);
  }

  /** `indexes` null: all instances. */
  take(): { number: number; indexes: ReadonlySet<number> | null } | null {
    const number = this.#order.pop();
    if (number === undefined) return null;
    const indexes = this.#indexes.get(number) ?? null;
    this.#indexes.delete(number);
    return { number, indexes };
  }
}
