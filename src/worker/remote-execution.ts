import type { AgentHeartbeat, AgentStart, AgentStartAnswer } from "../domain/agent-protocol.ts";
import { MESSAGE_TYPE } from "../domain/agent-protocol.ts";
import { decodeReply, encodeRequest, genericError } from "../domain/task-frame.ts";
import type {
  HeartbeatAnswer,
  ProcessExit,
  Reply,
  StartAnswer,
  TaskExecution,
  ToSupervisor,
  WorkerProcess,
} from "../domain/task-execution.ts";
import type { LogShipper } from "./log-shipper.ts";
import { detailOf, type Answer, type Question, type ServerClient } from "./server-client.ts";
import type { Session } from "./session.ts";

interface Try {
  session: Session;
  /** null until it has started. */
  pid: number | null;
  /** Requests that are not answered yet. */
  asking: number;
  verdict: HeartbeatAnswer;
}

/**
 * What a supervisor asks of the control plane, asked of a server over HTTP. A server that is away is waited for, for as long as
 * the try's session lasts; a try that is not this agent's any more is told so and reports nothing further.
 */
export class RemoteExecution implements TaskExecution {
  readonly #client: ServerClient;
  readonly #logs: LogShipper;
  readonly #tries = new Map<string, Try>();
  /** Of all: a try's next process, after a deferral, must not begin with a number that its first has used. */
  #requests = 0;
  /** Set when the agent ends what still runs: that is nothing the tasks did. */
  isLeaving = false;

  constructor(client: ServerClient, logs: LogShipper) {
    this.#client = client;
    this.#logs = logs;
  }

  /** From now until `release` this try is the session's. */
  hold(id: string, session: Session): void {
    this.#tries.set(id, { session, pid: null, asking: 0, verdict: "alive" });
  }

  release(id: string): void {
    this.#tries.delete(id);
  }

  /** What a sign of life tells of. */
  held(session: Session): AgentHeartbeat["tasks"] {
    return [...this.#tries].flatMap(([id, one]) => (one.session === session ? [{ id, pid: one.pid }] : []));
  }

  /** The server says that this try is not to go on. */
  deny(id: string, verdict: HeartbeatAnswer): void {
    const one = this.#tries.get(id);
    if (one) one.verdict = verdict;
  }

  async start(id: string, worker: WorkerProcess): Promise<StartAnswer> {
    const one = this.#tries.get(id);
    if (!one) return { kind: "refused", reason: "not_found", previousState: null };
    const body: AgentStart = { pid: worker.pid, startDate: worker.startDate };
    const answer = await this.#ask(one, { method: "POST", path: `/tasks/${id}/start`, body });
    if (!answer || answer.status === 404) return { kind: "refused", reason: "not_found", previousState: null };
    if (answer.status !== 200) throw new Error(`the server refused the start: ${detailOf(answer)}`);
    const started = JSON.parse(answer.body.toString("utf8")) as AgentStartAnswer;
    if (started.kind === "started") one.pid = worker.pid;
    return started;
  }

  /** Knows what the agent's own sign of life was answered; what a task has just said may have made that out of date. */
  async heartbeat(id: string): Promise<HeartbeatAnswer> {
    const one = this.#tries.get(id);
    if (!one) return "not_found";
    return one.asking > 0 ? "alive" : one.verdict;
  }

  async handle(id: string, message: ToSupervisor): Promise<Reply> {
    const one = this.#tries.get(id);
    if (!one) return genericError("the agent does not run this try any more");
    const number = this.#requests++;
    one.asking++;
    try {
      const answer = await this.#ask(one, {
        method: "POST",
        path: `/tasks/${id}/messages/${number}`,
        body: encodeRequest(number, message),
        type: MESSAGE_TYPE,
      });
      if (!answer || answer.status === 404) {
        one.verdict = "not_found";
        return genericError("the server has taken this try from the agent");
      }
      return replyOf(answer);
    } finally {
      one.asking--;
    }
  }

  /** What a DAG file asks for while it is imported. */
  async handleImport(session: Session | null, message: ToSupervisor): Promise<Reply> {
    if (!session) return genericError("the agent has no server at the moment");
    const body = encodeRequest(0, message);
    try {
      return replyOf(
        await this.#client.ask({
          method: "POST",
          path: `${session.path}/messages`,
          body,
          type: MESSAGE_TYPE,
          signal: session.over,
        }),
      );
    } catch (error) {
      return genericError(error);
    }
  }

  /** Told after the last byte of the log is acknowledged. */
  async exited(id: string, exit: ProcessExit): Promise<void> {
    const one = this.#tries.get(id);
    if (!one) return;
    await this.#logs.finish(id);
    const body: ProcessExit = this.isLeaving ? { ...exit, withLeoflow: true } : exit;
    const answer = await this.#ask(one, { method: "POST", path: `/tasks/${id}/exit`, body });
    if (answer && answer.status >= 400 && answer.status !== 404) {
      throw new Error(`the server did not take a task's end: ${detailOf(answer)}`);
    }
  }

  /** null: the session is over. */
  async #ask({ session }: Try, question: Question): Promise<Answer | null> {
    try {
      const path = session.path + question.path;
      const answer = await this.#client.ask({ ...question, path, signal: session.over });
      if (answer.status !== 410 && answer.status !== 401) return answer;
      session.end("the server has given this agent up");
      return null;
    } catch (error) {
      if (session.over.aborted) return null;
      throw error;
    }
  }
}

function replyOf(answer: Answer): Reply {
  if (answer.status !== 200) return genericError(`the server refused the request: ${detailOf(answer)}`);
  return decodeReply(answer.body).reply;
}
