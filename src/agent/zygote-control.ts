import { constants } from "node:os";
import type { Socket } from "node:net";
import type { AgentSocket } from "./agent-socket.ts";
import { ForkedChild, LATE_CONNECTION_MS, type ChildExit } from "./forked-child.ts";

type ZygoteEvent =
  | { event: "ready"; pid: number }
  | { event: "forked"; token: string; pid: number }
  | { event: "exit"; token: string; pid: number; code: number };

const SIGNAL_NAMES = new Map(Object.entries(constants.signals).map(([name, number]) => [number, name]));

/** Commands to one zygote and what it reports about its children, as JSON lines. */
export class ZygoteControl {
  /** Resolves when the zygote takes part; it accepts commands before that and works on them then. */
  readonly ready: Promise<void>;
  readonly closed: Promise<void>;
  readonly #agent: AgentSocket;
  readonly #socket: Socket;
  readonly #children = new Map<string, ForkedChild>();
  readonly #independent = new Set<string>();
  #isReady!: () => void;
  #open = true;

  constructor(agent: AgentSocket, socket: Socket) {
    this.#agent = agent;
    this.#socket = socket;
    this.ready = new Promise((resolve) => (this.#isReady = resolve));
    let held = "";
    socket.setEncoding("utf8");
    socket.on("data", (chunk: string) => {
      const lines = (held + chunk).split("\n");
      held = lines.pop() ?? "";
      for (const line of lines) this.#hear(JSON.parse(line) as ZygoteEvent);
    });
    socket.on("error", () => socket.destroy());
    this.closed = new Promise((resolve) => {
      socket.once("close", () => {
        this.#lose();
        resolve();
      });
    });
    socket.resume();
  }

  get isOpen(): boolean {
    return this.#open;
  }

  /** It has children, or is about to. */
  get isBusy(): boolean {
    return this.#children.size > 0;
  }

  /** Has a child forked that opens these connections to us. `outlives`: it goes on when this zygote ends. */
  fork(
    command: { op: string; [key: string]: unknown },
    connections: readonly string[],
    options: { outlives?: boolean } = {},
  ): ForkedChild {
    const token = this.#agent.expect((kind, socket) => child.addSocket(kind, socket));
    const child = new ForkedChild(token, connections, (forked, signal) => this.#signal(forked, signal));
    if (!this.#open) {
      this.#agent.forget(token);
      child.setExit({ code: null, signal: "SIGKILL" });
      return child;
    }
    this.#children.set(token, child);
    if (options.outlives) this.#independent.add(token);
    this.#send({ ...command, token });
    return child;
  }

  /** Tells the zygote to end, with all it started. */
  end(): void {
    this.#send({ op: "end" });
    this.#socket.end();
  }

  #signal(child: ForkedChild, signal: NodeJS.Signals): void {
    // Only the zygote finds descendants that left the group; it also knows that the pid still is this child's.
    if (signal === "SIGKILL" && this.#open) this.#send({ op: "kill", pid: child.pid });
    else killGroup(child.pid, signal);
  }

  #send(command: object): void {
    if (this.#socket.writable) this.#socket.write(`${JSON.stringify(command)}\n`);
  }

  #hear(event: ZygoteEvent): void {
    switch (event.event) {
      case "ready":
        return this.#isReady();
      case "forked":
        return this.#children.get(event.token)?.setPid(event.pid);
      case "exit":
        return this.#settle(
          event.token,
          event.code < 0
            ? { code: null, signal: SIGNAL_NAMES.get(-event.code) ?? `SIG${-event.code}` }
            : { code: event.code, signal: null },
        );
    }
  }

  #settle(token: string, exit: ChildExit): void {
    const child = this.#children.get(token);
    if (child && !child.isConnected) setTimeout(() => this.#agent.forget(token), LATE_CONNECTION_MS);
    else this.#agent.forget(token);
    child?.setExit(exit);
    this.#children.delete(token);
    this.#independent.delete(token);
  }

  /** The zygote is gone: its children die with it (PR_SET_PDEATHSIG); their groups are ours to end. */
  #lose(): void {
    this.#open = false;
    for (const [token, child] of this.#children) {
      if (!this.#independent.has(token)) this.#giveUp(token, child);
      // One that was on its way goes on if it arrives; nobody would ever tell that it does not.
      else if (!child.isConnected) {
        setTimeout(() => {
          if (!child.isConnected) this.#giveUp(token, child);
        }, LATE_CONNECTION_MS);
      }
    }
  }

  #giveUp(token: string, child: ForkedChild): void {
    child.kill("SIGKILL");
    this.#settle(token, { code: null, signal: "SIGKILL" });
  }
}

export function killGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // It is gone already.
  }
}
