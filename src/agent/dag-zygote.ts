import type { AgentSocket } from "./agent-socket.ts";
import type { BaseZygote } from "./base-zygote.ts";
import { describeExit, type ForkedChild } from "./forked-child.ts";
import { serveRequests } from "./frames.ts";
import type { Reply, ToSupervisor } from "../domain/task-execution.ts";
import { ZygoteControl } from "./zygote-control.ts";

export interface DagZygoteConfig {
  /** Folder of the version's files. */
  directory: string;
  /** The DAG's file below it. */
  file: string;
  workspace: string;
  idleMs: number;
  /** Called when the zygote has ended, for whatever reason. */
  onEnd: () => void;
}

export const TASK_CONNECTIONS = ["requests", "logs", "stdout", "stderr"] as const;

/**
 * A warm Python with one DAG file of one version imported. While it lives, one child waits connected: the next task starts
 * without the time a fork takes.
 */
export class DagZygote {
  readonly #config: DagZygoteConfig;
  readonly #control: Promise<ZygoteControl>;
  #process: ForkedChild | null = null;
  #spare: ForkedChild | null = null;
  #users = 0;
  #idleTimer: NodeJS.Timeout | null = null;
  #ended = false;

  constructor(
    deps: {
      agent: AgentSocket;
      base: BaseZygote;
      importHandler: (message: ToSupervisor) => Promise<Reply>;
    },
    config: DagZygoteConfig,
  ) {
    this.#config = config;
    this.#control = this.#start(deps);
    this.#control.then(
      (control) => void control.closed.then(() => this.#end()),
      () => this.#end(),
    );
  }

  get isOver(): boolean {
    return this.#ended;
  }

  /** It was killed, or Python was, before it could give a child: another may do. */
  get wasKilled(): boolean {
    return this.#ended && (this.#process === null || this.#process.exit?.signal === "SIGKILL");
  }

  /** A connected child that waits for its StartupDetails. */
  async take(): Promise<ForkedChild> {
    try {
      const child = await this.#lend((control) => {
        const spare = this.#spare;
        this.#spare = null;
        return spare && !spare.exit ? spare : this.#fork(control);
      });
      this.#keepSpare(await this.#control);
      return child;
    } catch (error) {
      const exit = this.#process?.exit;
      if (!exit) throw error;
      throw new Error(`the process that imports ${this.#config.file} ended: ${describeExit(exit)}`, { cause: error });
    }
  }

  /** A connected child that does something else than a task. */
  async fork(command: { op: string; [key: string]: unknown }, connections: readonly string[]): Promise<ForkedChild> {
    return await this.#lend((control) => control.fork(command, connections));
  }

  /** Counts as a user until the child is gone, or there will be none. */
  async #lend(make: (control: ZygoteControl) => ForkedChild): Promise<ForkedChild> {
    this.#users++;
    if (this.#idleTimer) clearTimeout(this.#idleTimer);
    const child = await this.#control.then(make).catch((error: unknown) => {
      this.#release();
      throw error;
    });
    void child.exited.then(() => this.#release());
    await child.connected;
    return child;
  }

  #release(): void {
    this.#users--;
    if (this.#users > 0 || this.#ended) return;
    this.#idleTimer = setTimeout(() => this.stop(), this.#config.idleMs);
    this.#idleTimer.unref();
  }

  stop(): void {
    this.#end();
    this.#control.then(
      (control) => control.end(),
      () => undefined,
    );
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    if (this.#idleTimer) clearTimeout(this.#idleTimer);
    this.#config.onEnd();
  }

  #keepSpare(control: ZygoteControl): void {
    if (this.#spare && !this.#spare.exit) return;
    if (!this.#ended && control.isOpen) this.#spare = this.#fork(control);
  }

  #fork(control: ZygoteControl): ForkedChild {
    return control.fork({ op: "task" }, TASK_CONNECTIONS);
  }

  async #start(deps: {
    agent: AgentSocket;
    base: BaseZygote;
    importHandler: (message: ToSupervisor) => Promise<Reply>;
  }): Promise<ZygoteControl> {
    const base = await deps.base.control();
    const { directory, file, workspace } = this.#config;
    const child = base.fork({ op: "zygote", directory, file, workspace }, ["zygote"], { outlives: true });
    this.#process = child;
    // What the DAG file asks for while it is imported (Variables, Connections) is answered as for a parse.
    child.onSocket("import", (socket) => {
      serveRequests(socket, deps.importHandler, () => undefined);
      socket.resume();
    });
    await child.connected;
    return new ZygoteControl(deps.agent, child.socket("zygote"));
  }
}
