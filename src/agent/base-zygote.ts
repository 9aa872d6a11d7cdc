import { spawn, type ChildProcess } from "node:child_process";
import type { Socket } from "node:net";
import type { Kit } from "../kit/service.ts";
import type { AgentSocket } from "./agent-socket.ts";
import { killGroup, ZygoteControl } from "./zygote-control.ts";

export interface BaseZygoteConfig {
  python: string;
  runtimeDir: string;
  cwd: string;
  env: Readonly<Record<string, string>>;
}

const BOOT = "import sys; sys.path[0] = sys.argv[1]; from leoflow_runtime.zygote import main; main()";
const KEPT_OUTPUT_CHARS = 4000;
/** How long a zygote may take to end all it started. */
const END_MS = 1500;

/** The warm Python of one environment. Started when first needed, and again after it ended unexpectedly. */
export class BaseZygote {
  readonly #kit: Kit;
  readonly #agent: AgentSocket;
  readonly #config: BaseZygoteConfig;
  #running: Promise<ZygoteControl> | null = null;
  #process: ChildProcess | null = null;
  /** Set once it is ready. */
  #control: ZygoteControl | null = null;
  #gone: Promise<void> = Promise.resolve();
  #stopping = false;

  constructor(kit: Kit, deps: { agent: AgentSocket }, config: BaseZygoteConfig) {
    this.#kit = kit;
    this.#agent = deps.agent;
    this.#config = config;
  }

  get pid(): number | null {
    return this.#process?.pid ?? null;
  }

  get isWarm(): boolean {
    return this.#control !== null;
  }

  /** Nothing runs in it, and nobody waits for it. */
  get isIdle(): boolean {
    return this.#control !== null && !this.#control.isBusy;
  }

  /** A ready zygote; starts one if there is none. Rejects with Python's last words when it cannot start. */
  control(): Promise<ZygoteControl> {
    if (this.#stopping) return Promise.reject(new Error("Python is being stopped"));
    this.#running ??= this.#start().catch((error: unknown) => {
      this.#running = null;
      throw error;
    });
    return this.#running;
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    const child = this.#process;
    if (!child) return;
    const kill = (): void => {
      if (child.pid) killGroup(child.pid, "SIGKILL");
    };
    if (this.#control) this.#control.end();
    else kill();
    const timer = setTimeout(kill, END_MS);
    await this.#gone;
    clearTimeout(timer);
  }

  async #start(): Promise<ZygoteControl> {
    const started = performance.now();
    const { python, runtimeDir, cwd, env } = this.#config;
    const child = spawn(python, ["-c", BOOT, runtimeDir, this.#agent.path, "3"], {
      cwd,
      env,
      // A session of its own: Ctrl-C at the terminal is for us; we tell Python when to end.
      detached: true,
      stdio: ["ignore", "pipe", "pipe", "pipe"],
    });
    this.#process = child;
    let output = "";
    const listen = (stream: NodeJS.ReadableStream): void => {
      stream.setEncoding("utf8");
      stream.on("data", (text: string) => {
        output = (output + text).slice(-KEPT_OUTPUT_CHARS);
        this.#kit.logger.debug({ python, text: text.trimEnd() }, "python output");
      });
    };
    if (child.stdout) listen(child.stdout);
    if (child.stderr) listen(child.stderr);
    let failed: Error | null = null;
    this.#gone = new Promise((resolve) => {
      child.once("error", (error) => {
        failed = error;
        resolve();
      });
      child.once("exit", (code, signal) => {
        failed ??= new Error(`Python ended (${signal ?? `exit code ${code}`})`);
        resolve();
      });
    });
    const control = new ZygoteControl(this.#agent, child.stdio[3] as Socket);
    void this.#gone.then(() => {
      if (this.#process === child) {
        this.#process = null;
        this.#running = null;
        this.#control = null;
      }
      if (!this.#stopping) this.#kit.logger.warn({ python, output, error: failed?.message }, "python zygote ended");
    });
    const ready = await Promise.race([control.ready.then(() => true), this.#gone.then(() => false)]);
    if (!ready) {
      throw new Error(
        `${python} did not start: ${(failed as Error | null)?.message ?? "unknown reason"}\n${output.trimEnd()}`,
      );
    }
    this.#control = control;
    this.#kit.logger.info({ python, pid: child.pid, ms: Math.round(performance.now() - started) }, "python is warm");
    return control;
  }
}
