import Fastify, {
  type FastifyError,
  type FastifyInstance,
  type InjectOptions,
  type LightMyRequestResponse,
} from "fastify";
import { pino } from "pino";
import { fernet, newFernetKey } from "../../src/kit/fernet.ts";
import { systemClock } from "../../src/kit/clock.ts";
import { EventBus, type LeoflowEvent } from "../../src/domain/events.ts";
import { typed, type ApiContext, type Role, type TypedApp, type User } from "../../src/api/context.ts";
import { registerBodyParsers } from "../../src/api/body.ts";
import { answerError } from "../../src/api/error-answers.ts";
import { ApiError, unprocessable } from "../../src/api/errors.ts";
import { check, checkQuery, type RouteSchema } from "../../src/api/validation.ts";
import { VersionCache } from "../../src/store/dag-versions.ts";
import type { Database } from "../../src/store/database.ts";

export interface TestApi {
  app: FastifyInstance;
  context: ApiContext;
  /** What was published on the bus. */
  events: LeoflowEvent[];
  /** DAG files asked to be parsed again. */
  reparsed: string[];
  /** Who the next requests come from; an admin at first. */
  user: User;
  request(
    method: "GET" | "POST" | "PATCH" | "PUT" | "DELETE",
    url: string,
    body?: unknown,
    headers?: InjectOptions["headers"],
  ): Promise<LightMyRequestResponse>;
  get(url: string): Promise<LightMyRequestResponse>;
  close(): Promise<void>;
}

/** A context of this database and this folder, without Python and without graphs; `over` replaces parts of it. */
export function bareContext(db: Database, dir: string, over: Partial<ApiContext> = {}): ApiContext {
  return {
    kit: { logger: pino({ level: "silent" }), clock: systemClock },
    db,
    bus: new EventBus(),
    secrets: fernet(newFernetKey()),
    graph: () => Promise.reject(new Error("this test has no graphs")),
    askTimetable: () => Promise.reject(new Error("this test has no Python")),
    logsDir: dir,
    workspace: dir,
    airflowPackageDir: dir,
    reparse: () => undefined,
    python: () => Promise.reject(new Error("this test has no Python")),
    ...over,
  };
}

const ROLE_ORDER: readonly Role[] = ["VIEWER", "USER", "OP", "ADMIN"];

/**
 * An app with only these routes, below the prefix they have in the product, on a real database, with a signed-in admin. `over`
 * replaces parts of the context (`python`, `graph`, `logsDir`, …).
 */
export async function createTestApi(
  db: Database,
  routes: ((app: TypedApp, context: ApiContext) => void)[],
  over: Partial<ApiContext> & { prefix?: string } = {},
): Promise<TestApi> {
  const { prefix = "/api/v2", ...parts } = over;
  const bus = new EventBus();
  const versions = new VersionCache(db);
  const api: TestApi = {
    app: Fastify({ routerOptions: { ignoreTrailingSlash: true } }),
    events: [],
    reparsed: [],
    user: { name: "admin", role: "ADMIN" },
    context: bareContext(db, "/nonexistent", {
      bus,
      graph: async (id) => (await versions.get(id)).graph,
      reparse: (file) => void api.reparsed.push(file),
      ...parts,
    }),
    request: (method, url, body, headers) =>
      api.app.inject({
        method,
        url,
        ...(body === undefined ? {} : { payload: body as object }),
        headers: headers ?? {},
      }),
    get: (url) => api.request("GET", url),
    close: () => api.app.close(),
  };
  for (const kind of ["task-instance", "dag-run", "dag", "pool", "backfill", "kill"] as const) {
    bus.on(kind, (event) => void api.events.push(event));
  }
  const { app } = api;
  app.setValidatorCompiler(({ schema, httpPart }) => (data: unknown) => {
    const rules = schema as RouteSchema;
    const checked =
      httpPart === "querystring"
        ? checkQuery(rules, data as Record<string, unknown>)
        : check(rules, data ?? undefined, [httpPart === "params" ? "path" : "body"]);
    return checked.ok ? { value: checked.value } : { error: unprocessable(checked.issues) };
  });
  app.setErrorHandler((error: FastifyError, request, reply) => answerError(error, request, reply));
  registerBodyParsers(app);
  app.addHook("onRequest", async (request) => {
    const needed = request.routeOptions.config.role ?? "VIEWER";
    if (needed === "public") return;
    (request as typeof request & { user?: User }).user = api.user;
    if (ROLE_ORDER.indexOf(api.user.role) < ROLE_ORDER.indexOf(needed)) throw new ApiError(403, "Forbidden");
  });
  await app.register(
    (scope, _options, done) => {
      for (const group of routes) group(typed(scope), api.context);
      done();
    },
    { prefix },
  );
  await app.ready();
  return api;
}
