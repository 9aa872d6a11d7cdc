import type { Socket } from "node:net";
import { decode, encode } from "./msgpack.ts";

export interface Message {
  readonly type: string;
  readonly [field: string]: unknown;
}

/** The supervisor refused a request: `code` is Airflow's ErrorType, `status` the API server's where it has one. */
export class SupervisorError extends Error {
  override name = "SupervisorError";
  readonly code: string;
  readonly status: number | null;

  constructor(request: Message, code: string, detail: Record<string, unknown> | null) {
    super(`${request.type}: ${code}${describe(detail)}`);
    this.code = code;
    this.status = typeof detail?.["status_code"] === "number" ? detail["status_code"] : null;
  }
}

/**
 * The supervisor's side of a connection, as Airflow's `airflow.sdk.execution_time.comms` frames it: four bytes of length, then
 * msgpack `[id, body, context]`, answered by `[id, body, error]`. The first frame comes from the supervisor; then one request is
 * under way at a time.
 */
export class Supervisor {
  /** StartupDetails. */
  readonly first: Promise<Message>;
  readonly #socket: Socket;
  readonly #waiting: { resolve: (frame: unknown[]) => void; reject: (error: Error) => void }[] = [];
  #held: Buffer = Buffer.alloc(0);
  #last: Promise<unknown>;
  #nextId = 1;

  constructor(socket: Socket) {
    this.#socket = socket;
    this.first = this.#frame().then((frame) => frame[1] as Message);
    this.#last = this.first.catch(() => undefined);
    socket.on("data", (chunk: Buffer) => this.#take(chunk));
    socket.on("close", () => {
      for (const { reject } of this.#waiting.splice(0)) reject(new Error("the supervisor is gone"));
    });
  }

  /** Sends a request when those before are answered. Rejects with SupervisorError for an error of any kind. */
  ask(request: Message): Promise<Message | null> {
    // Encoded now: what the caller changes later is not meant.
    const bytes = encode(request);
    const answer = this.#last.then(async () => {
      const [, body, error] = await this.#send(bytes);
      const failed = (error ?? (isError(body) ? body : null)) as Message | null;
      if (!failed) return body as Message | null;
      throw new SupervisorError(request, String(failed["error"]), failed["detail"] as Record<string, unknown> | null);
    });
    this.#last = answer.catch(() => undefined);
    return answer;
  }

  #send(request: Buffer): Promise<unknown[]> {
    const answer = this.#frame();
    const id = encode(this.#nextId++);
    const frame = Buffer.alloc(4 + 1 + id.length);
    frame.writeUInt32BE(1 + id.length + request.length + 1);
    frame[4] = 0x93;
    id.copy(frame, 5);
    this.#socket.write(Buffer.concat([frame, request, encode(null)]));
    return answer;
  }

  #frame(): Promise<unknown[]> {
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  #take(chunk: Buffer): void {
    this.#held = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    while (this.#held.length >= 4) {
      const end = 4 + this.#held.readUInt32BE();
      if (this.#held.length < end) return;
      const frame = decode(this.#held.subarray(4, end)) as unknown[];
      this.#held = this.#held.subarray(end);
      this.#waiting.shift()?.resolve(frame);
    }
  }
}

function isError(body: unknown): boolean {
  return typeof body === "object" && body !== null && (body as Message).type === "ErrorResponse";
}

function describe(detail: Record<string, unknown> | null): string {
  if (!detail) return "";
  const message = detail["message"] ?? detail["detail"];
  return ` (${typeof message === "string" ? message : JSON.stringify(detail)})`;
}
