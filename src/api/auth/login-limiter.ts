import { instantMs } from "../../kit/instant.ts";
import type { Clock } from "../../kit/clock.ts";

const WINDOW_MS = 60_000;
const FAILURES_PER_WINDOW = 5;
const REMEMBERED_CLIENTS = 10_000;

/**
 * Counts failed logins of each client in the last minute. An attempt counts while it is being checked and is taken back when
 * it succeeds, so that a thousand parallel guesses do not all pass before the first has failed.
 */
export class LoginLimiter {
  readonly #clock: Clock;
  readonly #attempts = new Map<string, number[]>();

  constructor(kit: { clock: Clock }) {
    this.#clock = kit.clock;
  }

  /** null when the client must wait; otherwise the way to report that the attempt succeeded. */
  begin(client: string): (() => void) | null {
    const now = instantMs(this.#clock.now());
    const recent = (this.#attempts.get(client) ?? []).filter((at) => at > now - WINDOW_MS);
    if (recent.length >= FAILURES_PER_WINDOW) {
      this.#attempts.set(client, recent);
      return null;
    }
    recent.push(now);
    this.#attempts.delete(client);
    this.#attempts.set(client, recent);
    this.#forgetOldest();
    return () => {
      const times = this.#attempts.get(client) ?? [];
      times.splice(times.indexOf(now), 1);
      if (times.length === 0) this.#attempts.delete(client);
    };
  }

  #forgetOldest(): void {
    if (this.#attempts.size <= REMEMBERED_CLIENTS) return;
    const [oldest] = this.#attempts.keys();
    if (oldest !== undefined) this.#attempts.delete(oldest);
  }
}
