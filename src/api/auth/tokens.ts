import { randomUUID } from "node:crypto";
import { errors, jwtVerify, SignJWT } from "jose";
import { instantFromMs, instantMs } from "../../kit/instant.ts";
import type { Clock } from "../../kit/clock.ts";
import { ROLES, type Role, type User } from "../context.ts";

/** How long tokens live, as `[api_auth] jwt_expiration_time` and `jwt_cli_expiration_time`. */
export const API_TOKEN_SECONDS = 86_400;
export const CLI_TOKEN_SECONDS = 3_600;

const AUDIENCE = "apache-airflow";
const LEEWAY_SECONDS = 10;
/** Another server's logout is seen at the latest after this time; this server's at once. */
const RECHECK_MS = 2_000;
const REMEMBERED_TOKENS = 500;

export type Verdict =
  { kind: "valid"; user: User; jti: string | null; exp: number } | { kind: "expired" } | { kind: "invalid" };

/** Where logged-out tokens are kept until they expire. */
export interface RevokedTokens {
  revoke(jti: string, exp: string): Promise<void>;
  isRevoked(jti: string): Promise<boolean>;
}

/** Makes and checks the users' tokens: HS512 JWTs with the claims that Airflow's SimpleAuthManager gives them. */
export class Tokens {
  readonly #clock: Clock;
  readonly #revoked: RevokedTokens;
  readonly #key: Uint8Array;
  /** Tokens seen a moment ago, so that a page's twenty requests cost one look-up. */
  readonly #seen = new Map<string, { verdict: Verdict; untilMs: number }>();

  constructor(kit: { clock: Clock }, deps: { revoked: RevokedTokens }, config: { jwtSecret: string }) {
    this.#clock = kit.clock;
    this.#revoked = deps.revoked;
    this.#key = new TextEncoder().encode(config.jwtSecret);
  }

  async issue(user: User, seconds: number): Promise<string> {
    const now = Math.floor(instantMs(this.#clock.now()) / 1000);
    return new SignJWT({
      sub: user.name,
      role: user.role.toLowerCase(),
      teams: [],
      jti: randomUUID().replaceAll("-", ""),
      aud: AUDIENCE,
      nbf: now,
      exp: now + seconds,
      iat: now,
    })
      .setProtectedHeader({ alg: "HS512", kid: "not-used", typ: "JWT" })
      .sign(this.#key);
  }

  async verify(token: string): Promise<Verdict> {
    const nowMs = instantMs(this.#clock.now());
    const known = this.#seen.get(token);
    if (known && known.untilMs > nowMs) return known.verdict;
    this.#seen.delete(token);
    const verdict = await this.#check(token, nowMs);
    if (verdict.kind === "valid") {
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
      const role = String(payload["role"]).toUpperCase() as Role;
      if (!payload.sub || !ROLES.includes(role)) return { kind: "invalid" };
      const jti = payload.jti ?? null;
      if (jti !== null && (await this.#revoked.isRevoked(jti))) return { kind: "invalid" };
      return { kind: "valid", user: { name: payload.sub, role }, jti, exp: payload.exp ?? 0 };
    } catch (error) {
      if (error instanceof errors.JWTExpired) return { kind: "expired" };
      if (error instanceof errors.JOSEError) return { kind: "invalid" };
      throw error;
    }
  }

  /** From now on this token is refused. A token that is no good anyway is left alone. */
  async revoke(token: string): Promise<void> {
    const verdict = await this.verify(token);
    if (verdict.kind !== "valid" || verdict.jti === null) return;
    await this.#revoked.revoke(verdict.jti, instantFromMs(verdict.exp * 1000));
    this.#seen.delete(token);
  }
}
