import { mkdirSync, rmSync } from "node:fs";
import { userInfo } from "node:os";
import { join } from "node:path";
import { PythonRuntime } from "../agent/python-runtime.ts";
import { AGENT_HEARTBEAT_MS, type AgentHeartbeatAnswer, type LeaseAnswer } from "../domain/agent-protocol.ts";
import type { Workload } from "../domain/workload.ts";
import { LocalExecutor, type TaskRunner } from "../executors/local/local-executor.ts";
import { childEnvironment } from "../kit/config.ts";
import { keepLittleGarbage } from "../kit/garbage.ts";
import type { Kit } from "../kit/service.ts";
import { UserError } from "../kit/user-error.ts";
import { programVersion } from "../kit/version.ts";
import { acquireHomeLock } from "../lite/home-lock.ts";
import type { LeoflowPaths } from "../lite/paths.ts";
import { checkDiskSpace } from "../lite/preconditions.ts";
import type { Progress } from "../lite/progress.ts";
import { ensurePython } from "../lite/python/base-python.ts";
import { Toolchain } from "../lite/python/toolchain.ts";
import { undoing, type Undo } from "../lite/undoing.ts";
import { LeaseLoop } from "./lease-loop.ts";
import { LogShipper } from "./log-shipper.ts";
import { ProjectPackages } from "./project-packages.ts";
import { RemoteExecution } from "./remote-execution.ts";
import { reasonOf, ServerClient } from "./server-client.ts";
import { openSession, refusal, type Session } from "./session.ts";
import { VERSION_LIMITS, VersionFiles } from "./version-files.ts";

export interface AgentOptions {
  kit: Kit;
  paths: LeoflowPaths;
  progress: Progress;
  server: URL;
  token: string;
  hostname: string;
  /** Tasks at a time. */
  concurrency: number;
  /** Those of the token; null: all of them. */
  queues: string[] | null;
  /** Calls the start off. */
  signal: AbortSignal;
  /** It cannot go on: the token is none any more. */
  onFailure: (error: UserError) => void;
}

export interface RunningAgent {
  session: Session;
  /** Takes no more work; resolves when nothing runs any more and the server knows of it. */
  drain(): Promise<void>;
  /** Tasks that run, or are told to the server. */
  held(): number;
  /** Ends what runs, tells the server, and ends all Python. */
  stop(): Promise<void>;
}

/** From SIGTERM to SIGKILL of a task that is not to go on. */
const GRACE_MS = 2_000;
/** How often a task's supervisor looks at what the server has answered. */
const LOOK_MS = 1_000;
const CHECK_MS = 500;
const SIGN_MS = 10_000;
const LEAVE_MS = 5_000;
const HOUR_MS = 3_600_000;

/** Sets an agent up and starts it: returns when the server has taken it and its Python is installed. */
export function startAgent(options: AgentOptions): Promise<RunningAgent> {
  return undoing((undo) => start(options, undo));
}

