import type { FastifyInstance, FastifyRequest } from "fastify";
import { Type } from "typebox";
import {
  AGENT_PATH,
  LOG_PIECE_BYTES,
  MESSAGE_TYPE,
  VERSION_TYPE,
  type AgentExit,
  type AgentHeartbeatAnswer,
  type AgentStartAnswer,
  type AgentWelcome,
  type LeaseAnswer,
  type LogAnswer,
} from "../../domain/agent-protocol.ts";
import { decodeRequest, encodeReply, genericError } from "../../domain/task-frame.ts";
import { taskLogPath } from "../../domain/workload.ts";
import { parseInstant, type Instant } from "../../kit/instant.ts";
import { programVersion } from "../../kit/version.ts";
import { findHeldTry, type HeldTry } from "../../store/agent-tries.ts";
import { findAgentToken, openSession } from "../../store/agents.ts";
import { credentialsOf } from "../auth/authenticate.ts";
import { typed, type ApiContext } from "../context.ts";
import { ApiError, badRequest, notFound } from "../errors.ts";
import { enumOf, nullable } from "../schema.ts";
import type { AgentService } from "./agent-service.ts";
import { agentTokenReader } from "./agent-token.ts";
import { AnsweredMessages } from "./answered-messages.ts";
import { LogPieces } from "./log-pieces.ts";
import { versionArchive } from "./version-archive.ts";

const UUID = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$";
const uuid = Type.String({ pattern: UUID });
const pid = Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 });
const text = Type.String({ maxLength: 1_000 });
const sessionParams = Type.Object({ session: uuid });
const taskParams = Type.Object({ session: uuid, id: uuid });
const messageParams = Type.Object({ session: uuid, id: uuid, number: Type.Integer({ minimum: 0 }) });
/** Agents may be newer than the server: what it does not know it passes over. */
const helloBody = Type.Object({
  hostname: text,
  pid,
  unixname: text,
  version: text,
  concurrency: Type.Integer({ minimum: 1, maximum: 100_000 }),
  queues: nullable(Type.Array(text)),
});
const leaseBody = Type.Object({ free: Type.Integer({ minimum: 0, maximum: 10_000 }) });
const heartbeatBody = Type.Object({
  tasks: Type.Array(Type.Object({ id: uuid, pid: nullable(pid) }), { maxItems: 100_000 }),
});
const startBody = Type.Object({ pid, startDate: Type.String() });
const ENDS = ["failed", "skipped", "removed"] as const;
const exitBody = Type.Object({
  process: Type.Optional(nullable(Type.Object({ hostname: text, pid }))),
  code: nullable(Type.Integer()),
  signal: nullable(text),
  taskState: nullable(
    Type.Object({
      state: enumOf(ENDS),
      endDate: nullable(Type.String()),
      renderedMapIndex: nullable(Type.String()),
    }),
  ),
  reason: nullable(Type.String()),
  withLeoflow: Type.Optional(Type.Boolean()),
  endDate: Type.String(),
});
const versionParams = Type.Object({ digest: Type.String({ pattern: "^[0-9a-f]{32,128}$" }) });
const logQuery = Type.Object({ offset: Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }) });

/** Requests of a task that change nothing: they may be done again. */
const READS = /^(Get|MaskSecret)/;

