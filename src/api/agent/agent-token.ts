import { randomUUID } from "node:crypto";
import { errors, jwtVerify, SignJWT } from "jose";
import { instantFromMs, instantMs, type Instant } from "../../kit/instant.ts";
import type { Database } from "../../store/database.ts";
import { createAgentToken } from "../../store/agents.ts";

/** Users' tokens have another audience: neither opens what the other does. */
const AUDIENCE = "leoflow-agent";
const ALGORITHM = "HS512";
const REMEMBERED_TOKENS = 1_000;

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

/** Signatures are checked once for each token: hundreds of agents ask a hundred times a second. */
export function agentTokenReader(key: Uint8Array): (token: string, now: Instant) => Promise<string | null> {
  const known = new Map<string, Verified>();
  return async (token, now) => {
    const verified = known.get(token) ?? (await verify(token, key, now));
    if (verified === null || verified.expMs <= instantMs(now)) return null;
    if (known.size >= REMEMBERED_TOKENS) known.clear();
    known.set(token, verified);
    return verified.jti;
  };
}

/** The jti of an agent's token that we have signed; null for every other text. Whether it still counts, the datastore knows. */
export async function readAgentToken(token: string, key: Uint8Array, now: Instant): Promise<string | null> {
  return (await verify(token, key, now))?.jti ?? null;
}

interface Verified {
  jti: string;
  /** Infinity for a token without end. */
  expMs: number;
}

async function verify(token: string, key: Uint8Array, now: Instant): Promise<Verified | null> {
  try {
    const { payload } = await jwtVerify(token, key, {
      algorithms: [ALGORITHM],
      audience: AUDIENCE,
      requiredClaims: ["jti"],
      currentDate: new Date(instantMs(now)),
    });
    const { jti, exp } = payload;
    return jti === undefined ? null : { jti, expMs: exp === undefined ? Infinity : exp * 1000 };
  } catch (error) {
    if (error instanceof errors.JOSEError) return null;
    throw error;
  }
}
