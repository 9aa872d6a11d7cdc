import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { isAlive } from "../../src/lite/postgres/stale-server.ts";
import { Agents, agentTokenFile, removeTokenFile, Wire, type AgentProcess } from "../support/agent.ts";
import {
  createLiteHome,
  logOf,
  taskInstances,
  triggerDag,
  until,
  waitForRun,
  xcomOf,
  type Lite,
  type LiteHome,
} from "../support/lite.ts";

// Tasks write what they do into files of this folder: proof that is nobody's account of himself.
const DAG = `
import os, time
from datetime import timedelta
from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import BaseOperator, DAG, task

FLAGS = os.environ.get("AGENT_FLAGS", "")
HERE = {"queue": "remote"}

def path(context, name):
    return os.path.join(FLAGS, f"{context['run_id']}.{name}".replace(":", "_"))

def note(context, text):
    ti = context["ti"]
    with open(path(context, f"{ti.task_id}.{ti.map_index}"), "a") as file:
        file.write(f"{text} {ti.try_number} {os.getpid()}\\n")

class Defers(BaseOperator):
    def execute(self, context):
        print("before the deferral")
        self.defer(trigger=TimeDeltaTrigger(timedelta(0)), method_name="resume")

    def resume(self, context, event):
        print("after the deferral")

with DAG("agents_hello", default_args=HERE):
    @task
    def first():
        print("from an agent")
        return {"float": 1.0, "big": "x" * 3_000_000}

    @task
    def second(value):
        assert isinstance(value["float"], float)
        return len(value["big"])

    second(first()) >> Defers(task_id="defers")

with DAG("agents_wait", default_args=HERE, max_active_tasks=64, params={"count": 2}):
    @task
    def numbers(**context):
        return list(range(context["params"]["count"]))

    @task(retries=1, retry_delay=timedelta(seconds=0))
    def waits(number, **context):
        note(context, "started")
        print("begin", number)
        while not os.path.exists(path(context, "go")):
            time.sleep(0.05)
        print("end", number)
        note(context, "ended")
        return context["ti"].try_number

    @task
    def sums(tries):
        return sum(tries)

    sums(waits.expand(number=numbers()))

with DAG("agents_types"):
    @task(queue="remote")
    def one():
        return 1.5

    @task.stub(queue="typescript")
    def double(value): ...

    double(one())
`;
const TYPESCRIPT = `
import { task } from "@leoflow/task";

export const double = task(async ({ xcom, log }) => {
  log.info("doubling");
  return 2 * ((await xcom.pull<number>("one")) ?? 0);
});
`;

let home: LiteHome;
let lite: Lite;
let token: string;
let flags: string;
/** Between the agent `far` and the server. */
let wire: Wire;
let far: AgentProcess;
const agents = new Agents();
const lasting = new Agents();

beforeAll(async () => {
  home = await createLiteHome();
  flags = mkdtempSync(join(tmpdir(), "leoflow-flags-"));
  writeFileSync(join(home.workspace, "agents.py"), DAG);
  writeFileSync(join(home.workspace, "agents.tasks.ts"), TYPESCRIPT);
  lite = await start();
  token = agentTokenFile(home.home, "machines", "remote,typescript");
  wire = await new Wire(home.port).open();
  far = await lasting.start("far", wire.url, token, {
    args: ["--concurrency", "64"],
    env: { AGENT_FLAGS: flags },
  });
});
afterEach(() => agents.remove());
afterAll(async () => {
  await agents.remove();
  await lasting.remove();
  await wire.cut();
  await home.remove();
  removeTokenFile(token);
  rmSync(flags, { recursive: true, force: true });
});

const start = (env: Record<string, string> = {}) => home.start({ env: { AIRFLOW__CORE__PARALLELISM: "64", ...env } });
const agent = (name: string, { env, ...options }: Parameters<Agents["start"]>[3] = {}) =>
  agents.start(name, lite.base, token, { ...options, env: { AGENT_FLAGS: flags, ...env } });

