import type { Socket } from "node:net";

export interface ChildExit {
  code: number | null;
  signal: string | null;
}

/** How long after its end a child's connections may still come in. */
export const LATE_CONNECTION_MS = 500;

/** A process that a zygote forks for us. It is usable once its pid is known and its connections have arrived. */
export class ForkedChild {
  readonly token: string;
  /** Resolves with its pid when it has one, which may be never. */
  readonly forked: Promise<number>;
  /** Resolves when the child can be talked to; rejects when it ended before. */
  readonly connected: Promise<void>;
  /** Resolves when it is gone, however it went. */
  readonly exited: Promise<ChildExit>;
  readonly #expected: Set<string>;
  readonly #sockets = new Map<string, Socket>();
  readonly #listeners = new Map<string, (socket: Socket) => void>();
  readonly #signal: (child: ForkedChild, signal: NodeJS.Signals) => void;
  #pid: number | null = null;
  #exit: ChildExit | null = null;
  #isConnected = false;
  #killWhenForked: NodeJS.Signals | null = null;
  #resolvePid!: (pid: number) => void;
  #connect!: () => void;
  #failConnect!: (error: Error) => void;
  #resolveExit!: (exit: ChildExit) => void;

  constructor(
    token: string,
    connections: readonly string[],
    signal: (child: ForkedChild, signal: NodeJS.Signals) => void,
  ) {
    this.token = token;
    this.#expected = new Set(connections);
    this.#signal = signal;
    this.forked = new Promise((resolve) => (this.#resolvePid = resolve));
    this.connected = new Promise((resolve, reject) => {
      this.#connect = resolve;
      this.#failConnect = reject;
    });
    this.connected.catch(() => undefined);
    this.exited = new Promise((resolve) => (this.#resolveExit = resolve));
  }

  get pid(): number {
    if (this.#pid === null) throw new Error("not forked yet");
    return this.#pid;
  }

  get exit(): ChildExit | null {
    return this.#exit;
  }

  /** A connection the child opened; paused until the taker resumes it. */
  socket(kind: string): Socket {
    const socket = this.#sockets.get(kind);
    if (!socket) throw new Error(`no ${kind} connection`);
    return socket;
  }

  /** Signals the process group; SIGKILL reaches descendants that left the group too. */
  kill(signal: NodeJS.Signals): void {
    if (this.#exit) return;
    if (this.#pid === null) this.#killWhenForked = signal;
    else this.#signal(this, signal);
  }

  /** Takes a connection that the child may or may not open. */
  onSocket(kind: string, listener: (socket: Socket) => void): void {
    this.#listeners.set(kind, listener);
  }

  addSocket(kind: string, socket: Socket): void {
    this.#sockets.set(kind, socket);
    this.#listeners.get(kind)?.(socket);
    this.#check();
  }

  setPid(pid: number): void {
    this.#pid = pid;
    this.#resolvePid(pid);
    if (this.#killWhenForked) this.#signal(this, this.#killWhenForked);
    this.#check();
  }

  /** Word of its end may overtake the connections of a short-lived child: they still count for a moment. */
  setExit(exit: ChildExit): void {
    if (this.#exit) return;
    this.#exit = exit;
    const fail = (): void => this.#failConnect(new Error(`ended before it connected: ${describeExit(exit)}`));
    if (exit.signal === null && !this.#isConnected) setTimeout(fail, LATE_CONNECTION_MS);
    else fail();
    this.#resolveExit(exit);
  }

  get isConnected(): boolean {
    return this.#isConnected;
  }

  /** Lets go of connections that something may still hold open at the other end. */
  destroySockets(): void {
    for (const socket of this.#sockets.values()) socket.destroy();
  }

  #check(): void {
    if (this.#pid === null || ![...this.#expected].every((kind) => this.#sockets.has(kind))) return;
    this.#isConnected = true;
    this.#connect();
  }
}

export function describeExit(exit: ChildExit): string {
  return exit.signal ? `killed by ${exit.signal}` : `exit code ${exit.code}`;
}