async function start(options: AgentOptions, undo: Undo): Promise<Omit<RunningAgent, "stop">> {
  keepLittleGarbage();
  const { kit, paths, progress, signal, server, token, hostname, concurrency } = options;
  const held = await acquireHomeLock(paths.lock);
  if ("heldBy" in held) {
    throw new UserError(`process ${held.heldBy.pid} already runs on ${paths.home}`, {
      fix: "give the agent a folder of its own with --home",
    });
  }
  undo.push(() => held.lock.release());
  checkDiskSpace(paths.home, false);
  const toolchain = new Toolchain(paths, progress, signal);
  const python = await ensurePython(paths, progress, toolchain);
  signal.throwIfAborted();

  const folders = {
    // Also Airflow's own name for it, for what DAG files say of it.
    workspace: join(paths.home, "workspace"),
    airflow: join(paths.home, "airflow"),
    logs: join(paths.logs, "tasks"),
  };
  // What is there is a killed agent's: the server has given its tries to others.
  rmSync(folders.logs, { recursive: true, force: true });
  for (const folder of [...Object.values(folders), paths.versions]) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  }
  const client = new ServerClient(kit, { server, token });
  undo.push(() => client.close());
  const logs = new LogShipper(kit, client, { logsDir: folders.logs });
  const execution = new RemoteExecution(client, logs);
  const versions = new VersionFiles(kit, client, { folder: paths.versions, ...VERSION_LIMITS });
  const packages = new ProjectPackages(kit, { paths, basePython: python.executable, toolchain, versions });
  undo.push(() => packages.stop());
  const runtime = new PythonRuntime(
    kit,
    {
      execution,
      parseHandler: (message) => execution.handleImport(current, message),
      prepare: async ({ archiveDigest, environment }) => {
        await versions.ensure(archiveDigest);
        await packages.ensure(environment, archiveDigest);
      },
    },
    {
      runtimeDir: paths.runtime,
      socketDir: null,
      logsDir: folders.logs,
      workspace: folders.workspace,
      environments: (name) => (name === "default" ? python.executable : join(paths.projectVenvs, name, "bin/python")),
      versionDir: (digest) => versions.folderOf(digest),
      env: childEnvironment({
        AIRFLOW_HOME: folders.airflow,
        AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST: undefined,
      }),
      idleSeconds: 60,
      graceMs: GRACE_MS,
      heartbeatMs: LOOK_MS,
      hostname,
    },
  );

  let current: Session | null = null;
  let isDraining = false;
  const idle = new Set<() => void>();
  /** Versions of the tasks that run, by their ids. */
  const running = new Map<string, string>();
  const runner: TaskRunner = {
    async runTask(workload: Workload): Promise<void> {
      const session = current;
      if (!session || session.over.aborted) return;
      running.set(workload.id, workload.archiveDigest);
      execution.hold(workload.id, session);
      logs.open(workload, session);
      try {
        await runtime.runTask(workload);
      } finally {
        execution.release(workload.id);
        await logs.close(workload.id);
        running.delete(workload.id);
        // The executor counts it until this has returned.
        setImmediate(changed);
      }
    },
    terminate: (id, reason) => runtime.terminate(id, reason),
  };
  const executor = new LocalExecutor(kit, { runner }, { parallelism: concurrency });
  const loop = new LeaseLoop(kit, {
    client,
    free: () => (isDraining ? 0 : Math.max(0, concurrency - executor.held().size)),
    take({ workloads, ended }: LeaseAnswer) {
      executor.enqueue(workloads);
      for (const { id, reason } of ended) executor.terminate([id], reason);
    },
    onRefused: () => refused("the server has taken it back"),
  });
  const changed = (): void => {
    loop.changed();
    if (executor.held().size > 0) return;
    for (const resolve of idle) resolve();
    idle.clear();
  };
  const nothingRuns = async (): Promise<void> => {
    while (executor.held().size > 0) await new Promise<void>((resolve) => idle.add(resolve));
  };
  const stopped = new AbortController();
  const refused = (detail: string): void => {
    if (stopped.signal.aborted) return;
    stopped.abort();
    current?.end("the agent's token is not accepted any more");
    options.onFailure(refusal(client.server, 401, detail));
  };

  const hello = {
    hostname,
    pid: process.pid,
    unixname: userInfo().username,
    version: programVersion,
    concurrency,
    queues: options.queues,
  };
  const open = async (): Promise<Session> => {
    const session = await openSession(client, hello, AbortSignal.any([signal, stopped.signal]), (reason) =>
      progress.note(`waiting for ${client.server}: ${reason}`),
    );
    current = session;
    const { agent, queues, serverVersion, sessionId } = session.welcome;
    kit.logger.info({ agent, queues, serverVersion, sessionId }, "the server has taken this agent");
    session.over.addEventListener("abort", () => {
      const { message } = session.over.reason as Error;
      const level = stopped.signal.aborted ? "info" : "warn";
      kit.logger[level]({ sessionId, tasks: running.size, reason: message }, "the session is over");
      for (const id of executor.held()) executor.terminate([id], message);
    });
    return session;
  };
  const session = await open();

  undo.push(() => executor.stop());
  undo.push(async () => {
    stopped.abort();
    execution.isLeaving = true;
    isDraining = true;
    changed();
    const limit = setTimeout(() => current?.end("the agent ends"), LEAVE_MS + GRACE_MS);
    await runtime.stop();
    clearTimeout(limit);
    if (current && !current.over.aborted) await leave(client, current);
    current?.end("the agent ends");
  });
  await runtime.start();
  await executor.start();

  const beat = new Heartbeat(kit, client, execution, {
    end: (id, reason) => executor.terminate([id], reason),
    onRefused: () => refused("the server has taken it back"),
  });
  const check = setInterval(() => current?.check(), CHECK_MS);
  undo.push(() => clearInterval(check));
  const clean = (): void => void versions.collectGarbage(new Set(running.values()));
  const cleaning = setInterval(clean, HOUR_MS);
  undo.push(() => clearInterval(cleaning));
  clean();

  void (async () => {
    for (let one = session; !stopped.signal.aborted; one = await open()) {
      const stopBeating = beat.start(one);
      await loop.run(one);
      stopBeating();
      // A new session must not be given what still runs here; nor may anybody else, so only then the old one is given up.
      await nothingRuns();
      if (!stopped.signal.aborted) await leave(client, one);
    }
  })().catch((error: unknown) => {
    if (stopped.signal.aborted || signal.aborted) return;
    options.onFailure(error instanceof UserError ? error : new UserError(reasonOf(error), { cause: error }));
  });

  return {
    session,
    held: () => executor.held().size,
    async drain() {
      isDraining = true;
      changed();
      await nothingRuns();
    },
  };
}

