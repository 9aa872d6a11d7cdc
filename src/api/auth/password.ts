import { verify } from "@node-rs/argon2";
import { isConfiguredAdmin, userNameOf, type Role } from "../../domain/user.ts";
import type { User } from "../context.ts";

/** At most this many slow hashes at a time: each takes tens of megabytes. */
const PARALLEL = 2;

/** Of no password that anybody knows, with `hashPassword`'s parameters. */
const NOBODYS_HASH =
  "$argon2id$v=19$m=19456,t=2,p=1$u/pzG0lMkkkHg1vb9rNEGQ$VKKJ8Y7ZXpLm2d8DPYHTueSK071AYzOmzuHkePiEOb0";

export interface PasswordCheckDeps {
  /** A user of the datastore by the name as it is stored. */
  findLogin(name: string): Promise<
    | {
        name: string;
        password_hash: string;
        role: Role;
        teams: string[];
        active: boolean;
        session_key: string;
      }
    | undefined
  >;
}

export interface PasswordCheckConfig {
  adminEmail: string;
  adminPasswordHash: () => string;
}

/** Checks a name and a password. What is known of the name does not show in the time it takes. */
export class PasswordCheck {
  readonly #deps: PasswordCheckDeps;
  readonly #config: PasswordCheckConfig;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(deps: PasswordCheckDeps, config: PasswordCheckConfig) {
    this.#deps = deps;
    this.#config = config;
  }

  /** Who that is, as tokens carry it, or null. The admin of config.yaml comes before a user of the same name. */
  async check(username: string, password: string): Promise<User | null> {
    const { adminEmail, adminPasswordHash } = this.#config;
    const name = userNameOf(username);
    const isAdmin = isConfiguredAdmin(name, adminEmail);
    const user = await this.#deps.findLogin(name);
    const matches = await this.#verify(isAdmin ? adminPasswordHash() : (user?.password_hash ?? NOBODYS_HASH), password);
    if (!matches) return null;
    if (isAdmin) return { name: adminEmail, role: "ADMIN" };
    if (!user?.active) return null;
    const { role, teams, session_key: sessionKey } = user;
    return { name: user.name, role, teams, sessionKey };
  }

  async #verify(hash: string, password: string): Promise<boolean> {
    while (this.#running >= PARALLEL) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#running += 1;
    try {
      return await verify(hash, password);
    } finally {
      this.#running -= 1;
      this.#waiting.shift()?.();
    }
  }
}