const fileName = (text: string) => text.replaceAll(":", "_");
const go = (runId: string) => writeFileSync(join(flags, fileName(`${runId}.go`)), "");
const trigger = (count: number) => triggerDag(lite.client, "agents_wait", { count });
/** What the processes of a run's waiting tasks wrote, a list for each task instance. */
const notes = (runId: string): string[][] =>
  readdirSync(flags)
    .filter((name) => name.startsWith(fileName(`${runId}.waits.`)))
    .map((name) => readFileSync(join(flags, name), "utf8").trim().split("\n"));
const begun = (runId: string, count: number) => until(`${count} tasks run`, () => notes(runId).length === count, 90);
/** Started and ended once, by one process, at the first try. */
const isOnce = ([first = "", second = "", ...more]: string[]) =>
  more.length === 0 && first.startsWith("started 1 ") && second === first.replace("started", "ended");
const pidsOf = (runId: string) => notes(runId).map(([first = ""]) => Number(first.split(" ")[2]));
const parentOf = (pid: number) => Number(execFileSync("ps", ["-o", "ppid=", "-p", String(pid)], { encoding: "utf8" }));

async function finishes(runId: string, sum: number): Promise<void> {
  const { state } = await waitForRun(lite.client, "agents_wait", runId, 120);
  expect(state).toBe("success");
  expect(await xcomOf(lite.client, "agents_wait", runId, "sums")).toBe(sum);
}

/** A task's success may be known before the last lines of its log have arrived. */
async function haveTheirLogs(runId: string, count: number): Promise<void> {
  const run = `/api/v2/dags/agents_wait/dagRuns/${encodeURIComponent(runId)}`;
  for (let index = 0; index < count; index++) {
    await until(`the log of waits ${index} is whole`, async () =>
      JSON.stringify(await lite.client.call("GET", `${run}/taskInstances/waits/logs/1?map_index=${index}`)).includes(
        `"end ${index}"`,
      ),
    );
  }
}

