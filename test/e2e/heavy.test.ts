import { execFileSync } from "node:child_process";
import { statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { footprint } from "../../bench/processes.ts";
import {
  createLiteHome,
  logOf,
  processesOf,
  runDag,
  runPath,
  triggerDag,
  until,
  waitForRun,
  xcomOf,
  type Lite,
  type LiteHome,
} from "../support/lite.ts";

const DAGS = `
import os, subprocess, sys, time
from datetime import timedelta
from airflow.sdk import dag, task

@dag(schedule=None)
def loud():
    @task
    def shout():
        line = "x" * 1023 + "\\n"
        for _ in range(100 * 1024):
            sys.stdout.write(line)
    shout()

@dag(schedule=None)
def big_xcom():
    @task
    def make():
        return "y" * 50_000_000
    @task
    def measure(text):
        return len(text)
    measure(make())

@dag(schedule=None)
def forking():
    @task
    def fork():
        subprocess.Popen(["sleep", "4343"])
        pid = os.fork()
        if pid == 0:
            time.sleep(300)
            os._exit(0)
        return "left two children behind"
    fork()

@dag(schedule=None)
def slow():
    @task(execution_timeout=timedelta(seconds=1))
    def overtime():
        time.sleep(60)
    overtime()

@dag(schedule=None)
def secrets():
    @task
    def tell():
        from airflow.sdk import Variable
        print("the password is", Variable.get("db_password"))
    tell()

loud(); big_xcom(); forking(); slow(); secrets()
`;

let home: LiteHome;
let lite: Lite;
beforeAll(async () => {
  home = await createLiteHome();
  writeFileSync(join(home.workspace, "heavy.py"), DAGS);
  lite = await home.start();
});
afterAll(() => home.remove());

const running = (command: string): number =>
  Number(execFileSync("sh", ["-c", `ps -eo args= | grep -c '^${command}' || true`], { encoding: "utf8" }).trim());

describe("tasks that ask for much", () => {
  it("writes 100 MB of log without growing, and the log is read in pieces", async () => {
    await runDag(lite.client, "secrets").catch(() => undefined);
    const before = footprint(lite.pid, home.home).pssMb;
    const runId = await triggerDag(lite.client, "loud");
    let most = before;
    await until("the loud run ends", async () => {
      most = Math.max(most, footprint(lite.pid, home.home).pssMb);
      return ((await lite.client.call("GET", runPath("loud", runId))) as { state: string }).state === "success";
    });
    expect(most - before).toBeLessThan(250);
    const file = join(home.home, "logs/dag_id=loud", `run_id=${runId}`, "task_id=shout/attempt=1.log");
    expect(statSync(file).size).toBeGreaterThan(100_000_000);
    const piece = (await lite.client.call(
      "GET",
      `${runPath("loud", runId)}/taskInstances/shout/logs/1?map_index=-1`,
    )) as {
      content: unknown[];
      continuation_token: string | null;
    };
    expect(JSON.stringify(piece.content).length).toBeLessThan(32_000_000);
    expect(piece.continuation_token).not.toBeNull();
  });

  it("passes an XCom of 50 MB on", async () => {
    const run = await runDag(lite.client, "big_xcom");
    expect(run.state).toBe("success");
    expect(await xcomOf(lite.client, "big_xcom", run.runId, "measure")).toBe(50_000_000);
  });

  it("ends a task at its execution_timeout, with the reason in its log", async () => {
    const started = Date.now();
    const run = await runDag(lite.client, "slow");
    expect(run.state).toBe("failed");
    expect(Date.now() - started).toBeLessThan(30_000);
    expect(await logOf(lite.client, "slow", run.runId, "overtime")).toMatch(/Timeout/i);
  });

  it("masks secrets in logs", async () => {
    await lite.client.call("POST", "/api/v2/variables", { key: "db_password", value: "correct-horse" });
    const runId = await triggerDag(lite.client, "secrets");
    await waitForRun(lite.client, "secrets", runId);
    const log = await logOf(lite.client, "secrets", runId, "tell");
    expect(log).toContain("the password is ***");
    expect(log).not.toContain("correct-horse");
  });

  it("does not wait for children that a task leaves behind, and ends them when it stops", async () => {
    expect((await runDag(lite.client, "forking")).state).toBe("success");
    await lite.stop();
    await until("they are gone", () => running("sleep 4343") === 0 && processesOf(home.home).length === 0, 3);
  });
});
