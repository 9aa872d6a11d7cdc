import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { RawJson } from "../domain/task-execution.ts";
import { taskLogPath, type Workload } from "../domain/workload.ts";
import { processesAlive, startTestRuntime, type TestRuntime, untilTrue } from "../../test/support/python.ts";

let python: TestRuntime;

const DAG = `
import logging, os, signal, subprocess, sys, time
from airflow.sdk import DAG, BaseOperator, Connection, Variable, get_current_context, task
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.python import ExternalPythonOperator

FLAGS = os.environ["TEST_FLAGS"]

def flag(name, text=""):
    with open(os.path.join(FLAGS, name + ".tmp"), "w") as file:
        file.write(str(text))
    os.rename(os.path.join(FLAGS, name + ".tmp"), os.path.join(FLAGS, name))

class Killable(BaseOperator):
    def execute(self, context):
        child = subprocess.Popen(["sleep", "1000"])
        flag("killable", child.pid)
        child.wait()
    def on_kill(self):
        flag("on_kill")

class Stubborn(BaseOperator):
    def execute(self, context):
        inside = subprocess.Popen(["sleep", "1000"])
        outside = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        flag("stubborn", f"{inside.pid} {outside.pid}")
        while True:
            time.sleep(1000)

def external():
    import logging
    from airflow.sdk import Variable
    logging.getLogger("inside").warning("from another interpreter: %s", Variable.get("greeting"))

with DAG("d"):
    @task
    def speak():
        print("on stdout")
        print("on stderr", file=sys.stderr)
        logging.getLogger("my.logger").warning("a warning", )
        os.write(1, b"no newline at the end")

    @task
    def fail():
        raise ValueError("no good")

    @task
    def secrets():
        password = Connection.get("db").password
        print("password is", password)
        logging.getLogger("x").info("again %s", password)
        print("api key is", Variable.get("api_key"), "and colour is", Variable.get("colour"))

    @task
    def segfault():
        os.kill(os.getpid(), signal.SIGSEGV)

    @task
    def killed():
        os.kill(os.getpid(), signal.SIGKILL)

    @task
    def exits():
        os._exit(7)

    @task
    def silent():
        os._exit(0)

    @task
    def leaves_child():
        flag("left", subprocess.Popen(["sleep", "1000"]).pid)

    @task
    def floods():
        line = "x" * 999
        for _ in range(100_000):
            print(line)

    @task
    def big():
        return "é" * 25_000_000

    @task
    def echo(value):
        return value

    speak(); fail(); secrets(); segfault(); killed(); exits(); silent(); leaves_child(); floods(); big()
    BashOperator(task_id="templated", bash_command="folder/run.sh")
    Killable(task_id="killable")
    Stubborn(task_id="stubborn")
    ExternalPythonOperator(task_id="external", python=sys.executable, python_callable=external)
`;

const LATE = `
from airflow.sdk import DAG, Variable, task
import helper

GREETING = Variable.get("greeting")

with DAG("late"):
    @task
    def greet():
        return GREETING
    greet()
`;

beforeAll(async () => {
  python = await startTestRuntime({ graceMs: 700, heartbeatMs: 200 });
  python.write("d.py", DAG);
  python.write("late.py", LATE);
  python.write("helper.py", "");
  python.write("folder/run.sh", "echo the day is {{ ds }}; {% include 'folder/more.sh' %}\n");
  python.write("folder/more.sh", "echo included\n");
  await python.runtime.warm();
});
afterAll(async () => {
  await python.runtime.stop();
  expect(await processesAlive(python)).toEqual([]);
});

interface Line {
  event: string;
  logger: string;
  level: string;
  error_detail?: { exc_type: string }[];
}

