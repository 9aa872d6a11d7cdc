import type { Socket } from "node:net";
import type { Reply, ToSupervisor } from "../domain/task-execution.ts";
import { decodeRequest, encodeReply, genericError } from "../domain/task-frame.ts";

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
