import { userInfo } from "node:os";
import { makeAgentToken, type MadeAgentToken } from "../api/agent/agent-token.ts";
import { agentQueuesProblem, agentTokenNameProblem, DEFAULT_QUEUE } from "../domain/agent-token-rules.ts";
import { systemClock } from "../kit/clock.ts";
import { addMicros, type Instant } from "../kit/instant.ts";
import { UserError } from "../kit/user-error.ts";
import { readConfigFile } from "../lite/config-file.ts";
import { deleteAgentToken, listAgentTokens, type AgentTokenRow } from "../store/agents.ts";
import type { CommandContext } from "./command-context.ts";
import { seconds, usage } from "./remote/remote-command.ts";
import { recordCommand, withStore } from "./with-store.ts";

const TOKENS = { what: "keep agents' tokens in", since: 8, things: "agents" };
const LONGEST_SECONDS = 100 * 365 * 86_400;

export function list(context: CommandContext): Promise<AgentTokenRow[]> {
  return withStore(context, TOKENS, (db) => listAgentTokens(db));
}

/** Makes a token; the answer holds it, nothing else does. */
export async function create(
  context: CommandContext,
  asked: { name: string; queues: string | undefined; expires: string | undefined },
): Promise<MadeAgentToken> {
  const { name } = asked;
  const problem = agentTokenNameProblem(name);
  if (problem !== null) throw usage(`no token can be named ${JSON.stringify(name)}`, problem);
  const queues = asked.queues === undefined ? [DEFAULT_QUEUE] : asked.queues.split(",").map((queue) => queue.trim());
  const wrong = agentQueuesProblem(queues);
  if (wrong !== null) throw usage(`--queues is ${JSON.stringify(asked.queues)}`, wrong);
  const now = systemClock.now();
  const expiresAt = asked.expires === undefined ? null : expiryOf(asked.expires, now);
  const jwtSecret = readConfigFile(context.paths, context.environment)?.jwt_secret;
  if (jwtSecret === undefined) {
    throw new UserError(`no Lite install found at ${context.paths.home} — run \`leoflow setup\` first`, {
      fix: "or set LEOFLOW_HOME to the installation you mean",
    });
  }
  return withStore(context, TOKENS, async (db) => {
    const token = { name, queues, expiresAt, createdBy: userInfo().username };
    const made = await makeAgentToken(db, token, { jwtSecret, now });
    if (!made) {
      throw new UserError(`there is a token ${name} already`, {
        fix: `choose another name, or \`leoflow auth revoke-agent-token ${name}\` first`,
      });
    }
    await recordCommand(db, "cli_create_agent_token");
    return made;
  });
}

export function revoke(context: CommandContext, name: string): Promise<void> {
  return withStore(context, TOKENS, async (db) => {
    if (!(await deleteAgentToken(db, name))) {
      throw new UserError(`there is no token ${name}`, {
        fix: "`leoflow auth list-agent-tokens` shows those there are",
      });
    }
    await recordCommand(db, "cli_revoke_agent_token");
  });
}

function expiryOf(text: string, now: Instant): Instant {
  const from = seconds("--expires", text);
  const problem = from < 1 ? "it would have expired already" : "leave it out for a token without end";
  if (from < 1 || from > LONGEST_SECONDS) throw usage(`--expires is ${JSON.stringify(text)}`, problem);
  return addMicros(now, from * 1_000_000);
}
