import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import {
  createLiteHome,
  taskInstances,
  triggerDag,
  until,
  waitForDag,
  waitForRun,
  type Lite,
  type LiteHome,
} from "../../test/support/lite.ts";
import type { Why } from "../api/leoflow/why-contract.ts";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const program = join(import.meta.dirname, "../../bin/leoflow");
let home: LiteHome;
let lite: Lite;
let release: string;

beforeAll(async () => {
  home = await createLiteHome();
  release = join(home.workspace, "release");
  const dag = `
import os, time
from airflow.sdk import dag, task

@dag(schedule=None)
def crowded():
    @task(pool="one", priority_weight=10)
    def hold():
        while not os.path.exists(${JSON.stringify(release)}):
            time.sleep(0.05)
    @task(pool="one", weight_rule="absolute")
    def wants(): ...
    @task
    def after(): ...
    hold()
    wants() >> after()
crowded()
`;
  lite = await home.start();
  await lite.client.call("POST", "/api/v2/pools", { name: "one", slots: 1 });
  writeFileSync(join(home.workspace, "crowded.py"), dag);
  await waitForDag(lite.client, "crowded");
});
afterAll(() => home.remove());

/** `leoflow why …` as a user runs it. */
function why(...args: string[]) {
  const child = spawn(process.execPath, [program, "why", ...args], {
    env: { ...process.env, LEOFLOW_HOME: home.home },
  });
  let [out, err] = ["", ""];
  child.stdout.on("data", (data: Buffer) => (out += data.toString()));
  child.stderr.on("data", (data: Buffer) => (err += data.toString()));
  return new Promise<{ code: number | null; out: string; err: string }>((done) =>
    child.once("close", (code) => done({ code, out, err })),
  );
}

it("tells what holds a DAG, a run and a task of a Lite that runs", async () => {
  expect(await why("crowded")).toEqual({
    code: 0,
    err: "",
    out: expect.stringContaining("  • DAG crowded is paused. paused\n") as string,
  });
  const run = await triggerDag(lite.client, "crowded");
  await until("one runs, one waits", async () => {
    const states = (await taskInstances(lite.client, "crowded", run)).map(
      ({ task_id, state }) => `${task_id} ${state}`,
    );
    return states.includes("hold running") && states.includes("wants scheduled");
  });
  const [ofRun, ofTask, ofAfter, wrong] = await Promise.all([
    why("crowded", run),
    why("crowded", run, "wants", "--json"),
    why("crowded", run, "after"),
    why("crowded", "nobody"),
  ]);
  const needs = `wants needs 1 slot of pool one, where 1 of 1 are in use, taken by crowded.hold of ${run}.`;
  expect(ofRun.out).toContain(`  • ${needs} pool\n`);
  expect(JSON.parse(ofTask.out) as Why).toMatchObject({
    dag_id: "crowded",
    run_id: run,
    task_id: "wants",
    state: "scheduled",
    reasons: [
      {
        code: "pool",
        message: needs,
        pool: { name: "one", slots: 1, occupied: 1 },
        task_instances: [{ task_id: "hold", state: "running", pool_slots: 1 }],
      },
    ],
  });
  expect(ofAfter.out).toContain("after waits for its trigger rule all_success: wants (scheduled). trigger_rule");
  expect(wrong).toEqual({
    code: 1,
    out: "",
    err: "error: The DagRun with dag_id: `crowded` and run_id: `nobody` was not found\n",
  });

  writeFileSync(release, "");
  await waitForRun(lite.client, "crowded", run);
  expect((await why("crowded", run, "wants")).out).toContain("wants ended as success");
});

it("says in one line what is wrong", async () => {
  await lite.stop();
  const [stopped, index, needless] = await Promise.all([
    why("crowded"),
    why("crowded", "run", "task", "--map-index", "x"),
    why("crowded", "--map-index", "1"),
  ]);
  const notRunning = "error: Leoflow is not running\n  fix: start it with `leoflow lite`, then ask again\n";
  expect(stopped).toEqual({ code: 1, out: "", err: notRunning });
  expect(index).toMatchObject({ code: 2, err: expect.stringContaining('error: --map-index is "x"\n') as string });
  expect(needless).toMatchObject({
    code: 2,
    err: expect.stringContaining("error: --map-index needs a task\n") as string,
  });
});
