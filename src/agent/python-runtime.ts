import { mkdtemp, rm } from "node:fs/promises";
import { availableParallelism, hostname, tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import type { CallbackHost, CallbackOutcome, DueCallback } from "../domain/callback.ts";
import { tasksModuleOf, typescriptQueues } from "../domain/coordinator.ts";
import type { SerializedTimetable } from "../domain/dag-graph.ts";
import type { ParseRequest, ParseResult } from "../domain/parse-result.ts";
import type { Reply, TaskExecution, ToSupervisor } from "../domain/task-execution.ts";
import type { TimetableAnswer, TimetableQuestion } from "../domain/timetable/custom.ts";
import type { Workload } from "../domain/workload.ts";
import type { Kit, Service } from "../kit/service.ts";
import { AgentSocket } from "./agent-socket.ts";
import { BaseZygote } from "./base-zygote.ts";
import { CALLBACK_CONNECTIONS, superviseCallback } from "./callback-process.ts";
import { OomCounter } from "./exit-reason.ts";
import { DagZygote, TASK_CONNECTIONS } from "./dag-zygote.ts";
import type { ForkedChild } from "./forked-child.ts";
import { startForeign } from "./foreign-process.ts";
import { resendLoggingFd } from "./logging-relay.ts";
import { parseInChild } from "./parse-process.ts";
import { askPython, type PythonRequest } from "./python-request.ts";
import { TaskProcess } from "./task-process.ts";
import { DEFAULT_TIMETABLE_ASKER, TimetableAsker, type TimetableAskerConfig } from "./timetable-asker.ts";
import { Turnstile } from "./turnstile.ts";

export interface PythonRuntimeDeps {
  execution: TaskExecution;
  /** Answers what a DAG file asks for while it is parsed or imported (Variables, Connections). */
  parseHandler: (message: ToSupervisor) => Promise<Reply>;
  /** Makes sure that this machine has what the task needs (files, packages). Why it cannot is why the task could not start. */
  prepare?: (workload: Workload) => Promise<void>;
}

export interface PythonRuntimeConfig {
  /** The folder that holds the package leoflow_runtime. */
  runtimeDir: string;
  /** Where the socket goes, at most 70 bytes long; null: a folder of its own below the system's temporary folder. */
  socketDir: string | null;
  logsDir: string;
  workspace: string;
  /** Python executable of an environment. */
  environments: (name: string) => string;
  /** Folder of a DAG version's files. */
  versionDir: (archiveDigest: string) => string;
  /** All environment variables of the Python processes: PATH, HOME, AIRFLOW_HOME and so on. */
  env: Readonly<Record<string, string>>;
  /** How long an unused DAG zygote stays. */
  idleSeconds: number;
  graceMs: number;
  heartbeatMs: number;
  /** By which the control plane knows this machine; its own name if left out. */
  hostname?: string;
  timetables?: Partial<TimetableAskerConfig>;
  warmTimeoutMs?: number;
}

/** How long a new Python may take before the old one is kept: a plugin may never end its import. */
const WARM_TIMEOUT_MS = 120_000;
const TASK_OVERTIME_MS = 20_000;
/** A base zygote takes seconds to come back, so it stays longer than a DAG's. */
const IDLE_BASE_FACTOR = 10;
const START_ATTEMPTS = 3;
/** Airflow lets an executor's callback run for ever; here it would keep others from running. */
const MAX_CALLBACK_SECONDS = 3600;
/** Airflow's `task_startup_timeout` of a coordinator. */
const FOREIGN_START_MS = 10_000;
/** A connection test may wait for a network timeout. */
const REQUEST_TIMEOUT_MS = 60_000;
/** A socket path may have 100 bytes; its file name has 20. */
const MAX_SOCKET_DIR_BYTES = 70;

/** Runs tasks and parses files in forks of warm Python processes. */
export class PythonRuntime implements Service, CallbackHost {
  readonly #kit: Kit;
  readonly #deps: PythonRuntimeDeps;
  readonly #config: PythonRuntimeConfig;
  readonly #bases = new Map<string, { zygote: BaseZygote; usedAt: number }>();
  /** Replaced by others; they end when nothing runs in them any more. */
  readonly #retired = new Set<BaseZygote>();
  readonly #zygotes = new Map<string, DagZygote>();
  /** Those and the ones below retired bases, until they end. */
  readonly #alive = new Set<DagZygote>();
  readonly #tasks = new Map<string, { process: TaskProcess; done: Promise<void> }>();
  /** How many processes of an environment run triggers. */
  readonly #triggering = new Map<string, number>();
  #renewal: Promise<void> = Promise.resolve();
  readonly #timetables: TimetableAsker;
  readonly #typescriptQueues: ReadonlySet<string>;
  /** All at once they would keep each other from connecting in time. */
  readonly #foreignStarts = new Turnstile(availableParallelism());
  readonly #oom = new OomCounter();
  readonly #user: { hostname: string; unixname: string };
  #agent: AgentSocket | null = null;
  #temporaryDir: string | null = null;
  #idleTimer: NodeJS.Timeout | null = null;
  #stopping = false;
  #stopped: Promise<void> | null = null;

  constructor(kit: Kit, deps: PythonRuntimeDeps, config: PythonRuntimeConfig) {
    this.#kit = kit;
    this.#deps = deps;
    this.#config = config;
    this.#user = { hostname: config.hostname ?? hostname(), unixname: userInfo().username };
    this.#typescriptQueues = typescriptQueues(config.env);
    this.#timetables = new TimetableAsker(
      { control: (environment) => this.#base(environment).control(), handle: deps.parseHandler },
      { ...DEFAULT_TIMETABLE_ASKER, ...config.timetables },
    );
  }

  /** Opens the socket and begins to warm the default environment; does not wait for it. */
  async start(): Promise<void> {
    let { socketDir } = this.#config;
    if (socketDir === null || Buffer.byteLength(socketDir) > MAX_SOCKET_DIR_BYTES) {
      socketDir = await mkdtemp(join(tmpdir(), "leoflow-"));
      this.#temporaryDir = socketDir;
    }
    const agent = new AgentSocket(socketDir);
    await agent.start();
    this.#agent = agent;
    this.#idleTimer = setInterval(() => this.#endIdleBases(), this.#config.idleSeconds * 1000);
    this.#idleTimer.unref();
    this.#base("default")
      .control()
      .catch((error: unknown) => this.#kit.logger.error({ err: error }, "python does not start"));
  }

  /** Resolves when the environment's Python is warm. */
  async warm(environment = "default"): Promise<void> {
    await this.#base(environment).control();
  }

  /**
   * What Python imports before any file of the workspace has changed (plugins): whatever starts from now on starts in a new one,
   * as soon as that is warm. What runs goes on in the old one; so does all if the new one does not start.
   */
  renew(): Promise<void> {
    this.#renewal = this.#renewal.then(async () => {
      await Promise.all([...this.#bases.keys()].map((environment) => this.#renewBase(environment)));
    });
    return this.#renewal;
  }

  async #renewBase(environment: string): Promise<void> {
    if (this.#stopping) return;
    const fresh = this.#makeBase(environment);
    // Ended with the others if we are stopped meanwhile.
    this.#retired.add(fresh);
    const timer = setTimeout(() => void fresh.stop(), this.#config.warmTimeoutMs ?? WARM_TIMEOUT_MS);
    try {
      await fresh.control();
    } catch (error) {
      this.#kit.logger.error({ err: error, environment }, "Python does not start anew; the one from before goes on");
      return;
    } finally {
      clearTimeout(timer);
    }
    if (this.#stopping) return;
    const old = this.#bases.get(environment);
    if (old) this.#retired.add(old.zygote);
    this.#retired.delete(fresh);
    this.#bases.set(environment, { zygote: fresh, usedAt: performance.now() });
    // Unused ones end by themselves.
    for (const key of [...this.#zygotes.keys()]) if (environmentOf(key) === environment) this.#zygotes.delete(key);
  }

  /** Process id of the environment's base zygote, when it has one. */
  basePid(environment = "default"): number | null {
    return this.#base(environment).pid;
  }

  /** Tells running tasks to end, kills them after the grace period, waits until they are settled, ends Python. */
  async stop(graceMs = this.#config.graceMs): Promise<void> {
    this.#stopped ??= this.#stop(graceMs);
    await this.#stopped;
  }

  async #stop(graceMs: number): Promise<void> {
    if (!this.#agent) return;
    this.#stopping = true;
    if (this.#idleTimer) clearInterval(this.#idleTimer);
    for (const { process } of this.#tasks.values()) process.terminate("Leoflow is being stopped", graceMs);
    await Promise.allSettled([...this.#tasks.values()].map(({ done }) => done));
    for (const zygote of [...this.#alive]) zygote.stop();
    const bases = [...this.#bases.values()].map(({ zygote }) => zygote);
    await Promise.allSettled([...bases, ...this.#retired].map((zygote) => zygote.stop()));
    await this.#agent.stop();
    if (this.#temporaryDir) await rm(this.#temporaryDir, { recursive: true, force: true });
  }

  /** Runs one try to its end and reports it to the execution. A try that already runs here is waited for. */
  async runTask(workload: Workload): Promise<void> {
    const known = this.#tasks.get(workload.id);
    if (known) return known.done;
    const { logsDir, graceMs, heartbeatMs } = this.#config;
    const process = new TaskProcess(
      this.#kit,
      {
        execution: this.#deps.execution,
        oom: this.#oom,
        resendLoggingFd: (requestId, requests, onLogs) =>
          resendLoggingFd(this.#socket(), this.#config.environments(workload.environment), requestId, requests, onLogs),
      },
      {
        logsDir,
        graceMs,
        heartbeatMs,
        overtimeMs: TASK_OVERTIME_MS,
        ...this.#user,
      },
      workload,
    );
    const done = process.run(() => this.#takeChild(workload)).finally(() => this.#tasks.delete(workload.id));
    this.#tasks.set(workload.id, { process, done });
    return done;
  }

  /** Python that is killed under a start costs no try: another one forks the child. */
  async #takeChild(workload: Workload): Promise<ForkedChild> {
    await this.#deps.prepare?.(workload);
    if (this.#typescriptQueues.has(workload.queue)) return await this.#startTypeScript(workload);
    for (let attempt = 1; ; attempt++) {
      const zygote = this.#zygote(workload);
      try {
        return await zygote.take();
      } catch (error) {
        if (attempt === START_ATTEMPTS || this.#stopping || !zygote.wasKilled) throw error;
        this.#kit.logger.warn(
          { err: error, id: workload.id },
          "Python was killed under the start of a task; trying again",
        );
      }
    }
  }

  /** In the default environment: its Python is warm, and does no more than fork. */
  async #startTypeScript({ archiveDigest, dagRelPath, dagId, runId, taskId }: Workload): Promise<ForkedChild> {
    const { runtimeDir, versionDir } = this.#config;
    const directory = versionDir(archiveDigest);
    const command = [
      process.execPath,
      "--enable-source-maps",
      join(runtimeDir, "../dist/task-runner.js"),
      join(directory, tasksModuleOf(dagRelPath)),
    ];
    const program = { command, directory, dagId, runId, taskId };
    for (let attempt = 1; ; attempt++) {
      const control = await this.#base("default").control();
      try {
        return await this.#foreignStarts.run(() => startForeign(control, program, FOREIGN_START_MS));
      } catch (error) {
        if (attempt === START_ATTEMPTS || this.#stopping || control.isOpen) throw error;
      }
    }
  }

  /** Ends a try that runs here; false when it does not. */
  terminate(id: string, reason: string): boolean {
    const task = this.#tasks.get(id);
    task?.process.terminate(reason);
    return task !== undefined;
  }

  async runCallback(callback: DueCallback): Promise<CallbackOutcome> {
    const { logsDir } = this.#config;
    return await superviseCallback(
      this.#kit,
      {
        fork: async (one) => this.#zygote(one).fork({ op: "callback", data: one.data }, CALLBACK_CONNECTIONS),
        handle: this.#deps.parseHandler,
      },
      { logsDir, maxSeconds: MAX_CALLBACK_SECONDS },
      callback,
    );
  }

  async parseFile(request: ParseRequest): Promise<ParseResult> {
    const control = await this.#base(request.environment).control();
    return await parseInChild(control, request, this.#deps.parseHandler);
  }

  /** Asks a user's own timetable; resolves for whatever it does. */
  async askTimetable(
    environment: string,
    timetable: SerializedTimetable,
    question: TimetableQuestion,
  ): Promise<TimetableAnswer> {
    return await this.#timetables.ask(environment, timetable, question);
  }

  /** A process that runs triggers, connected as a task's is; `version` adds the modules of a DAG version. */
  async startTriggers(
    environment: string,
    version: { archiveDigest: string; dagRelPath: string } | null,
  ): Promise<ForkedChild> {
    const control = await this.#base(environment).control();
    const where = version && {
      directory: this.#config.versionDir(version.archiveDigest),
      file: version.dagRelPath,
      workspace: this.#config.workspace,
    };
    const child = control.fork({ op: "triggers", ...where }, TASK_CONNECTIONS);
    await child.connected;
    this.#triggering.set(environment, (this.#triggering.get(environment) ?? 0) + 1);
    void child.exited.then(() => this.#triggering.set(environment, (this.#triggering.get(environment) ?? 1) - 1));
    return child;
  }

  /** Asks the installed Airflow a small question: see leoflow_runtime/requests.py for the kinds. */
  async request(request: PythonRequest, environment = "default"): Promise<unknown> {
    return await askPython(await this.#base(environment).control(), request, REQUEST_TIMEOUT_MS);
  }

  #zygote({
    environment,
    archiveDigest,
    dagRelPath,
  }: Pick<Workload, "environment" | "archiveDigest" | "dagRelPath">): DagZygote {
    if (this.#stopping) throw new Error("Leoflow is being stopped");
    const key = JSON.stringify([environment, archiveDigest, dagRelPath]);
    const known = this.#zygotes.get(key);
    if (known && !known.isOver) return known;
    const made = new DagZygote(
      { agent: this.#socket(), base: this.#base(environment), importHandler: this.#deps.parseHandler },
      {
        directory: this.#config.versionDir(archiveDigest),
        file: dagRelPath,
        workspace: this.#config.workspace,
        idleMs: this.#config.idleSeconds * 1000,
        onEnd: () => {
          this.#alive.delete(made);
          if (this.#zygotes.get(key) === made) this.#zygotes.delete(key);
        },
      },
    );
    this.#zygotes.set(key, made);
    this.#alive.add(made);
    return made;
  }

  /** Projects come and go: an environment that was not used for a while, and runs neither task nor trigger, gives its memory back. */
  #endIdleBases(): void {
    for (const zygote of [...this.#retired].filter(({ isIdle, pid }) => isIdle || pid === null)) {
      this.#retired.delete(zygote);
      void zygote.stop();
    }
    const busy = new Set([...this.#zygotes.keys()].map(environmentOf));
    for (const [environment, { zygote, usedAt }] of this.#bases) {
      const idle = performance.now() - usedAt > this.#config.idleSeconds * 1000 * IDLE_BASE_FACTOR;
      const isBusy = busy.has(environment) || (this.#triggering.get(environment) ?? 0) > 0;
      if (environment === "default" || !idle || !zygote.isWarm || isBusy) continue;
      this.#bases.delete(environment);
      void zygote.stop();
    }
  }

  #base(environment: string): BaseZygote {
    const known = this.#bases.get(environment);
    if (known) {
      known.usedAt = performance.now();
      return known.zygote;
    }
    const zygote = this.#makeBase(environment);
    this.#bases.set(environment, { zygote, usedAt: performance.now() });
    return zygote;
  }

  #makeBase(environment: string): BaseZygote {
    const { runtimeDir, workspace, env } = this.#config;
    return new BaseZygote(
      this.#kit,
      { agent: this.#socket() },
      {
        python: this.#config.environments(environment),
        runtimeDir,
        cwd: workspace,
        env: {
          // The name we report; Airflow's default asks the DNS in every task.
          AIRFLOW__CORE__HOSTNAME_CALLABLE: "socket.gethostname",
          ...env,
          AIRFLOW__CORE__DAGS_FOLDER: workspace,
          AIRFLOW__CORE__LOAD_EXAMPLES: "False",
        },
      },
    );
  }

  #socket(): AgentSocket {
    if (!this.#agent) throw new Error("not started");
    return this.#agent;
  }
}

/** Of a DAG zygote's key. */
function environmentOf(key: string): string {
  return (JSON.parse(key) as [string])[0];
}
