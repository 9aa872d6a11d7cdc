import { randomUUID } from "node:crypto";
import { errors, jwtVerify, SignJWT } from "jose";
import { instantFromMs, instantMs, type Instant } from "../../kit/instant.ts";
import type { Clock } from "../../kit/clock.ts";
import { userNameOf, type Role } from "../../domain/user.ts";
import type { User } from "../context.ts";

/** How long tokens live, as `[api_auth] jwt_expiration_time` and `jwt_cli_expiration_time`. */
export const API_TOKEN_SECONDS = 86_400;
export const CLI_TOKEN_SECONDS = 3_600;

const AUDIENCE = "apache-airflow";
const LEEWAY_SECONDS = 10;
/** What another process did (a logout, another role, a removed user) is seen at the latest after this time; what this one did at once. */
const RECHECK_MS = 2_000;
const REMEMBERED_TOKENS = 500;

export type Verdict =
  { kind: "valid"; user: User; jti: string | null; exp: number } | { kind: "expired" } | { kind: "invalid" };

/** What the datastore knows of tokens. */
export interface TokenRecords {
  /** Keeps a logged-out token until it expires. */
  revoke(jti: string, exp: Instant): Promise<void>;
  /** What became of a token; role and teams are those its user has now, null where the user's session has ended. */
  standing(token: {
    jti: string | null;
    name: string;
    sessionKey: string | null;
  }): Promise<{ revoked: boolean; role: Role | null; teams: readonly string[] | null }>;
}

/**
 * Makes and checks the users' tokens: HS512 JWTs with the claims that Airflow's SimpleAuthManager gives them, and `sid`, the
 * session key, for users of the datastore. Their role and teams are those they have now, whatever the token says.
 */
export class Tokens {
  readonly #clock: Clock;
  readonly #records: TokenRecords;
  readonly #key: Uint8Array;
  readonly #adminEmail: string;
  /** Tokens seen a moment ago, so that a page's twenty requests cost one look-up. */
  readonly #seen = new Map<string, { verdict: Verdict; untilMs: number }>();
  /** How often `forget` was called: a verdict that was being found meanwhile is not kept. */
  #forgotten = 0;

  constructor(
    kit: { clock: Clock },
    deps: { records: TokenRecords },
    config: { jwtSecret: string; adminEmail: string },
  ) {
    this.#clock = kit.clock;
    this.#records = deps.records;
    this.#key = new TextEncoder().encode(config.jwtSecret);
    this.#adminEmail = config.adminEmail;
  }

  issue(user: User, seconds: number): Promise<string> {
    return signToken(user, seconds, { now: this.#clock.now(), key: this.#key });
  }

  async verify(token: string): Promise<Verdict> {
    const nowMs = instantMs(this.#clock.now());
    const known = this.#seen.get(token);
    if (known && known.untilMs > nowMs) return known.verdict;
    this.#seen.delete(token);
    const forgotten = this.#forgotten;
    const verdict = await this.#check(token, nowMs);
    if (verdict.kind === "valid" && forgotten === this.#forgotten) {
      if (this.#seen.size >= REMEMBERED_TOKENS) this.#seen.clear();
      this.#seen.set(token, { verdict, untilMs: Math.min(nowMs + RECHECK_MS, verdict.exp * 1000) });
    }
    return verdict;
  }

  async #check(token: string, nowMs: number): Promise<Verdict> {
    try {
      const { payload } = await jwtVerify(token, this.#key, {
        algorithms: ["HS512"],
        audience: AUDIENCE,
        requiredClaims: ["exp", "iat", "nbf"],
        clockTolerance: LEEWAY_SECONDS,
        currentDate: new Date(nowMs),
      });
      const { sub: name = "", jti = null, exp = 0, sid } = payload;
      const sessionKey = typeof sid === "string" ? sid : null;
      const { revoked, role, teams } = await this.#records.standing({ jti, name, sessionKey });
      if (revoked) return { kind: "invalid" };
      const user = sessionKey === null ? this.#admin(name) : role && { name, role, teams: teams ?? [], sessionKey };
      return user ? { kind: "valid", user, jti, exp } : { kind: "invalid" };
    } catch (error) {
      if (error instanceof errors.JWTExpired) return { kind: "expired" };
      if (error instanceof errors.JOSEError) return { kind: "invalid" };
      throw error;
    }
  }

  /** Without a session key it can only be a token of the admin of config.yaml. */
  #admin(name: string): User | null {
    return userNameOf(name) === userNameOf(this.#adminEmail) ? { name, role: "ADMIN" } : null;
  }

  /** Users have changed: every token is looked at anew. */
  forget(): void {
    this.#forgotten += 1;
    this.#seen.clear();
  }

  /** From now on this token is refused. A token that is no good anyway is left alone. */
  async revoke(token: string): Promise<void> {
    const verdict = await this.verify(token);
    if (verdict.kind !== "valid" || verdict.jti === null) return;
    await this.#records.revoke(verdict.jti, instantFromMs(verdict.exp * 1000));
    this.forget();
  }
}

/** A token for this user; `key` is config.yaml's jwt_secret. */
export async function signToken(user: User, seconds: number, by: { now: Instant; key: Uint8Array }): Promise<string> {
  const now = Math.floor(instantMs(by.now) / 1000);
  return new SignJWT({
    sub: user.name,
    role: user.role.toLowerCase(),
    teams: user.teams ?? [],
    jti: randomUUID().replaceAll("-", ""),
    aud: AUDIENCE,
    nbf: now,
    exp: now + seconds,
    iat: now,
    ...(user.sessionKey === undefined ? {} : { sid: user.sessionKey }),
  })
    .setProtectedHeader({ alg: "HS512", kid: "not-used", typ: "JWT" })
    .sign(by.key);
}
