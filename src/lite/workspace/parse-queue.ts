export interface Lane {
  name: string;
  /** Jobs at a time. */
  limit: number;
}

/** Runs a job per file, a few at a time in each lane, one at a time per file. A file added while it runs, runs again. */
export class ParseQueue {
  readonly #laneOf: (relPath: string) => Lane;
  readonly #run: (relPath: string) => Promise<void>;
  /** Saves of the user go before the backlog. */
  readonly #urgent = new Set<string>();
  readonly #backlog = new Set<string>();
  /** With the lane each runs in. */
  readonly #running = new Map<string, string>();
  readonly #again = new Map<string, boolean>();

  /** `run` must not reject. */
  constructor(laneOf: (relPath: string) => Lane, run: (relPath: string) => Promise<void>) {
    this.#laneOf = laneOf;
    this.#run = run;
  }

  get waiting(): number {
    return this.#urgent.size + this.#backlog.size + this.#again.size;
  }

  get running(): number {
    return this.#running.size;
  }

  add(relPath: string, urgent: boolean): void {
    if (this.#running.has(relPath)) {
      this.#again.set(relPath, urgent || (this.#again.get(relPath) ?? false));
      return;
    }
    if (urgent) {
      this.#backlog.delete(relPath);
      this.#urgent.add(relPath);
    } else if (!this.#urgent.has(relPath)) this.#backlog.add(relPath);
    this.#fill();
  }

  remove(relPath: string): void {
    this.#urgent.delete(relPath);
    this.#backlog.delete(relPath);
    this.#again.delete(relPath);
  }

  clear(): void {
    this.#urgent.clear();
    this.#backlog.clear();
    this.#again.clear();
  }

  #fill(): void {
    for (let next = this.#next(); next; next = this.#next()) {
      const { relPath, lane } = next;
      this.remove(relPath);
      this.#running.set(relPath, lane);
      void this.#run(relPath).finally(() => {
        this.#running.delete(relPath);
        const again = this.#again.get(relPath);
        this.#again.delete(relPath);
        if (again !== undefined) this.add(relPath, again);
        this.#fill();
      });
    }
  }

  #next(): { relPath: string; lane: string } | null {
    const busy = [...this.#running.values()];
    const full = new Set<string>();
    for (const waiting of [this.#urgent, this.#backlog]) {
      for (const relPath of waiting) {
        const { name, limit } = this.#laneOf(relPath);
        if (full.has(name)) continue;
        if (busy.filter((lane) => lane === name).length < limit) return { relPath, lane: name };
        full.add(name);
      }
    }
    return null;
  }
}
