import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { mayDo } from "../../domain/user.ts";
import type { Role, User } from "../context.ts";
import { ApiError } from "../errors.ts";
import type { Tokens } from "./tokens.ts";

export const COOKIE_NAME = "_token";

export interface Credentials {
  bearer: string | null;
  cookie: string | null;
}

/** What the client presented; a bearer token wins over the cookie. */
export function credentialsOf(request: FastifyRequest): Credentials {
  const [scheme, token] = (request.headers.authorization ?? "").split(/\s+/, 2);
  return {
    bearer: scheme?.toLowerCase() === "bearer" && token ? token : null,
    cookie: cookieValue(request.headers.cookie, COOKIE_NAME),
  };
}

function cookieValue(header: string | undefined, name: string): string | null {
  for (const pair of (header ?? "").split(";")) {
    const at = pair.indexOf("=");
    if (at > 0 && pair.slice(0, at).trim() === name) return pair.slice(at + 1).trim() || null;
  }
  return null;
}

/** As the refresh middleware of Airflow writes it; an empty token deletes the cookie. */
export function setTokenCookie(request: FastifyRequest, reply: FastifyReply, token: string): void {
  const parts = [
    `${COOKIE_NAME}=${token || '""'}`,
    "HttpOnly",
    ...(token ? [] : ["Max-Age=0"]),
    "Path=/",
    "SameSite=lax",
    ...(request.protocol === "https" ? ["Secure"] : []),
  ];
  reply.header("set-cookie", parts.join("; "));
}

/** Least role of a route: what it says itself, else what SimpleAuthManager asks of DAG views and of everything else. */
function roleOf(request: FastifyRequest): Role | "public" {
  const { config, url = "" } = request.routeOptions;
  if (config.role) return config.role;
  if (!/^\/(api\/v2|ui|api\/leoflow|leoflow)(\/|$)/.test(url)) return "public";
  if (request.method === "GET" || request.method === "HEAD") return "VIEWER";
  return /^\/api\/v2\/dags?(\/|$)/.test(url) ? "USER" : "OP";
}

/**
 * Signs in every request of a route that is not public, before its body is read. The details are Airflow's words: the UI
 * goes to the login page on 401 and on "Invalid JWT token", and stops asking on "Forbidden".
 */
export function registerAuthentication(app: FastifyInstance, tokens: Tokens, config: { allAdmins?: boolean }): void {
  app.decorateRequest("user", undefined);
  app.addHook("onRequest", async (request, reply) => {
    const needed = roleOf(request);
    if (needed === "public") return;
    const user = config.allAdmins ? ANONYMOUS : await signIn(request, reply, tokens);
    (request as FastifyRequest & { user?: User }).user = user;
    if (!mayDo(user.role, needed)) throw new ApiError(403, "Forbidden");
  });
}

/** Who everybody is when the server asks for no password. */
export const ANONYMOUS: User = { name: "Anonymous", role: "ADMIN" };

async function signIn(request: FastifyRequest, reply: FastifyReply, tokens: Tokens): Promise<User> {
  const { bearer, cookie } = credentialsOf(request);
  const token = bearer ?? cookie;
  if (token === null) throw new ApiError(401, "Not authenticated");
  const verdict = await tokens.verify(token);
  if (verdict.kind === "valid") {
    if (bearer === null) refuseForeignWrites(request);
    return verdict.user;
  }
  if (bearer === null) setTokenCookie(request, reply, "");
  throw verdict.kind === "expired" ? new ApiError(401, "Token Expired") : new ApiError(403, "Invalid JWT token");
}

/**
 * A browser sends the cookie along with what other sites make it post. The login page sets that cookie from JavaScript
 * without SameSite, and another port of localhost counts as the same site, so writes must come from our own pages.
 */
function refuseForeignWrites(request: FastifyRequest): void {
  if (request.method === "GET" || request.method === "HEAD") return;
  const site = request.headers["sec-fetch-site"];
  const { origin } = request.headers;
  const foreign =
    site !== undefined
      ? site !== "same-origin" && site !== "none"
      : origin !== undefined && origin !== `${request.protocol}://${request.host}`;
  if (foreign) throw new ApiError(403, "Cross-site request refused");
}
