import type { Socket } from "node:net";
import type { Reply, ToSupervisor } from "../domain/task-execution.ts";
import { RawJson } from "../domain/task-execution.ts";
import { MsgpackReader } from "./msgpack-reader.ts";
import { MsgpackWriter } from "./msgpack-writer.ts";

/** Fields that hold what user code made, by message. They are decoded as `RawJson`, or null where Python has None. */
const RAW_FIELDS: Readonly<Record<string, readonly string[]>> = {
  AwaitInputTask: ["next_kwargs"],
  CreateHITLDetailPayload: ["params"],
  DeferTask: ["trigger_kwargs", "next_kwargs"],
  MaskSecret: ["value"],
  SetAssetStateStoreByName: ["value"],
  SetAssetStateStoreByUri: ["value"],
  SetRenderedFields: ["rendered_fields"],
  SetTaskStateStore: ["value"],
  SetXCom: ["value"],
  SucceedTask: ["outlet_events"],
  TriggerDagRun: ["conf"],
  UpdateHITLDetail: ["params_input"],
};
const MAYBE_RAW = new Set(Object.values(RAW_FIELDS).flat());

export interface RequestFrame {
  id: number;
  message: ToSupervisor | null;
}

/** Decodes `[id, body, context]`. A field named `value` is RawJson even for None, so that a null XCom is a value. */
export function decodeRequest(frame: Buffer): RequestFrame {
  const reader = new MsgpackReader(frame);
  reader.header("array");
  const id = reader.value() as number;
  if (reader.isNil()) return { id, message: null };
  const fields: Record<string, unknown> = {};
  const later = new Map<string, number>();
  const count = reader.header("map");
  for (let i = 0; i < count; i++) {
    const key = reader.key();
    if (MAYBE_RAW.has(key)) {
      // Which message this is may only be known at the end of the map.
      later.set(key, reader.position);
      reader.skip();
    } else fields[key] = reader.value();
  }
  const type = fields["type"];
  if (typeof type !== "string") throw new TypeError("a request without a type");
  const raw = RAW_FIELDS[type] ?? [];
  for (const [key, position] of later) {
    const field = new MsgpackReader(frame, position);
    if (!raw.includes(key)) fields[key] = field.value();
    else fields[key] = field.isNil() && key !== "value" ? null : new RawJson(field.json());
  }
  return { id, message: { ...fields, type } };
}

/** Encodes `[id, body, error]` with its length before it. */
export function encodeReply(id: number, reply: Reply): Buffer {
  const writer = new MsgpackWriter(4);
  writer.arrayHeader(3);
  writer.integer(id);
  writer.value("error" in reply ? null : reply.body);
  writer.value("error" in reply ? reply.error : null);
  const frame = writer.finish();
  frame.writeUInt32BE(frame.length - 4, 0);
  return frame;
}

/** Cuts a stream into its length-prefixed frames. */
export class FrameSplitter {
  #chunks: Buffer[] = [];
  #held = 0;

  /** Adds what arrived; returns the frames it completes, without their prefix. */
  push(chunk: Buffer): Buffer[] {
    this.#chunks.push(chunk);
    this.#held += chunk.length;
    const frames: Buffer[] = [];
    for (;;) {
      const length = this.#peekLength();
      if (length === null || this.#held < length + 4) return frames;
      const all = this.#chunks.length === 1 ? (this.#chunks[0] as Buffer) : Buffer.concat(this.#chunks);
      frames.push(all.subarray(4, 4 + length));
      const rest = all.subarray(4 + length);
      this.#chunks = rest.length > 0 ? [rest] : [];
      this.#held = rest.length;
    }
  }

  #peekLength(): number | null {
    if (this.#held < 4) return null;
    if ((this.#chunks[0] as Buffer).length < 4) this.#chunks = [Buffer.concat(this.#chunks)];
    return (this.#chunks[0] as Buffer).readUInt32BE(0);
  }
}

/**
 * Serves the requests of one supervisor connection, one after the other (the protocol is serial), and calls `onEnd` when
 * it is closed and everything asked was answered. A handler that returns null has seen to the answer itself.
 */
export function serveRequests(
  socket: Socket,
  handle: (message: ToSupervisor, requestId: number) => Promise<Reply | null>,
  onEnd: () => void,
): void {
  const splitter = new FrameSplitter();
  let working = Promise.resolve();
  const answer = async (frame: Buffer): Promise<void> => {
    let id = 0;
    let reply: Reply | null;
    try {
      const request = decodeRequest(frame);
      id = request.id;
      reply = request.message ? await handle(request.message, id) : { body: null };
    } catch (error) {
      reply = genericError(error);
    }
    if (!reply || !socket.writable) return;
    let bytes: Buffer;
    try {
      bytes = encodeReply(id, reply);
    } catch (error) {
      bytes = encodeReply(id, genericError(error));
    }
    socket.write(bytes);
  };
  socket.on("data", (chunk: Buffer) => {
    for (const frame of splitter.push(chunk)) working = working.then(() => answer(frame));
  });
  socket.on("error", () => socket.destroy());
  void whenClosed(socket).then(() => working.then(onEnd));
}

/** Resolves when the socket is closed, also when it was before. */
export function whenClosed(socket: Socket): Promise<void> {
  if (socket.closed) return Promise.resolve();
  return new Promise((resolve) => socket.once("close", () => resolve()));
}

/** What a failure of ours looks like to the task: AirflowRuntimeError with the message. */
export function genericError(error: unknown): Reply {
  return {
    error: {
      type: "ErrorResponse",
      error: "API_SERVER_ERROR",
      detail: { status_code: null, message: error instanceof Error ? error.message : String(error) },
    },
  };
}
