import { chmod, mkdir, rm } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { newId } from "../kit/ids.ts";

/** Takes a connection of the process that was given the token; the socket is paused. */
export type ConnectionHandler = (kind: string, socket: Socket) => void;

const MAX_HELLO_BYTES = 256;

/**
 * The UNIX socket that Python processes connect back to. The first line of a connection says what it carries and for
 * which token; only processes we started know one.
 */
export class AgentSocket {
  readonly path: string;
  readonly #directory: string;
  readonly #handlers = new Map<string, ConnectionHandler>();
  readonly #open = new Set<Socket>();
  #server: Server | null = null;

  constructor(directory: string) {
    this.#directory = directory;
    this.path = join(directory, `agent-${newId().slice(-8)}.sock`);
    // sockaddr_un holds 108 bytes on Linux and 104 on macOS, the closing zero included.
    if (Buffer.byteLength(this.path) > 100) throw new RangeError(`socket path too long: ${this.path}`);
  }

  async start(): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    const server = createServer((socket) => this.#greet(socket));
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen({ path: this.path, backlog: 511 }, resolve);
    });
    await chmod(this.path, 0o600);
    this.#server = server;
  }

  async stop(): Promise<void> {
    const server = this.#server;
    if (!server) return;
    this.#server = null;
    for (const socket of this.#open) socket.destroy();
    await new Promise<void>((resolve) => server.close(() => resolve()));
    await rm(this.path, { force: true });
  }

  /** Makes a token whose connections go to `handler` until `forget`. */
  expect(handler: ConnectionHandler): string {
    const token = newId();
    this.#handlers.set(token, handler);
    return token;
  }

  forget(token: string): void {
    this.#handlers.delete(token);
  }

  #greet(socket: Socket): void {
    this.#open.add(socket);
    socket.once("close", () => this.#open.delete(socket));
    socket.on("error", () => socket.destroy());
    let held: Buffer = Buffer.alloc(0);
    const onData = (chunk: Buffer): void => {
      held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
      const end = held.indexOf(10);
      if (end < 0) {
        if (held.length > MAX_HELLO_BYTES) socket.destroy();
        return;
      }
      socket.off("data", onData);
      socket.pause();
      const [kind = "", token = ""] = held.toString("latin1", 0, end).split(" ");
      const handler = this.#handlers.get(token);
      if (!handler) {
        socket.destroy();
        return;
      }
      const rest = held.subarray(end + 1);
      if (rest.length > 0) socket.unshift(rest);
      handler(kind, socket);
    };
    socket.on("data", onData);
  }
}