/** The routes of domain/agent-protocol.ts. They take agents' tokens alone. */
export function agentRoutes(
  instance: FastifyInstance,
  context: ApiContext,
  config: { jwtSecret: string },
  service: AgentService,
): void {
  const { pool, execution, executor, lostAfterMs } = service;
  const { clock } = context.kit;
  const readToken = agentTokenReader(new TextEncoder().encode(config.jwtSecret));
  const answered = new AnsweredMessages();
  const logs = new LogPieces(context.logsDir);

  const authenticate = async (request: FastifyRequest): Promise<void> => {
    const { bearer } = credentialsOf(request);
    const jti = bearer === null ? null : await readToken(bearer, clock.now());
    if (jti === null) throw noToken();
    (request as FastifyRequest & { jti?: string }).jti = jti;
  };

  /** What this session has to do with this try. Refuses a session that is over, and with it a token that is none any more. */
  const heldTry = async (
    request: FastifyRequest,
    { session, id }: { session: string; id: string },
  ): Promise<HeldTry> => {
    const jti = jtiOf(request);
    const held = await findHeldTry(pool, { sessionId: session, jti, id });
    if (held.session === null) throw await over(jti);
    if (held.held === null) throw new ApiError(404, `The task instance ${id} is not this session's`);
    return held;
  };

  /** 401 where the token is none any more, else 410. */
  const over = async (jti: string): Promise<ApiError> =>
    (await findAgentToken(pool, jti, clock.now())) === undefined ? noToken() : sessionOver();

  void instance.register(
    async (scope) => {
      scope.addHook("onRequest", authenticate);
      const app = typed(scope);
      const open = { role: "public" as const };

      app.post(
        "/sessions",
        { config: open, schema: { body: helloBody } },
        async (request, reply): Promise<AgentWelcome> => {
          const { body } = request;
          const jti = jtiOf(request);
          const now = clock.now();
          const token = await findAgentToken(pool, jti, now);
          if (!token) throw noToken();
          const queues = body.queues ?? token.queues;
          const foreign = queues.filter((queue) => !token.queues.includes(queue));
          if (foreign.length > 0 || queues.length === 0) {
            throw badRequest(
              `The token ${token.name} is for the queues ${token.queues.join(", ")}` +
                (foreign.length > 0 ? `, not for ${foreign.join(", ")}` : "; name at least one of them"),
            );
          }
          const sessionId = await openSession(pool, { ...body, jti, queues: [...new Set(queues)].sort(), now });
          if (sessionId === null) throw noToken();
          await executor.tokensChanged();
          context.kit.logger.info({ agent: token.name, sessionId, host: body.hostname, queues }, "an agent came");
          reply.code(201);
          return {
            ...{ sessionId, agent: token.name, queues },
            ...{ serverVersion: programVersion, lostAfterMs },
          };
        },
      );

      app.delete("/sessions/:session", { config: open, schema: { params: sessionParams } }, async (request, reply) => {
        const jti = jtiOf(request);
        if (!(await executor.close({ sessionId: request.params.session, jti }))) throw await over(jti);
        return reply.code(204).send();
      });

      app.post(
        "/sessions/:session/lease",
        { config: open, schema: { params: sessionParams, body: leaseBody } },
        async (request, reply): Promise<LeaseAnswer> => {
          const gone = new AbortController();
          reply.raw.once("close", () => gone.abort());
          const jti = jtiOf(request);
          const session = { sessionId: request.params.session, jti };
          const answer = await executor.lease(session, request.body.free, gone.signal);
          if (answer === null) throw await over(jti);
          return answer;
        },
      );

      app.post(
        "/sessions/:session/heartbeat",
        { config: open, schema: { params: sessionParams, body: heartbeatBody } },
        async (request): Promise<AgentHeartbeatAnswer> => {
          const jti = jtiOf(request);
          const answer = await executor.heartbeat({ sessionId: request.params.session, jti }, request.body.tasks);
          if (answer === null) throw await over(jti);
          return answer;
        },
      );

      app.post(
        "/sessions/:session/tasks/:id/start",
        { config: open, schema: { params: taskParams, body: startBody } },
        async (request): Promise<AgentStartAnswer> => {
          const { params, body } = request;
          const { session } = await heldTry(request, params);
          if (session === null) throw sessionOver();
          return await execution.start(params.id, {
            ...session,
            pid: body.pid,
            startDate: instantOf(["body", "startDate"], body.startDate),
            workerId: params.session,
          });
        },
      );

      app.post(
        "/sessions/:session/tasks/:id/exit",
        { config: open, schema: { params: taskParams, body: exitBody } },
        async (request, reply) => {
          const { params, body } = request;
          // A retry that the task asked for itself has moved the row on: then nothing is left to settle.
          const { held } = await heldTry(request, params);
          if (held === "live") await execution.exited(params.id, exitOf(body));
          executor.exited(params.session, params.id);
          answered.forget(params.id);
          return reply.code(204).send();
        },
      );

      app.get("/versions/:digest", { config: open, schema: { params: versionParams } }, async (request, reply) => {
        if ((await findAgentToken(pool, jtiOf(request), clock.now())) === undefined) throw noToken();
        const { digest } = request.params;
        const archive = await versionArchive(service.versionsDir, digest);
        if (archive === null) throw notFound(`There is no DAG version with the files ${digest}`);
        return await reply.type(VERSION_TYPE).send(archive);
      });

      scope.register(async (bytes) => {
        bytes.removeAllContentTypeParsers();
        bytes.addContentTypeParser("*", { parseAs: "buffer" }, (_request, body, done) => done(null, body));
        const binary = typed(bytes);

        binary.post(
          "/sessions/:session/tasks/:id/messages/:number",
          { config: open, schema: { params: messageParams } },
          async (request, reply) => {
            const { params } = request;
            const { held } = await heldTry(request, params);
            const { id, message } = frameOf(request.body);
            // It ended by its own word, which may be repeated.
            const work = async (): Promise<Buffer> =>
              replyFrame(id, message === null ? { body: null } : await execution.handle(params.id, message));
            const isRead = message === null || READS.test(message.type) || held !== "live";
            const asked = { id: params.id, sessionId: params.session, number: params.number, isRead };
            return await reply.type(MESSAGE_TYPE).send(await answered.once(asked, work));
          },
        );

        binary.post(
          "/sessions/:session/messages",
          { config: open, schema: { params: sessionParams } },
          async (request, reply) => {
            await livingSession(request, request.params.session);
            const { id, message } = frameOf(request.body);
            return await reply
              .type(MESSAGE_TYPE)
              .send(replyFrame(id, message === null ? { body: null } : await execution.handle("", message)));
          },
        );

        binary.put(
          "/sessions/:session/tasks/:id/log",
          { config: open, bodyLimit: LOG_PIECE_BYTES, schema: { params: taskParams, querystring: logQuery } },
          async (request, reply): Promise<LogAnswer | { detail: string; size: number }> => {
            const { params, query } = request;
            const tried = await heldTry(request, params);
            const piece = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
            const outcome = await logs.write(taskLogPath(tried, tried.tryNumber), query.offset, piece);
            if (outcome.kind === "written") return { size: outcome.size };
            if (outcome.kind === "full") {
              throw new ApiError(
                507,
                "The server's disk is full: it takes no more of this log until there is room again",
              );
            }
            reply.code(409);
            return {
              detail: `The log has ${outcome.size} bytes, and the piece begins at ${query.offset}`,
              size: outcome.size,
            };
          },
        );
      });
    },
    { prefix: AGENT_PATH },
  );

  async function livingSession(request: FastifyRequest, sessionId: string): Promise<void> {
    const jti = jtiOf(request);
    // Nobody has a try of this id.
    const { session } = await findHeldTry(pool, { sessionId, jti, id: sessionId });
    if (session === null) throw await over(jti);
  }
}

