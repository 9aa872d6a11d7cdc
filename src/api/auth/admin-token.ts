import { createHmac, randomUUID } from "node:crypto";

/**
 * A token of config.yaml's admin, as `Tokens` makes and takes them (HS512), without jose, whose loading would cost a command
 * more than its request. `secret` is config.yaml's jwt_secret, `nowMs` milliseconds since 1970.
 */
export function adminToken(
  name: string,
  seconds: number,
  { secret, nowMs }: { secret: string; nowMs: number },
): string {
  const now = Math.floor(nowMs / 1000);
  const header = { alg: "HS512", kid: "not-used", typ: "JWT" };
  const claims = {
    sub: name,
    role: "admin",
    teams: [],
    jti: randomUUID().replaceAll("-", ""),
    aud: "apache-airflow",
    nbf: now,
    exp: now + seconds,
    iat: now,
  };
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${part(header)}.${part(claims)}`;
  return `${signed}.${createHmac("sha512", secret).update(signed).digest("base64url")}`;
}
