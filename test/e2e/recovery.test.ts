import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  createLiteHome,
  logOf,
  processesOf,
  runDag,
  runPath,
  taskInstances,
  triggerDag,
  until,
  waitForRun,
  type Lite,
  type LiteHome,
} from "../support/lite.ts";

/** The first try waits until it is killed, with a child of its own; the second succeeds. */
const SLEEPER = `
import os, subprocess, time
from datetime import timedelta
from pathlib import Path
from airflow.sdk import dag, task

@dag(schedule=None)
def sleeper():
    @task(retries=1, retry_delay=timedelta(seconds=0))
    def sleep(params, ti=None):
        with open(params["marks"], "a") as marks:
            marks.write(f"{ti.try_number} {os.getpid()}\\n")
        if ti.try_number == 1:
            subprocess.Popen(["sleep", "4242"])
            time.sleep(600)
        return "woke up"
    sleep()

sleeper()
`;

let home: LiteHome;
beforeEach(async () => {
  home = await createLiteHome();
  writeFileSync(join(home.workspace, "sleeper.py"), SLEEPER);
});
afterEach(() => home.remove());

async function startSleeping(lite: Lite): Promise<{ runId: string; marks: string; pid: number }> {
  const marks = join(home.home, "marks.txt");
  const runId = await triggerDag(lite.client, "sleeper", { marks });
  await until("the task runs", async () => {
    const [ti] = await taskInstances(lite.client, "sleeper", runId);
    return ti?.state === "running" && existsSync(marks) && readFileSync(marks, "utf8").includes("1 ");
  });
  return { runId, marks, pid: Number(readFileSync(marks, "utf8").split(/\s/)[1]) };
}

const isAlive = (pid: number): boolean => {
  try {
    return !readFileSync(`/proc/${pid}/stat`, "utf8").includes(") Z ");
  } catch {
    return false;
  }
};

const sleepers = (): number =>
  Number(execFileSync("sh", ["-c", "ps -eo args= | grep -c '^sleep 4242' || true"], { encoding: "utf8" }).trim());

describe("a bad day", () => {
  it("SIGTERM stops all within 5 s; the task is retried by the next start", async () => {
    const first = await home.start();
    const { runId } = await startSleeping(first);
    const { ms, code } = await first.stop();
    expect(code).toBe(0);
    expect(ms).toBeLessThan(5_000);
    expect(processesOf(home.home)).toEqual([]);

    const second = await home.start();
    const run = await waitForRun(second.client, "sleeper", runId);
    expect(run.state).toBe("success");
    expect(run.taskInstances[0]?.try_number).toBe(2);
    expect(await logOf(second.client, "sleeper", runId, "sleep", 1)).toMatch(/Leoflow (is being )?stopped/);
  });

  it("SIGKILL of Leoflow itself leaves no process, and the next start recovers", async () => {
    const first = await home.start();
    const { runId, pid } = await startSleeping(first);
    first.process.kill("SIGKILL");
    await until(
      "Python and PostgreSQL have ended by themselves",
      () => processesOf(home.home).length === 0 && !isAlive(pid),
      10,
    );
    expect(sleepers()).toBe(0);

    const second = await home.start();
    const run = await waitForRun(second.client, "sleeper", runId, 20);
    expect(run.state).toBe("success");
    expect(run.taskInstances[0]?.try_number).toBe(2);
    expect(await logOf(second.client, "sleeper", runId, "sleep", 1)).toContain("lost");
  });

  it("SIGKILL of the whole tree at once is no different", async () => {
    const first = await home.start();
    const { runId } = await startSleeping(first);
    for (const { pid } of processesOf(home.home)) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It ended meanwhile.
      }
    }
    await until("all are gone", () => processesOf(home.home).length === 0, 10);
    const second = await home.start();
    expect((await waitForRun(second.client, "sleeper", runId, 20)).state).toBe("success");
  });

  it("SIGKILL of a task's process or of all Python is noticed at once and retried", async () => {
    const lite = await home.start();
    const { runId, pid } = await startSleeping(lite);
    process.kill(pid, "SIGKILL");
    const run = await waitForRun(lite.client, "sleeper", runId, 10);
    expect(run.state).toBe("success");
    expect(await logOf(lite.client, "sleeper", runId, "sleep", 1)).toMatch(/SIGKILL|signal 9/);

    const again = await startSleeping(lite);
    for (const { pid: python, command } of processesOf(home.home)) {
      if (command.startsWith("leoflow python")) process.kill(python, "SIGKILL");
    }
    expect((await waitForRun(lite.client, "sleeper", again.runId, 30)).state).toBe("success");
  });

  it("SIGKILL of PostgreSQL does not lose the run", async () => {
    const lite = await home.start();
    writeFileSync(
      join(home.workspace, "chain.py"),
      `from airflow.sdk import dag, task
@dag(schedule=None)
def chain():
    @task(retries=2)
    def step(before=None):
        import time
        time.sleep(0.2)
    previous = None
    for number in range(8):
        previous = step.override(task_id=f"s{number}")(previous)
chain()
`,
    );
    const runId = await triggerDag(lite.client, "chain");
    await until(
      "some steps are done",
      async () => (await taskInstances(lite.client, "chain", runId)).filter((ti) => ti.state === "success").length >= 2,
    );
    const pidFile = join(home.home, "managed-postgres/data/postmaster.pid");
    process.kill(Number(readFileSync(pidFile, "utf8").split("\n")[0]), "SIGKILL");
    // While PostgreSQL comes back the API says 503.
    await until("the run ends well", () =>
      lite.client.call("GET", runPath("chain", runId)).then(
        (run) => (run as { state: string }).state === "success",
        () => false,
      ),
    );
  });

  it("takes a task away when it is cleared, and runs it again", async () => {
    const lite = await home.start();
    const { runId, pid } = await startSleeping(lite);
    await lite.client.call("POST", "/api/v2/dags/sleeper/clearTaskInstances", {
      dry_run: false,
      dag_run_id: runId,
      task_ids: ["sleep"],
      only_failed: false,
      only_running: false,
      reset_dag_runs: true,
    });
    await until("the old process is gone", () => !isAlive(pid) && sleepers() === 0, 10);
    const run = await waitForRun(lite.client, "sleeper", runId, 20);
    expect(run.state).toBe("success");
    expect(run.taskInstances[0]?.try_number).toBe(2);
  });

  it("goes on without its workspace and finds it again", async () => {
    const lite = await home.start();
    mkdirSync(join(home.workspace, "more"));
    writeFileSync(
      join(home.workspace, "more/quick.py"),
      "from airflow.sdk import dag, task\n@dag(schedule=None)\ndef quick():\n    @task\n    def one():\n        return 1\n    one()\nquick()\n",
    );
    expect((await runDag(lite.client, "quick")).state).toBe("success");
  });
});
