import { buildSync } from "esbuild";
import { spawn, type ChildProcess } from "node:child_process";
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  processesAlive,
  startTestRuntime,
  testPython,
  untilTrue,
  type TestRuntime,
} from "../../test/support/python.ts";

const root = join(import.meta.dirname, "../..");

const DAG = `
import os, signal, subprocess, time
from airflow.sdk import DAG, BaseOperator, task

def flag(name):
    open(os.path.join(os.environ["TEST_FLAGS"], name), "w").close()

class Sleeps(BaseOperator):
    def execute(self, context):
        subprocess.Popen(["sleep", "1000"])
        subprocess.Popen(["sleep", "1000"], start_new_session=True)
        flag("sleeps")
        time.sleep(1000)
    def on_kill(self):
        flag("told")

class Stubborn(BaseOperator):
    def execute(self, context):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        flag("stubborn")
        while True:
            time.sleep(1000)

with DAG("d"):
    Sleeps(task_id="sleeps")
    Stubborn(task_id="stubborn")
    @task
    def quick(): ...
    quick()
`;

const HANGS = `
from airflow.sdk import DAG
import os, time, subprocess
open(os.path.join(os.environ["TEST_FLAGS"], "hangs"), "w").close()
subprocess.Popen(["sleep", "1000"])
while True:
    time.sleep(1000)
`;

let python: TestRuntime;
let victimProcess: ChildProcess | null = null;

beforeAll(async () => {
  python = await startTestRuntime();
  python.write("d.py", DAG);
  python.write("hangs.py", HANGS);
});
afterAll(async () => {
  victimProcess?.kill("SIGKILL");
  await python.runtime.stop();
});

const flagged = (...names: string[]) => names.every((name) => existsSync(join(python.flags, name)));

describe("stopping", () => {
  it("does not wait for a Python that is still warming up", async () => {
    const cold = await startTestRuntime();
    cold.write("d.py", DAG);
    const workload = cold.workload({ taskId: "quick" });
    const done = cold.runtime.runTask(workload);
    const started = performance.now();
    await cold.runtime.stop();
    await done;
    expect(performance.now() - started).toBeLessThan(1000);
    // It never started, so it stays queued: the next start runs it, and no try of its budget is spent.
    expect(cold.execution.exits.get(workload.id)).toBeUndefined();
    expect(await processesAlive(cold)).toEqual([]);
  });

  it("tells the tasks, ends those that will not go, and reports them all", async () => {
    const other = await startTestRuntime();
    other.write("d.py", DAG);
    const workloads = ["sleeps", "stubborn"].map((taskId) => other.workload({ taskId }));
    const done = workloads.map((workload) => other.runtime.runTask(workload));
    await untilTrue(() => ["sleeps", "stubborn"].every((name) => existsSync(join(other.flags, name))), 30_000);
    const started = performance.now();
    await Promise.all([other.runtime.stop(500), other.runtime.stop(500)]);
    await Promise.all(done);
    expect(performance.now() - started).toBeLessThan(3000);
    expect(existsSync(join(other.flags, "told"))).toBe(true);
    expect(workloads.map(({ id }) => other.execution.exits.get(id)?.reason)).toEqual([
      "killed: Leoflow is being stopped",
      "killed: Leoflow is being stopped",
    ]);
    expect(await processesAlive(other)).toEqual([]);
  });
});

describe("a sudden death", () => {
  it("of the base zygote leaves running tasks alone, and the next ones get a new one", async () => {
    await python.runtime.warm();
    const running = python.workload({ taskId: "sleeps" });
    const done = python.runtime.runTask(running);
    await untilTrue(() => flagged("sleeps"));
    const before = python.runtime.basePid() as number;
    process.kill(before, "SIGKILL");
    await untilTrue(() => python.runtime.basePid() !== before);
    await python.runtime.warm();
    const again = python.workload({ taskId: "quick", archiveDigest: "v2" });
    await python.runtime.runTask(again);
    expect(python.execution.exits.get(again.id)).toMatchObject({ code: 0 });
    expect(python.execution.exits.has(running.id)).toBe(false);
    python.runtime.terminate(running.id, "enough");
    await done;
    expect(python.execution.exits.get(running.id)?.reason).toBe("killed: enough");
  });

  it("of Leoflow itself leaves no process behind", async () => {
    for (const name of ["sleeps", "stubborn", "hangs"]) rmSync(join(python.flags, name), { force: true });
    const program = join(root, ".cache/test-agent/victim.mjs");
    mkdirSync(join(root, ".cache/test-agent"), { recursive: true });
    buildSync({
      stdin: { contents: victim(), resolveDir: root, loader: "ts" },
      outfile: program,
      bundle: true,
      platform: "node",
      format: "esm",
      packages: "external",
      logLevel: "error",
    });
    victimProcess = spawn(process.execPath, [program], { stdio: ["ignore", "inherit", "inherit"] });
    const child = victimProcess;
    const exited = new Promise((resolve) => child.once("exit", resolve));
    await untilTrue(() => flagged("sleeps", "stubborn", "hangs"), 30_000);
    const mine = python.runtime.basePid() as number;
    const others = async () => (await processesAlive(python, 0)).filter((line) => !line.startsWith(`${mine} `));
    expect((await others()).length).toBeGreaterThan(7);
    child.kill("SIGKILL");
    await exited;
    const killed = performance.now();
    await python.runtime.stop();
    const left = await processesAlive(python, 2000);
    expect(left).toEqual([]);
    expect(performance.now() - killed).toBeLessThan(2500);
  });
});

/** A program of its own with the same home: two tasks run, one DAG file hangs in a parse, another in a task's import. */
function victim(): string {
  const config = {
    runtimeDir: join(root, "python"),
    socketDir: null,
    logsDir: join(python.home, "logs2"),
    workspace: python.workspace,
    env: python.env,
    idleSeconds: 60,
    graceMs: 1000,
    heartbeatMs: 1000,
  };
  return `
import { pino } from "pino";
import { PythonRuntime } from "./src/agent/python-runtime.ts";
import { systemClock } from "./src/kit/clock.ts";
import { taskContext } from "./test/support/python.ts";
const context = JSON.stringify(taskContext());
const execution = {
  start: async () => ({ kind: "started", context }),
  heartbeat: async () => "alive",
  handle: async () => ({ body: null }),
  exited: async () => undefined,
};
const runtime = new PythonRuntime({ logger: pino({ level: "error" }), clock: systemClock },
  { execution, parseHandler: async () => ({ body: null }) },
  { ...${JSON.stringify(config)}, environments: () => ${JSON.stringify(testPython())}, versionDir: () => ${JSON.stringify(python.workspace)} });
await runtime.start();
const workload = ${JSON.stringify(python.workload({}))};
const run = (id, taskId, dagRelPath) => runtime.runTask({ ...workload, id, taskId, dagRelPath });
void run("01941f29-7c00-7000-8000-000000000001", "sleeps", "d.py");
void run("01941f29-7c00-7000-8000-000000000002", "stubborn", "d.py");
void run("01941f29-7c00-7000-8000-000000000003", "any", "hangs.py");
void runtime.parseFile({ workspace: ${JSON.stringify(python.workspace)}, path: ${JSON.stringify(join(python.workspace, "hangs.py"))},
  relPath: "hangs.py", projectPath: null, environment: "default", timeoutSeconds: 100, memoryMb: 512 });
`;
}
