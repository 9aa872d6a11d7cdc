import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { Type } from "typebox";
import type { Database } from "../../store/database.ts";
import { audited } from "../audit.ts";
import { typed, userOf } from "../context.ts";
import { ApiError, badRequest } from "../errors.ts";
import { ANONYMOUS, credentialsOf, setTokenCookie } from "./authenticate.ts";
import type { LoginLimiter } from "./login-limiter.ts";
import type { PasswordCheck } from "./password.ts";
import { isSafeNext } from "./safe-next.ts";
import { API_TOKEN_SECONDS, CLI_TOKEN_SECONDS, type Tokens } from "./tokens.ts";

export interface AuthDeps {
  db: Database;
  tokens: Tokens;
  passwords: PasswordCheck;
  /** Called after every login of a user of the datastore. */
  recordLogin(name: string): Promise<void>;
  limiter: LoginLimiter;
  allAdmins: boolean;
}

const LoginBody = Type.Object({ username: Type.String(), password: Type.String() }, { additionalProperties: false });
const NextQuery = Type.Object({ next: Type.Optional(Type.String()) });

/** Signing in and out, as SimpleAuthManager and `/api/v2/auth` do it. */
export function authRoutes(instance: FastifyInstance, deps: AuthDeps): void {
  const app = typed(instance);
  const open = { config: { role: "public" as const } };

  app.post("/auth/token", { ...open, schema: { body: LoginBody } }, async (request, reply) =>
    reply.code(201).send({ access_token: await logIn(deps, request, request.body, API_TOKEN_SECONDS) }),
  );
  app.post("/auth/token/cli", { ...open, schema: { body: LoginBody } }, async (request, reply) =>
    reply.code(201).send({ access_token: await logIn(deps, request, request.body, CLI_TOKEN_SECONDS) }),
  );
  app.get("/auth/token", open, async (_request, reply) =>
    reply.code(201).send({ access_token: await anonymousToken(deps) }),
  );
  app.get("/auth/token/login", { ...open, schema: { querystring: NextQuery } }, async (request, reply) => {
    const { next } = request.query;
    setTokenCookie(request, reply, await anonymousToken(deps));
    if (!next || !isSafeNext(next, request.host)) return redirect(reply, "/");
    const { pathname, search, hash } = new URL(next, originOf(request));
    return redirect(reply, pathname + search + hash);
  });

  app.get("/api/v2/auth/login", { ...open, schema: { querystring: NextQuery } }, async (request, reply) => {
    const { next } = request.query;
    if (next && !isSafeNext(next, request.host)) throw badRequest("Invalid or unsafe next URL");
    const query = next ? `?${new URLSearchParams({ next }).toString()}` : "";
    return redirect(reply, loginPage(deps) + query);
  });
  app.get("/api/v2/auth/logout", open, async (request, reply) => {
    const { bearer, cookie } = credentialsOf(request);
    for (const token of [bearer, cookie]) if (token) await deps.tokens.revoke(token);
    setTokenCookie(request, reply, "");
    return redirect(reply, loginPage(deps));
  });

  const TokenBody = Type.Object({
    token_type: Type.Union([Type.Literal("api"), Type.Literal("cli")], { default: "api" }),
  });
  const signedIn = { config: { role: "VIEWER" as const } };
  const recorded = { preValidation: audited(deps.db, "generate_token") };
  app.post("/ui/auth/token", { ...signedIn, ...recorded, schema: { body: TokenBody } }, async (request) => {
    const { token_type } = request.body;
    const seconds = token_type === "cli" ? CLI_TOKEN_SECONDS : API_TOKEN_SECONDS;
    const access_token = await deps.tokens.issue(userOf(request), seconds);
    return { access_token, token_type, expires_in_seconds: seconds };
  });
  app.get("/ui/auth/me", async (request) => {
    const { name } = userOf(request);
    return { id: name, username: name };
  });
  app.get("/ui/auth/menus", async () => ({ authorized_menu_items: MENU_ITEMS, extra_menu_items: [] }));
}

/** The UI matches these strings. */
const MENU_ITEMS = [
  "Required Actions",
  "Assets",
  "Audit Log",
  "Config",
  "Connections",
  "Dags",
  "Deadlines",
  "Docs",
  "Jobs",
  "Plugins",
  "Pools",
  "Providers",
  "Variables",
  "XComs",
];

async function logIn(
  deps: AuthDeps,
  request: FastifyRequest,
  body: { username: string; password: string },
  seconds: number,
): Promise<string> {
  if (deps.allAdmins) return deps.tokens.issue(ANONYMOUS, seconds);
  const { username, password } = body;
  if (!username || !password) throw badRequest("Username and password must be provided");
  const succeed = deps.limiter.begin(request.ip);
  if (!succeed) {
    throw new ApiError(429, "too many failed login attempts; wait about a minute and try again");
  }
  const user = await deps.passwords.check(username, password);
  if (user === null) throw new ApiError(401, "Invalid credentials");
  succeed();
  if (user.sessionKey !== undefined) await deps.recordLogin(user.name);
  return deps.tokens.issue(user, seconds);
}

async function anonymousToken(deps: AuthDeps): Promise<string> {
  if (!deps.allAdmins) {
    throw new ApiError(403, "This method is only allowed if ``[core] simple_auth_manager_all_admins`` is True");
  }
  return deps.tokens.issue(ANONYMOUS, API_TOKEN_SECONDS);
}

const loginPage = (deps: AuthDeps) => (deps.allAdmins ? "/auth/token/login" : "/auth/login");
const originOf = (request: FastifyRequest) => `${request.protocol}://${request.host}`;
const redirect = (reply: FastifyReply, url: string) => reply.code(307).header("location", url).send();
