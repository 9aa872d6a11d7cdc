import { setMaxListeners } from "node:events";
import type { AgentHello, AgentWelcome } from "../domain/agent-protocol.ts";
import { UserError } from "../kit/user-error.ts";
import { detailOf, isPassing, Pauses, reasonOf, trustError, type ServerClient } from "./server-client.ts";

/** Of the time after which a server gives a silent agent up: what is left is for ending processes. */
const FENCE = 0.85;

/** Why a session came to an end, in words for the logs of its tasks. */
export class SessionOver extends Error {}

/**
 * What a server knows an agent by. Over is over: what ran under it must end, because the server gives it to others.
 *
 * 1. Its time runs from when the last answered sign of life was sent, so that it is over here before it is over there.
 */
export class Session {
  readonly welcome: AgentWelcome;
  readonly #over = new AbortController();
  #livedAt: number;

  constructor(welcome: AgentWelcome, sentAt: number) {
    this.welcome = welcome;
    this.#livedAt = sentAt;
    // A listener per request that tasks wait for.
    setMaxListeners(0, this.#over.signal);
  }

  /** Below `AGENT_PATH`. */
  get path(): string {
    return `/sessions/${this.welcome.sessionId}`;
  }

  /** Aborted, with a SessionOver, when it is over. */
  get over(): AbortSignal {
    return this.#over.signal;
  }

  /** The server has answered what was sent at this time (`performance.now()`). */
  lived(sentAt: number): void {
    this.#livedAt = Math.max(this.#livedAt, sentAt);
  }

  /** Ends it when the server has not been heard for too long. */
  check(now = performance.now()): void {
    const silentMs = now - this.#livedAt;
    if (silentMs < this.welcome.lostAfterMs * FENCE) return;
    this.end(
      `the server was not reached for ${Math.round(silentMs / 1000)} s, and may have given this try to another agent`,
    );
  }

  end(reason: string): void {
    if (!this.#over.signal.aborted) this.#over.abort(new SessionOver(reason));
  }
}

/**
 * Opens a session, as soon as there is a server. Throws UserError for what waiting will not change.
 * @param onWaiting is told once why it has to wait.
 */
export async function openSession(
  client: ServerClient,
  hello: AgentHello,
  signal: AbortSignal,
  onWaiting: (reason: string) => void,
): Promise<Session> {
  const pauses = new Pauses();
  let told = false;
  const wait = (reason: string): Promise<void> => {
    if (!told) onWaiting(reason);
    told = true;
    return pauses.next(signal);
  };
  for (;;) {
    signal.throwIfAborted();
    const sentAt = performance.now();
    let answer;
    try {
      answer = await client.once({ method: "POST", path: "/sessions", body: hello, signal }, "own");
    } catch (error) {
      signal.throwIfAborted();
      const untrusted = trustError(client.server, error);
      if (untrusted) throw untrusted;
      await wait(reasonOf(error));
      continue;
    }
    if (answer.status === 200 || answer.status === 201) {
      return new Session(JSON.parse(answer.body.toString("utf8")) as AgentWelcome, sentAt);
    }
    if (!isPassing(answer.status)) throw refusal(client.server, answer.status, detailOf(answer));
    await wait(`it answers ${answer.status}`);
  }
}

export function refusal(server: string, status: number, detail: string): UserError {
  if (status === 401) {
    return new UserError(`${server} does not accept this agent's token: ${detail}`, {
      fix: "make a new one there with `leoflow auth create-agent-token`",
    });
  }
  if (status === 404) {
    return new UserError(`${server} knows nothing of agents`, {
      fix: "look whether this is the address of a Leoflow, of this release or a newer one",
    });
  }
  return new UserError(`${server} does not take this agent: ${detail}`);
}
