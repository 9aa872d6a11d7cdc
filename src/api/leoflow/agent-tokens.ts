import type { FastifyInstance } from "fastify";
import { Type } from "typebox";
import { agentQueuesProblem, agentTokenNameProblem, DEFAULT_QUEUE } from "../../domain/agent-token-rules.ts";
import { addMicros } from "../../kit/instant.ts";
import {
  deleteAgentToken,
  listAgents,
  listAgentTokens,
  type AgentTokenRow,
  type ConnectedAgent,
} from "../../store/agents.ts";
import { makeAgentToken, type MadeAgentToken } from "../agent/agent-token.ts";
import { audited } from "../audit.ts";
import { typed, userOf, type ApiContext } from "../context.ts";
import { notFound, uniqueConflict } from "../errors.ts";
import { strictObject, valueError } from "../schema.ts";

const HUNDRED_YEARS_SECONDS = 100 * 365 * 86_400;
const nameParams = Type.Object({ name: Type.String() });
const createBody = strictObject({
  name: Type.String(),
  queues: Type.Optional(Type.Array(Type.String())),
  expires_in_seconds: Type.Optional(Type.Integer({ minimum: 1, maximum: HUNDRED_YEARS_SECONDS })),
});

export interface AgentTokenList {
  agent_tokens: AgentTokenRow[];
  total_entries: number;
}

export interface AgentList {
  agents: ConnectedAgent[];
  total_entries: number;
}

/** `/api/leoflow/agent-tokens`: what agents sign in with, for admins; `/api/leoflow/agents`: who is connected, for operators. */
export function agentTokenRoutes(
  instance: FastifyInstance,
  context: ApiContext,
  { jwtSecret }: { jwtSecret: string },
): void {
  const app = typed(instance);
  const { db } = context;
  const config = { role: "ADMIN" as const };

  app.get("/api/leoflow/agent-tokens", { config }, async (): Promise<AgentTokenList> => {
    const tokens = await listAgentTokens(db);
    return { agent_tokens: tokens, total_entries: tokens.length };
  });

  app.get("/api/leoflow/agents", { config: { role: "OP" } }, async (): Promise<AgentList> => {
    const agents = await listAgents(db);
    return { agents, total_entries: agents.length };
  });

  app.post(
    "/api/leoflow/agent-tokens",
    { config, schema: { body: createBody }, preValidation: audited(db, "post_agent_token") },
    async (request, reply): Promise<MadeAgentToken> => {
      const { name, queues = [DEFAULT_QUEUE], expires_in_seconds: seconds } = request.body;
      const problem = agentTokenNameProblem(name);
      if (problem !== null) throw valueError(["body", "name"], problem, name);
      const wrong = agentQueuesProblem(queues);
      if (wrong !== null) throw valueError(["body", "queues"], wrong, queues);
      const now = context.kit.clock.now();
      const expiresAt = seconds === undefined ? null : addMicros(now, seconds * 1_000_000);
      const asked = { name, queues, expiresAt, createdBy: userOf(request).name };
      const made = await makeAgentToken(db, asked, { jwtSecret, now });
      if (!made) throw uniqueConflict(`The agent token with name: \`${name}\` already exists`);
      await context.agents?.executor.tokensChanged();
      reply.code(201);
      return made;
    },
  );

  app.delete(
    "/api/leoflow/agent-tokens/:name",
    { config, schema: { params: nameParams }, preValidation: audited(db, "delete_agent_token") },
    async ({ params }, reply) => {
      if (!(await deleteAgentToken(db, params.name))) {
        throw notFound(`The agent token with name: \`${params.name}\` was not found`);
      }
      await context.agents?.executor.tokensChanged();
      return reply.code(204).send();
    },
  );
}
