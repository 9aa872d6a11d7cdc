import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { fromJsonText, type JsonText } from "../../kit/json-text.ts";
import type { ExecutionContext } from "../../execution/context.ts";
import { writeJson } from "../../execution/json-writer.ts";
import { findLiveTry } from "../../store/execution-task-instance.ts";
import { credentialsOf } from "../auth/authenticate.ts";
import { databaseAnswer } from "../error-answers.ts";
import { ApiError, unprocessable } from "../errors.ts";
import { check, checkQuery, type RouteSchema } from "../validation.ts";
import { assetOperations } from "./assets.ts";
import { connectionTestOperations } from "./connection-tests.ts";
import { dagRunOperations } from "./dag-runs.ts";
import { healthOperations } from "./health.ts";
import { hitlOperations } from "./hitl.ts";
import type { Call, Operation } from "./operation.ts";
import { secretOperations } from "./secrets.ts";
import { taskInstanceOperations } from "./task-instances.ts";
import type { TaskToken, TaskTokens } from "./tokens.ts";
import { downgrade, hasOperation, negotiate, VERSIONS, type OlderKwargs, type Version } from "./versions.ts";
import { xcomOperations } from "./xcoms.ts";

const MOUNT = "/execution";
const VERSION_HEADER = "airflow-api-version";
const TOKEN_HEADER = "refreshed-api-token";
const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] as const;

/** Every operation of the Task Execution API; the first that fits a request is the one. */
export const OPERATIONS: readonly Operation[] = [
  ...healthOperations,
  ...assetOperations,
  ...connectionTestOperations,
  ...dagRunOperations,
  ...taskInstanceOperations,
  ...secretOperations,
  ...xcomOperations,
  ...hitlOperations,
];

/** Those of each version, by method. */
const BY_VERSION = new Map(
  VERSIONS.map((version): [Version, readonly Operation[]] => [
    version,
    OPERATIONS.filter(({ name }) => hasOperation(version, name)),
  ]),
);

export interface ExecutionApiDeps {
  execution: ExecutionContext;
  tokens: TaskTokens;
  olderKwargs: OlderKwargs;
  /** Airflow's own OpenAPI document of a version; undefined where there is no such version. */
  openApi: (version: string) => Promise<string | undefined>;
}

/**
 * Airflow's Task Execution API: what stock Airflow workers speak. A request is matched, signed in, checked and answered in
 * the order that Airflow does it; the rules are those of src/execution. Answers are JSON without a charset, which the SDK
 * would not read errors from.
 */
export function executionRoutes(app: FastifyInstance, deps: ExecutionApiDeps): void {
  void app.register(
    (scope, _options, done) => {
      // The text alone: who may not ask makes nobody parse, and data stays as it was written.
      scope.removeAllContentTypeParsers();
      scope.addContentTypeParser("*", { parseAs: "string" }, (_request, body, parsed) => parsed(null, body));
      scope.setErrorHandler((error: FastifyError | ApiError, request, reply) => sendFailure(error, request, reply));
      scope.get("/openapi.json", { config: { role: "public" } }, async (request, reply) => {
        const asked = (request.query as { version?: string }).version ?? header(request, VERSION_HEADER);
        const document = asked === undefined ? undefined : await deps.openApi(asked);
        if (document === undefined)
          throw new ApiError(404, `OpenApi file of with version \`${asked ?? "None"}\` not found`);
        return sendJson(reply, document);
      });
      scope.route({
        method: [...METHODS],
        url: "/*",
        config: { role: "public" },
        handler: (request, reply) => answer(request, reply, deps),
      });
      done();
    },
    { prefix: MOUNT },
  );
}

async function answer(
  request: FastifyRequest,
  reply: FastifyReply,
  { execution: x, tokens, olderKwargs }: ExecutionApiDeps,
): Promise<FastifyReply> {
  const correlation = request.headers["correlation-id"];
  if (correlation !== undefined) reply.header("correlation-id", correlation);
  const asked = header(request, VERSION_HEADER);
  reply.header(VERSION_HEADER, asked ?? VERSIONS[0]);
  const version = versionOf(asked);
  const { operation, path } = match(version, request);
  const token = await signIn(request, operation, path, tokens);
  if (token && (await isRenewed(x, tokens, token)))
    reply.header(TOKEN_HEADER, await tokens.issue(token.id, "execution", token.workerId));
  const call = callOf(request, operation, path, token);
  const done = await operation.run(x, call);
  if (done.exchanges && token?.scope === "workload") {
    reply.header(TOKEN_HEADER, await tokens.issue(token.id, "execution", token.workerId));
  }
  reply.code(done.status).headers(done.headers ?? {});
  if (done.body === undefined) return request.method === "HEAD" ? sendJson(reply, "") : reply.send();
  const json = writeJson(done.body);
  return sendJson(reply, done.status < 400 ? await downgrade(version, operation.name, json, olderKwargs) : json);
}

function header(request: FastifyRequest, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value[0] : value;
}

