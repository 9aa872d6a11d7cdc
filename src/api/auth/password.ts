import { verify } from "@node-rs/argon2";

/** At most this many slow hashes at a time: each takes tens of megabytes. */
const PARALLEL = 2;

/** Checks passwords against the admin's hash; whether the user name is known does not show in the time it takes. */
export class PasswordCheck {
  readonly #config: { adminEmail: string; adminPasswordHash: () => string };
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(config: { adminEmail: string; adminPasswordHash: () => string }) {
    this.#config = config;
  }

  /** The user's name as tokens carry it, or null. */
  async check(username: string, password: string): Promise<string | null> {
    if (this.#running >= PARALLEL) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#running += 1;
    try {
      const matches = await verify(this.#config.adminPasswordHash(), password);
      const name = username.trim().toLowerCase();
      const known = name === "admin" || name === this.#config.adminEmail.toLowerCase();
      return matches && known ? this.#config.adminEmail : null;
    } finally {
      this.#running -= 1;
      this.#waiting.shift()?.();
    }
  }
}
