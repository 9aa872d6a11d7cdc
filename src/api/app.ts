import { randomUUID } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Fastify, {
  LogController,
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
} from "fastify";
import type { JsonText } from "../kit/json-text.ts";
import { databaseSnapshot } from "../store/database-snapshot.ts";
import { revokeToken } from "../store/revoked-tokens.ts";
import { findLogin, recordLogin, tokenStanding } from "../store/users.ts";
import { agentRoutes } from "./agent/index.ts";
import { registerAuthentication } from "./auth/authenticate.ts";
import { LoginLimiter } from "./auth/login-limiter.ts";
import { PasswordCheck } from "./auth/password.ts";
import { authRoutes } from "./auth/routes.ts";
import { registerTeamAccess } from "./auth/team-access.ts";
import { Tokens } from "./auth/tokens.ts";
import { registerBodyParsers } from "./body.ts";
import { registerCompression } from "./compression.ts";
import type { ApiContext } from "./context.ts";
import { answerError } from "./error-answers.ts";
import { unprocessable } from "./errors.ts";
import { executionRoutes } from "./execution/index.ts";
import { executionDocuments } from "./execution/documents.ts";
import { TaskTokens } from "./execution/tokens.ts";
import { workloadRoutes } from "./execution/workloads.ts";
import { agentTokenRoutes } from "./leoflow/agent-tokens.ts";
import { leoflowRoutes } from "./leoflow/index.ts";
import { userRoutes } from "./leoflow/users.ts";
import { openApiRoutes } from "./openapi.ts";
import { publicRoutes } from "./public/index.ts";
import { readinessRoutes } from "./readyz.ts";
import { registerRevalidation } from "./revalidation.ts";
import { registerStaticUi, type StaticUi } from "./static-ui.ts";
import { uiRoutes } from "./ui/index.ts";
import { registerUnchangedAnswers } from "./unchanged-answers.ts";
import { check, checkQuery, type RouteSchema } from "./validation.ts";

export interface AppConfig {
  adminEmail: string;
  /** The Argon2 hash as it is now; asked at every login, because `leoflow lite reset-password` may change it. */
  adminPasswordHash: () => string;
  jwtSecret: string;
  /** Everybody is an admin and nobody logs in: `[core] simple_auth_manager_all_admins`. */
  allAdmins?: boolean;
  /** Where packed copies of the UI's files are kept. */
  cacheDir?: string;
  /** The scripts and styles of our own pages, as built. */
  webDir?: string;
  /** Believe X-Forwarded-* of the proxy in front. */
  trustProxy?: boolean;
}

const BODY_LIMIT_BYTES = 64 * 1024 * 1024;
/** Of the login, where everybody may send something. */
const LOGIN_BODY_LIMIT_BYTES = 64 * 1024;
/** Who takes longer to send the headers, or all of a request, is answered 408: slow clients must not hold memory for ever. */
const HEADERS_TIMEOUT_MS = 30_000;
const REQUEST_TIMEOUT_MS = 120_000;

