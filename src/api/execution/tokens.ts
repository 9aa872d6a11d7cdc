import { randomUUID } from "node:crypto";
import { errors, jwtVerify, SignJWT } from "jose";
import type { Clock } from "../../kit/clock.ts";
import { instantMs } from "../../kit/instant.ts";

/** `[scheduler] task_queued_timeout`: how long a workload may lie before somebody starts it. */
export const WORKLOAD_TOKEN_SECONDS = 600;
/** `[execution_api] jwt_expiration_time`. */
export const EXECUTION_TOKEN_SECONDS = 600;

const AUDIENCE = "urn:airflow.apache.org:task";
const LEEWAY_SECONDS = 10;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

export type TokenScope = "workload" | "execution";

export interface TaskToken {
  /** The task instance that it is for: its own requests, and nobody else's. */
  id: string;
  scope: string;
  /** Under which agent token its task was handed out. */
  workerId: string | null;
  issuedAt: number;
  expiresAt: number;
}

/**
 * Tokens of tasks, as Airflow makes them: HS512 with `[api_auth] jwt_secret`. A workload token starts its task and does nothing
 * else; it is exchanged there for an execution token. The secret is that of the users' tokens: the audience tells them apart.
 */
export class TaskTokens {
  readonly #clock: Clock;
  readonly #key: Uint8Array;

  constructor(kit: { clock: Clock }, config: { jwtSecret: string }) {
    this.#clock = kit.clock;
    this.#key = new TextEncoder().encode(config.jwtSecret);
  }

  issue(id: string, scope: TokenScope, workerId: string | null = null): Promise<string> {
    const now = this.#seconds();
    const seconds = scope === "workload" ? WORKLOAD_TOKEN_SECONDS : EXECUTION_TOKEN_SECONDS;
    return new SignJWT({
      sub: id,
      scope,
      ...(workerId === null ? {} : { worker: workerId }),
      jti: randomUUID().replaceAll("-", ""),
      aud: AUDIENCE,
      nbf: now,
      exp: now + seconds,
      iat: now,
    })
      .setProtectedHeader({ alg: "HS512", kid: "not-used", typ: "JWT" })
      .sign(this.#key);
  }

  /** null: it is none of ours, or its time is over. */
  async verify(token: string): Promise<TaskToken | null> {
    try {
      const { payload } = await jwtVerify(token, this.#key, {
        algorithms: ["HS512"],
        audience: AUDIENCE,
        requiredClaims: ["exp", "iat"],
        clockTolerance: LEEWAY_SECONDS,
        currentDate: new Date(this.#seconds() * 1000),
      });
      const { sub = "", exp = 0, iat = 0, scope = "execution", worker } = payload;
      if (!UUID.test(sub)) return null;
      const workerId = typeof worker === "string" ? worker : null;
      return { id: sub.toLowerCase(), scope: String(scope), workerId, issuedAt: iat, expiresAt: exp };
    } catch (error) {
      if (error instanceof errors.JOSEError) return null;
      throw error;
    }
  }

  /** Whether little of its life is left: a fifth, or 30 seconds. */
  isOld({ issuedAt, expiresAt }: TaskToken): boolean {
    const left = expiresAt - this.#seconds();
    return left <= Math.max(Math.floor((expiresAt - issuedAt) * 0.2), 30);
  }

  #seconds(): number {
    return Math.floor(instantMs(this.#clock.now()) / 1000);
  }
}
