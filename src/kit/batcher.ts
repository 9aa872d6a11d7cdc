interface Waiting<Item, Result> {
  item: Item;
  resolve: (result: Result) => void;
  reject: (error: unknown) => void;
}

/**
 * Turns calls that come at the same time into one: what is asked while a batch is under way goes into the next one, so a lone
 * call waits for nobody and a thousand cost two statements.
 */
export class Batcher<Item, Result> {
  readonly #work: (items: Item[]) => Promise<readonly Result[]>;
  readonly #lingerMs: number;
  #waiting: Waiting<Item, Result>[] = [];
  #working = false;

  /**
   * `work` gives one result for each item, in their order; when it fails, all of its items do. `lingerMs` is what a call that is in no
   * hurry waits for others.
   */
  constructor(work: (items: Item[]) => Promise<readonly Result[]>, lingerMs = 0) {
    this.#work = work;
    this.#lingerMs = lingerMs;
  }

  run(item: Item): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject });
      if (!this.#working) void this.#drain();
    });
  }

  async #drain(): Promise<void> {
    this.#working = true;
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      if (this.#lingerMs > 0) await new Promise((resolve) => setTimeout(resolve, this.#lingerMs));
      const batch = this.#waiting.splice(0);
      try {
        const results = await this.#work(batch.map(({ item }) => item));
        for (const [at, { resolve }] of batch.entries()) resolve(results[at] as Result);
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    this.#working = false;
  }
}
