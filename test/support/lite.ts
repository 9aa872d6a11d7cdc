import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { mkdirSync, readFileSync, readlinkSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { dirname, join } from "node:path";
import { Client } from "../../bench/client.ts";
import { buildIfStale } from "../../bin/set-up.mjs";
import { createHome } from "./home.ts";
import { until } from "./until.ts";

export { until };

const root = join(import.meta.dirname, "../..");
export const PASSWORD = "end-to-end-password";
export const ADMIN = "admin@leoflow.local";

/** A home with a workspace, in which Lite can be started again and again. */
export interface LiteHome {
  home: string;
  workspace: string;
  port: number;
  /** `program` is another Leoflow than the home's, for this start. */
  start(options?: { args?: string[]; env?: Record<string, string>; program?: readonly string[] }): Promise<Lite>;
  /** Ends what still runs and deletes all. */
  remove(): Promise<void>;
}

export interface Lite {
  base: string;
  client: Client;
  process: ChildProcess;
  pid: number;
  readyMs: number;
  output(): string;
  /** SIGTERM, as Ctrl-C does; returns milliseconds until it ended and its exit code. */
  stop(): Promise<{ ms: number; code: number | null }>;
}

/** `program` is the command of an installed Leoflow; without it this tree's is built and run. */
export async function createLiteHome(program?: readonly string[]): Promise<LiteHome> {
  if (!program) buildIfStale();
  const command = program ?? [process.execPath, join(root, "bin/leoflow")];
  const { paths, remove } = createHome();
  const workspace = join(dirname(paths.home), "leoflow");
  mkdirSync(workspace);
  const port = await freePort();
  const children: ChildProcess[] = [];
  return {
    home: paths.home,
    workspace,
    port,
    async start({ args = [], env = {}, program: other = command } = {}) {
      const lite = await start(other, paths.home, workspace, port, args, env, children);
      await lite.client.login(ADMIN, PASSWORD);
      return lite;
    },
    async remove() {
      for (const child of children) {
        if (child.exitCode !== null || child.signalCode !== null) continue;
        child.kill("SIGTERM");
        await new Promise((resolve) => child.once("exit", resolve));
      }
      remove();
    },
  };
}

async function start(
  command: readonly string[],
  home: string,
  workspace: string,
  port: number,
  args: string[],
  env: Record<string, string>,
  children: ChildProcess[],
): Promise<Lite> {
  const began = performance.now();
  const [program, ...first] = [...command, "lite", "--port", String(port), "--workspace", workspace, ...args];
  const child = spawn(program as string, first, {
    env: { ...process.env, LEOFLOW_HOME: home, LEOFLOW_ADMIN_PASSWORD: PASSWORD, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  children.push(child);
  let output = "";
  child.stdout.on("data", (data: Buffer) => (output += data.toString()));
  child.stderr.on("data", (data: Buffer) => (output += data.toString()));
  const exited = new Promise<number | null>((resolve) => child.once("exit", (code) => resolve(code)));
  const base = `http://127.0.0.1:${port}`;
  await until("Lite is ready", async () => {
    if (child.exitCode !== null) throw new Error(`leoflow lite ended with ${child.exitCode}:\n${output}`);
    return output.includes("is ready") && (await fetch(`${base}/api/v2/monitor/health`)).ok;
  });
  return {
    base,
    client: new Client(base),
    process: child,
    pid: child.pid ?? 0,
    readyMs: performance.now() - began,
    output: () => output,
    async stop() {
      const stopping = performance.now();
      child.kill("SIGTERM");
      const code = await exited;
      return { ms: performance.now() - stopping, code };
    },
  };
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export async function waitForDag(client: Client, dagId: string): Promise<void> {
  await until(`DAG ${dagId} is there`, () =>
    client.call("GET", `/api/v2/dags/${dagId}`).then(
      () => true,
      () => false,
    ),
  );
}

export interface TaskInstanceAnswer {
  id: string;
  task_id: string;
  map_index: number;
  state: string | null;
  try_number: number;
}

export interface FinishedRun {
  runId: string;
  state: string;
  taskInstances: TaskInstanceAnswer[];
}

/** Triggers a DAG and waits for the run's end. */
export async function runDag(client: Client, dagId: string, conf: object = {}, seconds = 60): Promise<FinishedRun> {
  const runId = await triggerDag(client, dagId, conf);
  return await waitForRun(client, dagId, runId, seconds);
}

export async function triggerDag(client: Client, dagId: string, conf: object = {}): Promise<string> {
  await waitForDag(client, dagId);
  await client.unpause(dagId);
  const run = (await client.call("POST", `/api/v2/dags/${dagId}/dagRuns`, { logical_date: null, conf })) as {
    dag_run_id: string;
  };
  return run.dag_run_id;
}

export async function waitForRun(client: Client, dagId: string, runId: string, seconds = 60): Promise<FinishedRun> {
  const path = runPath(dagId, runId);
  let state = "";
  await until(
    `${dagId} ${runId} ends`,
    async () => {
      ({ state } = (await client.call("GET", path)) as { state: string });
      return state === "success" || state === "failed";
    },
    seconds,
  );
  return { runId, state, taskInstances: await taskInstances(client, dagId, runId) };
}

export async function taskInstances(client: Client, dagId: string, runId: string): Promise<TaskInstanceAnswer[]> {
  const answer = (await client.call("GET", `${runPath(dagId, runId)}/taskInstances?limit=100`)) as {
    task_instances: TaskInstanceAnswer[];
  };
  return answer.task_instances;
}

export function runPath(dagId: string, runId: string): string {
  return `/api/v2/dags/${dagId}/dagRuns/${encodeURIComponent(runId)}`;
}

/** The log of one try: its events, and what they say of exceptions, as text. */
export async function logOf(
  client: Client,
  dagId: string,
  runId: string,
  taskId: string,
  attempt = 1,
): Promise<string> {
  const path = `${runPath(dagId, runId)}/taskInstances/${taskId}/logs/${attempt}?map_index=-1`;
  const { content } = (await client.call("GET", path)) as { content: { event: string; error_detail?: unknown }[] };
  return content
    .map(({ event, error_detail: detail }) => (detail === undefined ? event : `${event}\n${JSON.stringify(detail)}`))
    .join("\n");
}

export async function xcomOf(
  client: Client,
  dagId: string,
  runId: string,
  taskId: string,
  mapIndex = -1,
): Promise<unknown> {
  const path = `${runPath(dagId, runId)}/taskInstances/${taskId}/xcomEntries/return_value?map_index=${mapIndex}&deserialize=true`;
  return ((await client.call("GET", path)) as { value: unknown }).value;
}

/**
 * Processes of the Leoflow of this home, Node, PostgreSQL and Python: by command line, environment or working directory
 * (Python's title hides the first two). What must be gone after a stop. Linux only.
 */
export function processesOf(home: string): { pid: number; command: string }[] {
  const listing = execFileSync("ps", ["-eo", "pid=,args="], { encoding: "utf8" });
  const found: { pid: number; command: string }[] = [];
  for (const line of listing.split("\n")) {
    const [, text, command] = /^\s*(\d+)\s+(.*)$/.exec(line) ?? [];
    const pid = Number(text);
    if (command === undefined || pid === process.pid) continue;
    const isOurs =
      command.includes(home) ||
      readLink(`/proc/${pid}/cwd`).startsWith(dirname(home)) ||
      readText(`/proc/${pid}/environ`).includes(`LEOFLOW_HOME=${home}\0`);
    if (isOurs) found.push({ pid, command });
  }
  return found;
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}

function readLink(file: string): string {
  try {
    return readlinkSync(file);
  } catch {
    return "";
  }
}
