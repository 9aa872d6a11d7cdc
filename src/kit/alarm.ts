import type { Clock } from "./clock.ts";
import { instantMs, type Instant } from "./instant.ts";

const LONGEST_TIMEOUT_MS = 2 ** 31 - 1;

/**
 * Wakes keys at their times with one timer for all. Setting a key again moves it. The callback gets every key that is due.
 * Clock steps are noticed by the owner's slow tick calling `check`.
 */
export class Alarm<K> {
  readonly #due = new Map<K, number>();
  readonly #clock: Clock;
  readonly #onDue: (keys: K[]) => void;
  #timer: NodeJS.Timeout | undefined;
  #firesAt = Infinity;

  constructor(clock: Clock, onDue: (keys: K[]) => void) {
    this.#clock = clock;
    this.#onDue = onDue;
  }

  set(key: K, at: Instant | null): void {
    if (at === null) {
      this.#due.delete(key);
      return;
    }
    const ms = instantMs(at);
    this.#due.set(key, ms);
    if (ms < this.#firesAt) this.#arm(ms);
  }

  /** Fires what is due now. */
  check(): void {
    const now = instantMs(this.#clock.now());
    const due: K[] = [];
    let next = Infinity;
    for (const [key, ms] of this.#due) {
      if (ms <= now) due.push(key);
      else if (ms < next) next = ms;
    }
    for (const key of due) this.#due.delete(key);
    this.#arm(next);
    if (due.length > 0) this.#onDue(due);
  }

  clear(): void {
    this.#due.clear();
    this.#arm(Infinity);
  }

  #arm(at: number): void {
    clearTimeout(this.#timer);
    this.#firesAt = at;
    if (at === Infinity) return;
    this.#timer = setTimeout(
      () => this.check(),
      Math.min(Math.max(Math.ceil(at - instantMs(this.#clock.now())), 0), LONGEST_TIMEOUT_MS),
    );
    this.#timer.unref();
  }
}
