const LARGE = 50_000;
const KEPT_MS = 5_000;
const MOST = 200;

/**
 * Numbers of rows that are large, for a few seconds: counting a million takes longer than the page itself, pages are asked
 * again and again, and nobody sees one row more or less in a million. Small numbers are always counted.
 */
export class LargeCounts {
  readonly #now: () => number;
  readonly #known = new Map<string, { total: number; until: number }>();

  /** `now` in milliseconds. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** `key` says what is counted. */
  async get(key: string, count: () => Promise<number>): Promise<number> {
    const known = this.#known.get(key);
    if (known && known.until > this.#now()) return known.total;
    this.#known.delete(key);
    const total = await count();
    if (total >= LARGE) {
      this.#known.set(key, { total, until: this.#now() + KEPT_MS });
      const [oldest] = this.#known.keys();
      if (this.#known.size > MOST && oldest !== undefined) this.#known.delete(oldest);
    }
    return total;
  }
}