/** Best effort: a server that does not hear of it finds out by itself. */
async function leave(client: ServerClient, session: Session): Promise<void> {
  const signal = AbortSignal.timeout(LEAVE_MS);
  await client.once({ method: "DELETE", path: session.path, signal }, "own").catch(() => undefined);
}

/** Tells the server that this agent lives, and what it runs. */
class Heartbeat {
  readonly #kit: Kit;
  readonly #client: ServerClient;
  readonly #execution: RemoteExecution;
  readonly #deps: { end(id: string, reason: string): void; onRefused(): void };

  constructor(
    kit: Kit,
    client: ServerClient,
    execution: RemoteExecution,
    deps: { end(id: string, reason: string): void; onRefused(): void },
  ) {
    this.#kit = kit;
    this.#client = client;
    this.#execution = execution;
    this.#deps = deps;
  }

  start(session: Session): () => void {
    const everyMs = Math.min(AGENT_HEARTBEAT_MS, session.welcome.lostAfterMs / 9);
    let isBeating = false;
    const timer = setInterval(() => {
      if (isBeating || session.over.aborted) return;
      isBeating = true;
      void this.#beat(session).finally(() => (isBeating = false));
    }, everyMs);
    return () => clearInterval(timer);
  }

  async #beat(session: Session): Promise<void> {
    const sentAt = performance.now();
    const tasks = this.#execution.held(session);
    try {
      const answer = await this.#client.once(
        {
          method: "POST",
          path: `${session.path}/heartbeat`,
          body: { tasks },
          timeoutMs: Math.min(SIGN_MS, session.welcome.lostAfterMs / 3),
          signal: session.over,
        },
        "own",
      );
      if (answer.status === 401) return this.#deps.onRefused();
      if (answer.status === 410 || answer.status === 404) return session.end("the server has given this agent up");
      if (answer.status !== 200) throw new Error(`HTTP ${answer.status}`);
      session.lived(sentAt);
      const { ended } = JSON.parse(answer.body.toString("utf8")) as AgentHeartbeatAnswer;
      const waiting = new Set(tasks.filter(({ pid }) => pid === null).map(({ id }) => id));
      for (const { id, answer: verdict } of ended) {
        // The supervisor of one that runs looks by itself, and knows whether it has just ended.
        if (waiting.has(id)) this.#deps.end(id, `the control plane says: ${verdict}`);
        else this.#execution.deny(id, verdict);
      }
    } catch (error) {
      if (!session.over.aborted) this.#kit.logger.warn({ reason: reasonOf(error) }, "a sign of life was not answered");
    }
  }
}
