import { request as requestHttp, Agent as HttpAgent, type ClientRequest, type IncomingMessage } from "node:http";
import { request as requestHttps, Agent as HttpsAgent } from "node:https";
import { AGENT_PATH } from "../domain/agent-protocol.ts";
import type { Kit } from "../kit/service.ts";
import { UserError } from "../kit/user-error.ts";

export interface Question {
  method: "GET" | "POST" | "PUT" | "DELETE";
  /** Below `AGENT_PATH`. */
  path: string;
  body?: Buffer | object;
  /** Of a body that is a Buffer. */
  type?: string;
  /** So long may the connection be silent. */
  timeoutMs?: number;
  signal?: AbortSignal | undefined;
}

export interface Answer {
  status: number;
  body: Buffer;
}

export interface ServerClientConfig {
  /** A path in it goes before `AGENT_PATH`. */
  server: URL;
  token: string;
}

const ANSWER_MS = 30_000;
const FIRST_PAUSE_MS = 100;
/** A server that comes back is found within this; 500 agents ask it 250 times a second until then. */
const LONGEST_PAUSE_MS = 2_000;
/** Requests of tasks at once; more of them wait here. */
const MAX_SOCKETS = 64;
const NO_TRUST = /CERT|SELF_SIGNED|UNABLE_TO_|ERR_TLS|ERR_SSL/;

/** The server an agent works for. */
export class ServerClient {
  readonly #kit: Kit;
  readonly #config: ServerClientConfig;
  readonly #isTls: boolean;
  readonly #tasks: HttpAgent | HttpsAgent;
  /** Signs of life do not wait behind what tasks ask. */
  readonly #own: HttpAgent | HttpsAgent;
  #isAway = false;

  constructor(kit: Kit, config: ServerClientConfig) {
    this.#kit = kit;
    this.#config = config;
    this.#isTls = config.server.protocol === "https:";
    const Agent = this.#isTls ? HttpsAgent : HttpAgent;
    this.#tasks = new Agent({ keepAlive: true, maxSockets: MAX_SOCKETS, maxFreeSockets: 8 });
    this.#own = new Agent({ keepAlive: true });
  }

  get server(): string {
    return this.#config.server.href.replace(/\/$/, "");
  }

  close(): void {
    this.#tasks.destroy();
    this.#own.destroy();
  }

  /** Asks until there is an answer that asking again would not change. Rejects only when the signal ends it. */
  async ask(question: Question): Promise<Answer> {
    const pauses = new Pauses();
    for (;;) {
      question.signal?.throwIfAborted();
      try {
        const answer = await this.once(question);
        if (!isPassing(answer.status)) return answer;
        this.#tell(new Error(`HTTP ${answer.status}`), question);
      } catch (error) {
        question.signal?.throwIfAborted();
        this.#tell(error, question);
      }
      await pauses.next(question.signal);
    }
  }

  /** Asks once. Rejects when there is no answer. `own`: a sign of life. */
  async once(question: Question, kind: "task" | "own" = "task"): Promise<Answer> {
    const response = await this.open(question, kind);
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(chunk as Buffer);
    return { status: response.statusCode ?? 0, body: Buffer.concat(chunks) };
  }

  /** Asks once; the answer's body is to be read. */
  open(question: Question, kind: "task" | "own" = "task"): Promise<IncomingMessage> {
    const { method, path, body, type, signal, timeoutMs = ANSWER_MS } = question;
    const { server, token } = this.#config;
    const bytes = body === undefined || Buffer.isBuffer(body) ? body : Buffer.from(JSON.stringify(body));
    const contentType = Buffer.isBuffer(body) ? (type ?? "application/octet-stream") : "application/json";
    return new Promise((resolve, reject) => {
      const request: ClientRequest = (this.#isTls ? requestHttps : requestHttp)(
        new URL(server.pathname.replace(/\/$/, "") + AGENT_PATH + path, server),
        {
          method,
          agent: kind === "own" ? this.#own : this.#tasks,
          timeout: timeoutMs,
          ...(signal ? { signal } : {}),
          headers: {
            authorization: `Bearer ${token}`,
            ...(bytes ? { "content-type": contentType, "content-length": bytes.length } : {}),
          },
        },
        (response) => {
          this.#isAway = false;
          resolve(response);
        },
      );
      request.on("timeout", () => request.destroy(new Error(`no answer within ${timeoutMs / 1000} s`)));
      request.on("error", reject);
      request.end(bytes);
    });
  }

  /** Of many requests that fail together one is worth a line. */
  #tell(error: unknown, { method, path }: Question): void {
    const line = { server: this.server, reason: reasonOf(error), request: `${method} ${path}` };
    if (this.#isAway) this.#kit.logger.debug(line, "the server does not answer");
    else this.#kit.logger.warn(line, "the server does not answer; asking again until it does");
    this.#isAway = true;
  }
}

/** Longer each time, never in step with others. */
export class Pauses {
  #ms = FIRST_PAUSE_MS;

  next(signal?: AbortSignal): Promise<void> {
    const ms = this.#ms * (0.5 + Math.random() / 2);
    this.#ms = Math.min(this.#ms * 2, LONGEST_PAUSE_MS);
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      signal?.addEventListener("abort", done);
    });
  }
}

/** The server is full or being started: 507 says that its disk is, which may stay so. */
export function isPassing(status: number): boolean {
  return status === 429 || (status >= 500 && status !== 507);
}

export function reasonOf(error: unknown): string {
  const { message = "", code = "" } = error as NodeJS.ErrnoException;
  return message || code || String(error);
}

/** What the server says is wrong, in words. */
export function detailOf(answer: Answer): string {
  try {
    const { detail } = JSON.parse(answer.body.toString("utf8")) as { detail?: unknown };
    return typeof detail === "string" ? detail : JSON.stringify(detail ?? answer.status);
  } catch {
    return `HTTP ${answer.status}`;
  }
}

/** Asking again will not help: another certificate is needed. */
export function trustError(server: string, error: unknown): UserError | null {
  if (!NO_TRUST.test((error as NodeJS.ErrnoException).code ?? "")) return null;
  return new UserError(`${server} cannot be trusted: ${reasonOf(error)}`, {
    fix: "name the file with its certificate authority in NODE_EXTRA_CA_CERTS",
    cause: error,
  });
}
