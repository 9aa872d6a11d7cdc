import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { Type } from "typebox";
import { AGENT_PATH, LOG_PIECE_BYTES } from "../../domain/agent-protocol.ts";
import { taskLogPath, type Workload } from "../../domain/workload.ts";
import { addMicros } from "../../kit/instant.ts";
import { findHeldTry, leaseWorkloads } from "../../store/agent-tries.ts";
import { findAgentToken } from "../../store/agents.ts";
import type { OpenDatabase } from "../../store/database.ts";
import type { AgentDesk } from "../agent/agent-service.ts";
import { agentTokenReader } from "../agent/agent-token.ts";
import { LogPieces } from "../agent/log-pieces.ts";
import { credentialsOf } from "../auth/authenticate.ts";
import { typed, type ApiContext } from "../context.ts";
import { ApiError, badRequest, notFound } from "../errors.ts";
import { WORKLOAD_TOKEN_SECONDS, type TaskTokens } from "./tokens.ts";

/** A workload as Airflow's executors hand it to `python -m airflow.sdk.execution_time.execute_workload`. */
export interface ExecuteTask {
  type: "ExecuteTask";
  token: string;
  dag_rel_path: string;
  bundle_info: { name: string; version: string | null };
  log_path: string;
  ti: Record<string, unknown>;
  sentry_integration: string;
}

/** `ExecuteTask.model_dump_json` of 3.3.2, which SDKs from 3.1 on read; `token` starts the task. */
export function executeTask(workload: Workload, token: string): ExecuteTask {
  return {
    token,
    dag_rel_path: workload.dagRelPath,
    bundle_info: workload.bundle,
    log_path: taskLogPath(workload, workload.tryNumber),
    ti: {
      id: workload.id,
      task_id: workload.taskId,
      dag_id: workload.dagId,
      run_id: workload.runId,
      try_number: workload.tryNumber,
      dag_version_id: workload.dagVersionId,
      map_index: workload.mapIndex,
      hostname: null,
      context_carrier: {},
      queue: workload.queue,
      pool_slots: workload.poolSlots,
      priority_weight: workload.priorityWeight,
    },
    sentry_integration: "",
    type: "ExecuteTask",
  };
}

/** `POST {AGENT_PATH}/workloads`. */
export interface LeasedWorkloads {
  workloads: {
    workload: ExecuteTask;
    /** How much of this try's log the server has: what comes is put behind it. */
    log_size: number;
  }[];
}

const leaseBody = Type.Object({
  count: Type.Integer({ minimum: 1, maximum: 100, default: 1 }),
  queues: Type.Optional(Type.Array(Type.String())),
});
const logQuery = Type.Object({ offset: Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }) });
const params = Type.Object({ id: Type.String({ format: "uuid" }) });

/**
 * How stock Airflow workers get their work: with an agent's token and no session. What was handed out and not started while its
 * workload token holds goes to the next who asks; what was started is heard of by its heartbeats alone.
 */
export function workloadRoutes(
  instance: FastifyInstance,
  context: ApiContext,
  config: { jwtSecret: string },
  deps: { pool: OpenDatabase["pool"]; tokens: TaskTokens; desk: Pick<AgentDesk, "serves" | "tokensChanged"> },
): void {
  const { clock } = context.kit;
  const { pool, tokens, desk } = deps;
  const readToken = agentTokenReader(new TextEncoder().encode(config.jwtSecret));
  const logs = new LogPieces(context.logsDir);

  const signedIn = async (request: FastifyRequest) => {
    const { bearer } = credentialsOf(request);
    const jti = bearer === null ? null : await readToken(bearer, clock.now());
    const token = jti === null ? undefined : await findAgentToken(pool, jti, clock.now());
    if (jti === null || !token) throw new ApiError(401, "Not an agent's token, or one that was revoked or has expired");
    return { jti, ...token };
  };

  void instance.register(
    (scope, _options, done) => {
      const app = typed(scope);
      const open = { config: { role: "public" as const } };

      app.post("", { ...open, schema: { body: leaseBody } }, async (request): Promise<LeasedWorkloads> => {
        const token = await signedIn(request);
        const { count, queues = token.queues } = request.body;
        const foreign = queues.filter((queue) => !token.queues.includes(queue));
        if (foreign.length > 0) {
          throw badRequest(
            `The token ${token.name} is for the queues ${token.queues.join(", ")}, not for ${foreign.join(", ")}`,
          );
        }
        // A token that was made beside the server is heard of here first.
        if (!queues.every((queue) => desk.serves(queue))) await desk.tokensChanged();
        const now = clock.now();
        const until = addMicros(now, WORKLOAD_TOKEN_SECONDS * 1_000_000);
        const leased = await leaseWorkloads(pool, { jti: token.jti, count, queues }, { now, until });
        const workloads = leased.map(async (workload) => ({
          workload: executeTask(workload, await tokens.issue(workload.id, "workload", token.jti)),
          log_size: await sizeOf(join(context.logsDir, taskLogPath(workload, workload.tryNumber))),
        }));
        return { workloads: await Promise.all(workloads) };
      });

      void scope.register((bytes, _none, registered) => {
        bytes.removeAllContentTypeParsers();
        bytes.addContentTypeParser("*", { parseAs: "buffer" }, (_request, body, parsed) => parsed(null, body));
        typed(bytes).put(
          "/:id/log",
          { ...open, bodyLimit: LOG_PIECE_BYTES, schema: { params, querystring: logQuery } },
          async (request, reply) => {
            const { jti } = await signedIn(request);
            const { id } = request.params;
            const tried = await findHeldTry(pool, { sessionId: jti, jti, id });
            if (tried.held === null) throw notFound(`The task instance ${id} was not handed out under this token`);
            const piece = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
            const outcome = await logs.write(taskLogPath(tried, tried.tryNumber), request.query.offset, piece);
            if (outcome.kind === "full")
              throw new ApiError(507, "The server's disk is full: it takes no more of this log");
            if (outcome.kind === "gap") reply.code(409);
            return { size: outcome.size };
          },
        );
        registered();
      });
      done();
    },
    { prefix: `${AGENT_PATH}/workloads` },
  );
}

async function sizeOf(file: string): Promise<number> {
  try {
    return (await stat(file)).size;
  } catch {
    return 0;
  }
}