describe("agents", () => {
  it("run tasks in TypeScript", async () => {
    const runId = await triggerDag(lite.client, "agents_types");
    const { state } = await waitForRun(lite.client, "agents_types", runId);
    expect(state, far.output()).toBe("success");
    expect(await xcomOf(lite.client, "agents_types", runId, "double")).toBe(3);
    const [double] = (await taskInstances(lite.client, "agents_types", runId)).filter((ti) => ti.task_id === "double");
    expect(double).toMatchObject({ hostname: "far" });
    await until("its log is here", async () =>
      (await logOf(lite.client, "agents_types", runId, "double")).includes("doubling"),
    );
  });

  it("run tasks with XComs and logs, also with a clock two minutes ahead, and end when told to, after what runs", async () => {
    const shift = join(flags, "shift");
    writeFileSync(shift, "120000");
    const ahead = pathToFileURL(join(import.meta.dirname, "../support/shift-clock.mjs")).href;
    const one = await agent("one", { node: ["--import", ahead], env: { SHIFT_FILE: shift } });
    const hello = await triggerDag(lite.client, "agents_hello");
    const { state } = await waitForRun(lite.client, "agents_hello", hello);
    expect(state, one.output()).toBe("success");
    expect(await xcomOf(lite.client, "agents_hello", hello, "second")).toBe(3_000_000);
    expect((await taskInstances(lite.client, "agents_hello", hello)).map((ti) => ti.try_number)).toEqual([1, 1, 1]);
    for (const [taskId, text] of [
      ["first", /from an agent/],
      ["defers", /before the deferral[^]*after the deferral/],
    ] as const) {
      await until(`the log of ${taskId} is whole`, async () =>
        text.test(await logOf(lite.client, "agents_hello", hello, taskId)),
      );
    }

    const runId = await trigger(4);
    await begun(runId, 4);
    one.process.kill("SIGTERM");
    await until("it drains", () => one.output().includes("taking no more work"));
    go(runId);
    expect(await one.ended).toBe(0);
    await finishes(runId, 4);
    expect(notes(runId).every(isOnce)).toBe(true);
  });

  it("lose nothing to a network that breaks, nor to a zygote that dies", async () => {
    const runId = await trigger(4);
    await begun(runId, 4);
    await wire.cut();
    go(runId);
    await until("all end while nobody hears of it", () => notes(runId).every((lines) => lines.length === 2));
    // Longer than an agent pauses between its tries.
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    await wire.open();
    await finishes(runId, 4);
    expect(notes(runId).map(isOnce)).toEqual([true, true, true, true]);
    await haveTheirLogs(runId, 4);

    const other = await trigger(1);
    await begun(other, 1);
    process.kill(parentOf(pidsOf(other)[0] as number), "SIGKILL");
    await until("the retry runs", () => notes(other)[0]?.length === 2);
    go(other);
    await finishes(other, 2);
    expect(notes(other)[0]?.map((line) => line.split(" ").slice(0, 2).join(" "))).toEqual([
      "started 1",
      "started 2",
      "ended 2",
    ]);
  });

  it("go on with 50 tasks while the server restarts", async () => {
    const runId = await trigger(50);
    await begun(runId, 50);
    await lite.stop();
    go(runId);
    await until("all end while nobody hears of it", () => notes(runId).every((lines) => lines.length === 2));
    // From here on a silent agent is lost sooner.
    lite = await start({ LEOFLOW_AGENT_LOST_SECONDS: "8" });
    await finishes(runId, 50);
    expect(notes(runId).every(isOnce)).toBe(true);
    await haveTheirLogs(runId, 50);
    expect(far.output()).not.toContain("the session is over");
  });

  it("that are killed or stand still lose their tasks to others, and what they say later changes nothing", async () => {
    const [killed, stopped] = await Promise.all([agent("killed"), agent("stopped")]);
    const runId = await trigger(9);
    await begun(runId, 9);
    const byAgent = await hostsOf(runId);
    for (const name of ["killed", "stopped", "far"]) expect(byAgent.get(name)?.length, name).toBeGreaterThan(0);
    const lost = [...(byAgent.get("killed") ?? []), ...(byAgent.get("stopped") ?? [])];
    killed.process.kill("SIGKILL");
    stopped.process.kill("SIGSTOP");
    const killedPids = (byAgent.get("killed") ?? []).map(({ pid }) => pid);
    await until("the tasks of the killed one die with it", () => !killedPids.some(isAlive));
    await until("all of them run again", () => started(runId) === 9 + lost.length, 90);
    stopped.process.kill("SIGCONT");
    await until("it sees that it was given up", () => stopped.output().includes("the session is over"));
    const stoppedPids = (byAgent.get("stopped") ?? []).map(({ pid }) => pid);
    await until("it ends what it still ran", () => !stoppedPids.some(isAlive));
    go(runId);
    await finishes(runId, 9 + lost.length);
    const lostIndexes = new Set(lost.map(({ index }) => index));
    for (const { map_index: index, task_id: task, try_number: tries, state } of await taskInstances(
      lite.client,
      "agents_wait",
      runId,
    )) {
      expect(state).toBe("success");
      if (task === "waits") expect(tries).toBe(lostIndexes.has(index) ? 2 : 1);
    }
    // Nothing was run a third time, nothing ended twice.
    for (const lines of notes(runId)) expect(lines.filter((line) => line.startsWith("ended"))).toHaveLength(1);
    expect(far.output()).not.toContain("the session is over");
  });
});

const started = (runId: string) =>
  notes(runId)
    .flat()
    .filter((line) => line.startsWith("started")).length;

/** Which of a run's waiting tasks are on which agent. */
async function hostsOf(runId: string): Promise<Map<string, { index: number; pid: number }[]>> {
  const found = new Map<string, { index: number; pid: number }[]>();
  const all = (await taskInstances(lite.client, "agents_wait", runId)) as unknown as {
    task_id: string;
    hostname: string;
    map_index: number;
    pid: number;
  }[];
  for (const { task_id: task, hostname, map_index: index, pid } of all) {
    if (task === "waits") found.set(hostname, [...(found.get(hostname) ?? []), { index, pid }]);
  }
  return found;
}
