/**
 * Work that is done one round at a time for each key. What is asked for during a round makes one more, however often it is
 * asked; all of one turn's asking is one round.
 */
export class Rounds<K> {
  /** Handles its own errors: it must not reject. */
  readonly #work: (key: K) => Promise<void>;
  readonly #running = new Map<K, Promise<void>>();
  readonly #again = new Set<K>();

  constructor(work: (key: K) => Promise<void>) {
    this.#work = work;
  }

  ask(key: K): void {
    if (this.#running.has(key)) this.#again.add(key);
    else this.#running.set(key, this.#run(key));
  }

  /** Resolves when no round runs and none is asked for. */
  async settled(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running.values());
  }

  async #run(key: K): Promise<void> {
    do {
      await Promise.resolve();
      this.#again.delete(key);
      await this.#work(key);
    } while (this.#again.has(key));
    this.#running.delete(key);
  }
}