function noToken(): ApiError {
  return new ApiError(401, "Not an agent's token, or one that was revoked or has expired");
}

function sessionOver(): ApiError {
  return new ApiError(410, "This session is over: the agent was not heard for too long, or has left");
}

function jtiOf(request: FastifyRequest): string {
  const { jti } = request as FastifyRequest & { jti?: string };
  if (jti === undefined) throw new Error("route used without an agent's token");
  return jti;
}

function frameOf(body: unknown): ReturnType<typeof decodeRequest> {
  try {
    return decodeRequest(Buffer.isBuffer(body) ? body : Buffer.alloc(0));
  } catch (error) {
    throw badRequest(`Not a request of a task: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** Without its length. */
function replyFrame(id: number, reply: Parameters<typeof encodeReply>[1]): Buffer {
  try {
    return encodeReply(id, reply).subarray(4);
  } catch (error) {
    return encodeReply(id, genericError(error)).subarray(4);
  }
}

function instantOf(loc: string[], value: string): Instant {
  try {
    return parseInstant(value);
  } catch {
    throw badRequest(`${loc.at(-1)} is ${JSON.stringify(value)}, which is not a time`);
  }
}

function exitOf(body: Omit<AgentExit, "endDate" | "taskState"> & ExitDates): AgentExit {
  const { taskState } = body;
  const endDate = taskState?.endDate;
  return {
    ...body,
    endDate: instantOf(["endDate"], body.endDate),
    taskState: taskState && { ...taskState, endDate: endDate ? instantOf(["endDate"], endDate) : null },
  };
}

interface ExitDates {
  endDate: string;
  taskState: { state: (typeof ENDS)[number]; endDate: string | null; renderedMapIndex: string | null } | null;
}
