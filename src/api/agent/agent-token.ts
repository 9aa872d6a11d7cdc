import { randomUUID } from "node:crypto";
import { errors, jwtVerify, SignJWT } from "jose";
import { instantFromMs, instantMs, type Instant } from "../../kit/instant.ts";
import type { Database } from "../../store/database.ts";
import { createAgentToken } from "../../store/agents.ts";

/** Users' tokens have another audience: neither opens what the other does. */
const AUDIENCE = "leoflow-agent";
const ALGORITHM = "HS512";

export interface MadeAgentToken {
  name: string;
  queues: string[];
  expires_at: Instant | null;
  /** The JWT; kept nowhere. */
  token: string;
}

/** Makes a token for agents and signs it; null where the name is taken. `jwtSecret` is config.yaml's jwt_secret. */
export async function makeAgentToken(
  db: Database,
  asked: { name: string; queues: readonly string[]; expiresAt: Instant | null; createdBy: string },
  by: { jwtSecret: string; now: Instant },
): Promise<MadeAgentToken | null> {
  const { name, createdBy } = asked;
  const queues = [...new Set(asked.queues)];
  const exp = asked.expiresAt === null ? null : Math.ceil(instantMs(asked.expiresAt) / 1000);
  const expiresAt = exp === null ? null : instantFromMs(exp * 1000);
  const jti = randomUUID();
  if (!(await createAgentToken(db, { jti, name, queues, createdBy, expiresAt }))) return null;
  const unsigned = new SignJWT({ sub: name, jti, aud: AUDIENCE, iat: Math.floor(instantMs(by.now) / 1000) });
  if (exp !== null) unsigned.setExpirationTime(exp);
  const token = await unsigned
    .setProtectedHeader({ alg: ALGORITHM, typ: "JWT" })
    .sign(new TextEncoder().encode(by.jwtSecret));
  return { name, queues, expires_at: expiresAt, token };
}

/** The jti of an agent's token that we have signed; null for every other text. Whether it still counts, the datastore knows. */
export async function readAgentToken(token: string, key: Uint8Array, now: Instant): Promise<string | null> {
  try {
    const { payload } = await jwtVerify(token, key, {
      algorithms: [ALGORITHM],
      audience: AUDIENCE,
      requiredClaims: ["jti"],
      currentDate: new Date(instantMs(now)),
    });
    return payload.jti ?? null;
  } catch (error) {
    if (error instanceof errors.JOSEError) return null;
    throw error;
  }
}