function logOf(workload: Workload): Line[] {
  return readFileSync(join(python.home, "logs", taskLogPath(workload, 1)), "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Line);
}

async function run(taskId: string, changes: Partial<Workload> = {}): Promise<Workload> {
  const workload = python.workload({ taskId, ...changes });
  await python.runtime.runTask(workload);
  return workload;
}

const exitOf = (workload: Workload) => python.execution.exits.get(workload.id);
const flagPath = (name: string) => join(python.flags, name);
const flag = (name: string) => readFileSync(flagPath(name), "utf8");
const alive = (pid: number) =>
  existsSync(`/proc/${pid}`) && !/\nState:\s+Z/.test(readFileSync(`/proc/${pid}/status`, "utf8"));

describe("a task's log", () => {
  it("holds what the task logs and prints", async () => {
    const lines = logOf(await run("speak"));
    expect(lines).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ event: "on stdout", logger: "task.stdout", level: "info" }),
        expect.objectContaining({ event: "on stderr", logger: "task.stderr", level: "error" }),
        expect.objectContaining({ event: "a warning", logger: "my.logger", level: "warning" }),
        expect.objectContaining({ event: "no newline at the end", logger: "task.stdout" }),
      ]),
    );
  });

  it("has tracebacks where the UI looks for them", async () => {
    const workload = await run("fail");
    const failed = logOf(workload).find((line) => line.error_detail);
    expect(failed?.error_detail?.[0]?.exc_type).toBe("ValueError");
    expect(exitOf(workload)).toMatchObject({ code: 0, taskState: { state: "failed" }, reason: null });
  });

  it("masks secrets and nothing else", async () => {
    python.execution.answers.set("GetConnection", () => ({
      body: {
        type: "ConnectionResult",
        conn_id: "db",
        conn_type: "postgres",
        host: "h",
        schema: null,
        login: "me",
        password: "hunter-2-$&",
        port: null,
        extra: null,
      },
    }));
    python.execution.answers.set("GetVariable", ({ key }) => ({
      body: { type: "VariableResult", key, value: `value-of-${String(key)}` },
    }));
    const workload = await run("secrets");
    const text = readFileSync(join(python.home, "logs", taskLogPath(workload, 1)), "utf8");
    expect(text).toContain("password is ***");
    expect(text).toContain("again ***");
    expect(text).toContain("api key is *** and colour is value-of-colour");
    expect(text).not.toContain("hunter");
  });

  it("takes 100 MB without growing the memory by it", async () => {
    const before = process.memoryUsage().rss;
    let peak = 0;
    const watch = setInterval(() => (peak = Math.max(peak, process.memoryUsage().rss)), 50);
    const workload = await run("floods");
    clearInterval(watch);
    expect(logOf(workload).filter((line) => line.logger === "task.stdout")).toHaveLength(100_000);
    expect((peak - before) / 1e6).toBeLessThan(150);
  });
});

describe("a log that cannot be written", () => {
  it("does not stop the task", async () => {
    const runId = "no-place";
    mkdirSync(join(python.home, "logs/dag_id=d"), { recursive: true });
    writeFileSync(join(python.home, `logs/dag_id=d/run_id=${runId}`), "a file where a folder should be");
    const workload = await run("floods", { runId });
    expect(exitOf(workload)).toMatchObject({ code: 0, reason: null });
  });
});

describe("what user code made", () => {
  it("passes an XCom of 50 MB", async () => {
    const workload = await run("big");
    const text = (python.execution.sent("SetXCom", workload.id)[0]?.["value"] as RawJson).text;
    expect(Buffer.byteLength(text)).toBe(50_000_002);
  });

  it("renders template files of the version's folder", async () => {
    const lines = logOf(await run("templated")).map((line) => line.event);
    expect(lines).toContainEqual(expect.stringMatching(/^the day is \d{4}-\d\d-\d\d$/));
    expect(lines).toContain("included");
  });

  it("imports a file again for each task when its import asks for Variables", async () => {
    for (const greeting of ["hello", "goodbye"]) {
      python.execution.answers.set("GetVariable", ({ key }) => ({
        body: { type: "VariableResult", key, value: greeting },
      }));
      const workload = await run("greet", { dagId: "late", dagRelPath: "late.py" });
      expect((python.execution.sent("SetXCom", workload.id)[0]?.["value"] as RawJson | undefined)?.text).toBe(
        `"${greeting}"`,
      );
    }
  });

  it("lets another interpreter take over the connection", async () => {
    python.execution.answers.set("GetVariable", ({ key }) => ({
      body: { type: "VariableResult", key, value: "hello" },
    }));
    const workload = await run("external");
    expect(logOf(workload).map((line) => line.event)).toContain("from another interpreter: hello");
    expect(python.execution.sent("SucceedTask", workload.id)).toHaveLength(1);
  });
});

