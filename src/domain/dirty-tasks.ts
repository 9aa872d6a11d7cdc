/** Tasks to be looked at, by number: all their instances, or some indexes. */
export class DirtyTasks {
  #indexes = new Map<number, Set<number> | null>();

  get isEmpty(): boolean {
    return this.#indexes.size === 0;
  }

  /** Without an index: all instances of the task. */
  mark(number: number, mapIndex?: number): void {
    const known = this.#indexes.get(number);
    if (mapIndex === undefined) this.#indexes.set(number, null);
    else if (known === undefined) this.#indexes.set(number, new Set([mapIndex]));
    else known?.add(mapIndex);
  }

  markEverything(tasks: number): void {
    for (let number = 0; number < tasks; number++) this.mark(number);
  }

  /** What is marked so far, lowest number first; null: all instances. */
  takeAll(): [number: number, indexes: ReadonlySet<number> | null][] {
    const taken = [...this.#indexes].sort(([a], [b]) => a - b);
    this.#indexes = new Map();
    return taken;
  }
}