/** The HTTP server's whole application; the caller listens with it and closes it. */
export function createApp(context: ApiContext, config: AppConfig): FastifyInstance {
  const app = Fastify({
    loggerInstance: context.kit.logger,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: BODY_LIMIT_BYTES,
    requestTimeout: REQUEST_TIMEOUT_MS,
    http: { headersTimeout: HEADERS_TIMEOUT_MS, connectionsCheckingInterval: 5_000 },
    trustProxy: config.trustProxy ?? false,
    forceCloseConnections: true,
    requestIdHeader: false,
    genReqId: (request) => {
      const given = request.headers["x-request-id"];
      return typeof given === "string" && /^[\w.:-]{1,128}$/.test(given) ? given : randomUUID();
    },
    routerOptions: { maxParamLength: 2_000 },
  }) as unknown as FastifyInstance;

  app.setValidatorCompiler(({ schema, httpPart }) => validator(schema as RouteSchema, httpPart));
  // Answers are what the routes made; a serializer per route would cost start-up time and hide fields it was not told of.
  app.setSerializerCompiler(() => (data) => JSON.stringify(data));
  app.setErrorHandler((error: FastifyError, request, reply) => answerError(error, request, reply));
  registerBodyParsers(app);
  app.addHook("onRoute", (route) => {
    if (route.url.startsWith("/auth/")) route.bodyLimit = LOGIN_BODY_LIMIT_BYTES;
  });
  app.addHook("onRequest", async (request, reply) => {
    reply
      .header("x-request-id", request.id)
      .header("x-content-type-options", "nosniff")
      .header("x-frame-options", "SAMEORIGIN")
      .header("referrer-policy", "same-origin");
  });
  const { db, bus } = context;
  const tokens = new Tokens(
    context.kit,
    {
      records: {
        revoke: (jti, exp) => revokeToken(db, jti, exp),
        standing: (token) => tokenStanding(db, token),
      },
    },
    config,
  );
  bus.on("users", () => tokens.forget());
  const { allAdmins = false } = config;
  registerAuthentication(app, tokens, { allAdmins });
  if (context.multiTeam) registerTeamAccess(app, db);
  registerRevalidation(app);
  registerCompression(app);
  registerUnchangedAnswers(app, () => databaseSnapshot(db));

  authRoutes(app, {
    db,
    tokens,
    passwords: new PasswordCheck({ findLogin: (name) => findLogin(db, name) }, config),
    recordLogin: (name) => recordLogin(db, name),
    limiter: new LoginLimiter(context.kit),
    allAdmins,
  });
  readinessRoutes(app, context);
  publicRoutes(app, context);
  uiRoutes(app, context);
  userRoutes(app, context, config);
  agentTokenRoutes(app, context, config);
  if (context.agents) agentRoutes(app, context, config, context.agents);
  const cacheDir = config.cacheDir ?? join(tmpdir(), "leoflow-cache");
  openApiRoutes(app, context, { cacheDir });
  const packedDir = join(cacheDir, "ui");
  leoflowRoutes(app, context, { webDir: config.webDir ?? "", packedDir });
  if (context.execution) {
    const taskTokens = new TaskTokens(context.kit, config);
    executionRoutes(app, {
      execution: context.execution,
      tokens: taskTokens,
      olderKwargs: async (next_kwargs: JsonText) =>
        (await context.python({ kind: "older_next_kwargs", next_kwargs })) as JsonText,
      openApi: executionDocuments(context, { cacheDir }),
    });
    if (context.agents) {
      const { pool, executor: desk } = context.agents;
      workloadRoutes(app, context, config, { pool, tokens: taskTokens, desk });
    }
  }
  const ui = registerStaticUi(app, context, { packedDir });
  app.setNotFoundHandler((request, reply) => answerUnknownPath(request, reply, ui));
  return app;
}

function validator(schema: RouteSchema, httpPart: string | undefined) {
  return (data: unknown) => {
    if (httpPart === "body" && data === null && schema.type === "object") {
      return { error: unprocessable([{ type: "missing", loc: ["body"], msg: "Field required", input: null }]) };
    }
    const result =
      httpPart === "querystring"
        ? checkQuery(schema, data as Record<string, unknown>)
        : check(schema, data, [httpPart === "params" ? "path" : (httpPart ?? "body")]);
    return result.ok ? { value: result.value } : { error: unprocessable(result.issues) };
  };
}

/** What Airflow answers where no route is: JSON below /api, the UI's page elsewhere. */
function answerUnknownPath(request: FastifyRequest, reply: FastifyReply, ui: StaticUi): FastifyReply {
  if (request.method !== "GET" && request.method !== "HEAD") {
    return reply.code(405).header("allow", "GET").send({ detail: "Method Not Allowed" });
  }
  const path = request.url.split("?", 1)[0] ?? "";
  const gone = (error: string) => reply.code(404).send({ error });
  if (path === "/health") {
    return gone("Moved in Airflow 3. Please change config to check `/api/v2/monitor/health`");
  }
  if (path.startsWith("/api/v1/")) {
    return gone("/api/v1 has been removed in Airflow 3, please use its upgraded version /api/v2 instead.");
  }
  if (path.startsWith("/api/")) return gone("API route not found");
  if (path.startsWith("/execution/")) return reply.code(404).send({ detail: "Not Found" });
  return ui.sendIndex(request, reply);
}
