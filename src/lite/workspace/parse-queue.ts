/** Runs a job per file, a few at a time, one at a time per file. A file added while it runs, runs again. */
export class ParseQueue {
  readonly #concurrency: number;
  readonly #run: (relPath: string) => Promise<void>;
  /** Saves of the user go before the backlog. */
  readonly #urgent = new Set<string>();
  readonly #backlog = new Set<string>();
  readonly #running = new Set<string>();
  readonly #again = new Map<string, boolean>();

  /** `run` must not reject. */
  constructor(concurrency: number, run: (relPath: string) => Promise<void>) {
    this.#concurrency = concurrency;
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
    while (this.#running.size < this.#concurrency) {
      const [next] = this.#urgent.size > 0 ? this.#urgent : this.#backlog;
      if (next === undefined) return;
      this.remove(next);
      this.#running.add(next);
      void this.#run(next).finally(() => {
        this.#running.delete(next);
        const again = this.#again.get(next);
        this.#again.delete(next);
        if (again !== undefined) this.add(next, again);
        this.#fill();
      });
    }
  }
}
