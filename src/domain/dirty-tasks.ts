import { MinHeap } from "./min-heap.ts";

type Indexes = Set<number> | null;

/** Tasks to be looked at, by number, wave after wave: all their instances (null), or some indexes. */
export class DirtyTasks {
  #next = new Map<number, Indexes>();
  #wave = new Map<number, Indexes>();
  readonly #order = new MinHeap<number>((a, b) => a < b);

  /** For the next wave. Without an index: all instances of the task. */
  mark(number: number, mapIndex?: number): void {
    const known = this.#next.get(number);
    if (mapIndex === undefined) this.#next.set(number, null);
    else if (known === undefined) this.#next.set(number, new Set([mapIndex]));
    else known?.add(mapIndex);
  }

  /** For the wave that is going on. */
  markNow(number: number): void {
    if (!this.#wave.has(number)) this.#order.push(number);
    this.#wave.set(number, null);
  }

  markEverything(tasks: number): void {
    for (let number = 0; number < tasks; number++) this.mark(number);
  }

  /** False when nothing is marked. */
  beginWave(): boolean {
    this.#wave = this.#next;
    this.#next = new Map();
    for (const number of this.#wave.keys()) this.#order.push(number);
    return this.#wave.size > 0;
  }

  /** The wave's lowest number, which is looked at now. */
  take(): { number: number; indexes: ReadonlySet<number> | null } | null {
    const number = this.#order.pop();
    if (number === undefined) return null;
    const indexes = this.#wave.get(number) ?? null;
    this.#wave.delete(number);
    return { number, indexes };
  }
}
