import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { pino } from "pino";
import type { Reply, StartAnswer, TaskExecution, ToSupervisor } from "../../src/domain/task-execution.ts";
import type { ProcessExit } from "../../src/domain/task-execution.ts";
import type { Workload } from "../../src/domain/workload.ts";
import { PythonRuntime, type PythonRuntimeConfig } from "../../src/agent/python-runtime.ts";
import { systemClock } from "../../src/kit/clock.ts";
import { newId } from "../../src/kit/ids.ts";
import { toJsonText } from "../../src/kit/json-text.ts";
import { instantFromMs } from "../../src/kit/instant.ts";
import { until } from "./until.ts";

const root = join(import.meta.dirname, "../..");

/** The Python that has Airflow: LEOFLOW_TEST_VENV, or the venv that the test run has prepared. */
export function testPython(): string {
  const venv = process.env["LEOFLOW_TEST_VENV"] ?? join(root, ".cache/test-home/.leoflow/venv");
  const python = join(venv, "bin/python");
  if (!existsSync(python)) throw new Error(`no Python with Airflow at ${python}; set LEOFLOW_TEST_VENV`);
  return python;
}

export const testKit = {
  logger: pino({ level: process.env["LEOFLOW_TEST_LOG"] ?? "silent" }),
  clock: systemClock,
};

/** Records what the agent asks of the control plane, and answers as one where everything goes well. */
export class RecordingExecution implements TaskExecution {
  readonly requests: { id: string; message: ToSupervisor }[] = [];
  readonly exits = new Map<string, ProcessExit>();
  readonly started: string[] = [];
  readonly pids = new Map<string, number>();
  context: Record<string, unknown> = {};
  answers = new Map<string, (message: ToSupervisor, id: string) => Reply | Promise<Reply>>();
  onStart: (id: string) => StartAnswer | null = () => null;
  heartbeatAnswer: "alive" | "gone" = "alive";
  readonly #waiting: { matches: () => boolean; resolve: () => void }[] = [];

  async start(id: string, worker: { pid: number }): Promise<StartAnswer> {
    this.started.push(id);
    this.pids.set(id, worker.pid);
    this.#check();
    return this.onStart(id) ?? { kind: "started", context: toJsonText(taskContext(this.context)) };
  }

  async heartbeat(): Promise<"alive" | "gone"> {
    return this.heartbeatAnswer;
  }

  async handle(id: string, message: ToSupervisor): Promise<Reply> {
    this.requests.push({ id, message });
    this.#check();
    return (await this.answers.get(message.type)?.(message, id)) ?? { body: null };
  }

  async exited(id: string, exit: ProcessExit): Promise<void> {
    this.exits.set(id, exit);
    this.#check();
  }

  /** Messages of this type, oldest first. */
  sent(type: string, id?: string): ToSupervisor[] {
    return this.requests
      .filter((request) => request.message.type === type && (id === undefined || request.id === id))
      .map((request) => request.message);
  }

  async until(matches: () => boolean): Promise<void> {
    if (matches()) return;
    await new Promise<void>((resolve) => this.#waiting.push({ matches, resolve }));
  }

  #check(): void {
    for (const waiting of this.#waiting) if (waiting.matches()) waiting.resolve();
  }
}

export function taskContext(changes: Record<string, unknown> = {}): Record<string, unknown> {
  const now = instantFromMs(Date.now());
  return {
    dag_run: {
      dag_id: "d",
      run_id: "r1",
      logical_date: now,
      data_interval_start: now,
      data_interval_end: now,
      run_after: now,
      start_date: now,
      end_date: null,
      clear_number: 0,
      run_type: "manual",
      state: "running",
      conf: {},
      triggering_user_name: null,
      consumed_asset_events: [],
      partition_key: null,
    },
    task_reschedule_count: 0,
    max_tries: 0,
    variables: [],
    connections: [],
    xcom_keys_to_clear: [],
    should_retry: false,
    ...changes,
  };
}

export interface TestRuntime {
  runtime: PythonRuntime;
  execution: RecordingExecution;
  home: string;
  workspace: string;
  /** Environment of its Python processes. */
  env: Record<string, string>;
  /** A folder that test DAGs write to: `TEST_FLAGS` in their environment. */
  flags: string;
  /** Writes a file of the workspace, which is also the one version that tasks run on. */
  write(path: string, text: string): void;
  workload(changes: Partial<Workload>): Workload;
}

/** A PythonRuntime with a home of its own; `variables` are added to its environment. Stop it in afterAll. */
export async function startTestRuntime(
  config: Partial<PythonRuntimeConfig> = {},
  variables: Record<string, string> = {},
): Promise<TestRuntime> {
  const home = mkdtempSync(join(tmpdir(), "leoflow-agent-test-"));
  const env = { ...pythonEnv(home), ...variables };
  const workspace = join(home, "workspace");
  const flags = join(home, "flags");
  mkdirSync(workspace);
  mkdirSync(flags);
  const execution = new RecordingExecution();
  const runtime = new PythonRuntime(
    testKit,
    { execution, parseHandler: (message) => execution.handle("parse", message) },
    {
      runtimeDir: join(root, "python"),
      socketDir: null,
      logsDir: join(home, "logs"),
      workspace,
      environments: testPython,
      versionDir: () => workspace,
      env,
      idleSeconds: 60,
      graceMs: 2000,
      heartbeatMs: 5000,
      ...config,
    },
  );
  await runtime.start();
  return {
    runtime,
    execution,
    home,
    workspace,
    env,
    flags,
    write(path, text) {
      mkdirSync(dirname(join(workspace, path)), { recursive: true });
      writeFileSync(join(workspace, path), text);
    },
    workload: (changes) => ({
      id: newId(),
      dagId: "d",
      taskId: "t",
      runId: "r1",
      mapIndex: -1,
      tryNumber: 1,
      dagVersionId: newId(),
      queue: "default",
      poolSlots: 1,
      priorityWeight: 1,
      executorConfig: null,
      dagRelPath: "d.py",
      bundle: { name: "dags-folder", version: null },
      archiveDigest: "v1",
      environment: "default",
      ...changes,
    }),
  };
}

function pythonEnv(home: string): Record<string, string> {
  const { PATH = "" } = process.env;
  return { PATH, HOME: home, AIRFLOW_HOME: join(home, "airflow"), LANG: "C.UTF-8", TEST_FLAGS: join(home, "flags") };
}

/** Waits for something that no event tells. */
export function untilTrue(condition: () => boolean, withinMs = 10_000): Promise<void> {
  return until("what the test waits for", condition, withinMs / 1000);
}

/** Processes that work in this runtime's home, zombies apart, as "pid command line". */
export function processesNow({ home }: { home: string }): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        // A process title of its own overwrites the environment, so that is no mark.
        if (!readlinkSync(`/proc/${pid}/cwd`).startsWith(home)) return [];
        return [`${pid} ${readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ")}`];
      } catch {
        return [];
      }
    });
}

/** As processesNow, after waiting a while for there to be none. */
export async function processesAlive(runtime: { home: string }, withinMs = 2000): Promise<string[]> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    const found = processesNow(runtime);
    if (found.length === 0 || performance.now() > deadline) return found;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