function versionOf(asked: string | undefined): Version {
  const version = negotiate(asked);
  if (version === "none") throw new ApiError(404, "Not Found");
  if (version !== "invalid") return version;
  const msg = "Input should be a valid date in the format YYYY-MM-DD";
  throw unprocessable([{ type: "date_from_datetime_parsing", loc: ["header", VERSION_HEADER], msg, input: asked }]);
}

function match(version: Version, request: FastifyRequest): { operation: Operation; path: Record<string, string> } {
  const path = pathOf(request);
  const allowed: string[] = [];
  for (const operation of BY_VERSION.get(version) ?? []) {
    const found = operation.pattern.exec(path);
    if (!found) continue;
    if (operation.method === request.method) return { operation, path: { ...found.groups } };
    allowed.push(operation.method);
  }
  throw allowed.length > 0 ? new ApiError(405, "Method Not Allowed") : new ApiError(404, "Not Found");
}

/** Decoded before it is matched, as Starlette does: keys may hold slashes. */
function pathOf(request: FastifyRequest): string {
  const [path = ""] = request.url.slice(MOUNT.length).split("?", 1);
  try {
    return decodeURIComponent(path);
  } catch {
    throw new ApiError(404, "Not Found");
  }
}

async function signIn(
  request: FastifyRequest,
  { access }: Operation,
  path: Record<string, string>,
  tokens: TaskTokens,
): Promise<TaskToken | null> {
  if (access.tokens.length === 0) return null;
  const { bearer } = credentialsOf(request);
  if (bearer === null) throw new ApiError(401, "Missing auth token");
  const token = await tokens.verify(bearer);
  if (!token) throw new ApiError(403, "Invalid auth token");
  if (!access.tokens.includes(token.scope)) {
    const types = access.tokens.toSorted().join(", ");
    throw new ApiError(403, `Token type '${token.scope}' not allowed for this endpoint. Allowed types: ${types}`);
  }
  if (access.self && path[access.self]?.toLowerCase() !== token.id) {
    const what = access.self === "task_instance_id" ? "task instance" : "connection test";
    throw new ApiError(403, `Token subject does not match ${what} ID`);
  }
  return token;
}

/**
 * An execution token near its end is made anew, as long as its task runs: Airflow renews those of tasks that ended too, and
 * one that leaked would then live for ever.
 */
async function isRenewed(x: ExecutionContext, tokens: TaskTokens, token: TaskToken): Promise<boolean> {
  if (token.scope !== "execution" || !tokens.isOld(token)) return false;
  const live = await findLiveTry(x.deps.database.pool, token.id);
  return live?.state === "running" || live?.state === "restarting";
}

function callOf(
  request: FastifyRequest,
  operation: Operation,
  path: Record<string, string>,
  token: TaskToken | null,
): Call {
  const query = request.query as Record<string, unknown>;
  const bodyText = (typeof request.body === "string" && request.body.trim() !== "" ? request.body : "null") as JsonText;
  return {
    callerId: token?.id ?? "",
    workerId: token?.workerId ?? null,
    path,
    query: operation.query ? (checked(checkQuery(operation.query, query)) as Call["query"]) : {},
    body: operation.body === null ? null : bodyOf(request, operation, bodyText),
    bodyText,
  };
}

function bodyOf(request: FastifyRequest, operation: Operation, text: JsonText): unknown {
  const body = parsed(text);
  const schema = (typeof operation.body === "function" ? operation.body(body) : operation.body) as RouteSchema;
  if (schema.type !== undefined && (typeof request.body !== "string" || request.body.trim() === "")) {
    throw unprocessable([{ type: "missing", loc: ["body"], msg: "Field required", input: null }]);
  }
  return checked(check(schema, body, ["body"]));
}

function parsed(text: JsonText): unknown {
  try {
    return fromJsonText<unknown>(text);
  } catch (error) {
    const ctx = { error: error instanceof Error ? error.message : String(error) };
    throw unprocessable([{ type: "json_invalid", loc: ["body", 0], msg: "JSON decode error", input: {}, ctx }]);
  }
}

function checked(result: ReturnType<typeof check>): unknown {
  if (!result.ok) throw unprocessable(result.issues);
  return result.value;
}

function sendJson(reply: FastifyReply, text: string): FastifyReply {
  return reply.header("content-type", "application/json").send(Buffer.from(text));
}

function sendFailure(error: FastifyError | ApiError, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  if (error instanceof ApiError) return sendJson(reply.code(error.status), writeJson({ detail: error.detail }));
  if ((error.statusCode ?? 500) < 500) {
    return sendJson(reply.code(error.statusCode ?? 400), writeJson({ detail: error.message }));
  }
  const database = databaseAnswer(error);
  request.log.error({ err: error, method: request.method, url: request.url }, "a worker's request failed");
  if (database) {
    const { status, reason } = database;
    return sendJson(reply.code(status), writeJson({ detail: { reason, message: "See the server's log" } }));
  }
  const correlation = request.headers["correlation-id"];
  return sendJson(reply.code(500), writeJson({ message: "Internal server error", "correlation-id": correlation }));
}