describe("an end that the task does not report", () => {
  it.each([
    ["segfault", { signal: "SIGSEGV", reason: "killed by SIGSEGV" }],
    ["killed", { signal: "SIGKILL", reason: "killed by SIGKILL" }],
    ["exits", { code: 7, reason: "exit code 7" }],
    ["silent", { code: 0, reason: "ended without reporting a state" }],
  ])("is recognised: %s", async (taskId, expected) => {
    const started = performance.now();
    const workload = await run(taskId);
    expect(exitOf(workload)).toMatchObject(expected);
    expect(logOf(workload).at(-1)?.event).toMatch(/^Process (terminated|exited|ended)/);
    expect(performance.now() - started).toBeLessThan(5000);
  });

  it("is told when the DAG is not in its file", async () => {
    const workload = await run("t", { dagId: "nowhere" });
    expect(python.execution.sent("RescheduleTask", workload.id)).toHaveLength(1);
    expect(logOf(workload).map((line) => line.event)).toContain("Dag not found during start up");
  });

  it("is told when the zygote dies", async () => {
    const running = run("killable");
    await untilTrue(() => existsSync(flagPath("killable")));
    const task = python.execution.pids.get(python.execution.started.at(-1) ?? "") as number;
    const zygote = Number(/\nPPid:\s+(\d+)/.exec(readFileSync(`/proc/${task}/status`, "utf8"))?.[1]);
    process.kill(zygote, "SIGKILL");
    expect(exitOf(await running)).toMatchObject({ signal: "SIGKILL" });
    await untilTrue(() => !alive(Number(flag("killable"))));
    expect(exitOf(await run("speak"))).toMatchObject({ code: 0 });
  });
});

describe("ending a task", () => {
  it("lets on_kill run and reaches what the task started", async () => {
    rmSync(flagPath("killable"), { force: true });
    const workload = python.workload({ taskId: "killable" });
    const done = python.runtime.runTask(workload);
    await untilTrue(() => existsSync(flagPath("killable")));
    python.runtime.terminate(workload.id, "it was cleared");
    await done;
    expect(existsSync(flagPath("on_kill"))).toBe(true);
    expect(exitOf(workload)).toMatchObject({ reason: "killed: it was cleared" });
    expect(alive(Number(flag("killable")))).toBe(false);
    expect(logOf(workload).map((line) => line.event)).toContain("Task is being terminated: it was cleared");
  });

  it("kills a task that will not go, and descendants that left its group", async () => {
    const workload = python.workload({ taskId: "stubborn" });
    const done = python.runtime.runTask(workload);
    await untilTrue(() => existsSync(flagPath("stubborn")));
    python.runtime.terminate(workload.id, "time is up");
    await done;
    expect(exitOf(workload)).toMatchObject({ signal: "SIGKILL", reason: "killed: time is up" });
    await untilTrue(() =>
      flag("stubborn")
        .split(" ")
        .every((pid) => !alive(Number(pid))),
    );
  });

  it("does not wait for what a task leaves behind", async () => {
    const workload = await run("leaves_child");
    expect(exitOf(workload)).toMatchObject({ code: 0, reason: null });
    // Until Leoflow stops: afterAll looks for it.
    expect(alive(Number(flag("left")))).toBe(true);
  });

  it("ends and reports nothing when the control plane says the try is not ours", async () => {
    rmSync(flagPath("killable"), { force: true });
    const exits = python.execution.exits.size;
    const running = run("killable");
    await untilTrue(() => existsSync(flagPath("killable")));
    python.execution.heartbeatAnswer = "gone";
    const workload = await running;
    expect(alive(Number(flag("killable")))).toBe(false);
    expect(logOf(workload).map((line) => line.event)).toContain(
      "Server indicated the task shouldn't be running anymore. Terminating process",
    );
    python.execution.heartbeatAnswer = "alive";
    python.execution.onStart = () => ({ kind: "refused", reason: "invalid_state", previousState: "running" });
    const refused = await run("speak");
    python.execution.onStart = () => null;
    expect(python.execution.sent("SucceedTask", refused.id)).toEqual([]);
    expect(python.execution.exits.size).toBe(exits);
  });
});
