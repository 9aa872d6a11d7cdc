import { cpSync, existsSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  createLiteHome,
  processesOf,
  taskInstances,
  triggerDag,
  until,
  waitForDag,
  waitForRun,
  type Lite,
  type LiteHome,
} from "../support/lite.ts";
import { COMPARED, outcomeOf, prepare, type Outcome } from "./deferral/outcome.ts";

const folder = join(import.meta.dirname, "deferral");
const recorded = JSON.parse(readFileSync(join(folder, "outcomes.json"), "utf8")) as Record<string, Outcome>;

let home: LiteHome;
let lite: Lite;
beforeAll(async () => {
  home = await createLiteHome();
  for (const file of ["deferral.py", "deferral_triggers.py"]) cpSync(join(folder, file), join(home.workspace, file));
  lite = await home.start();
  for (const dag of COMPARED) await waitForDag(lite.client, dag);
  await prepare(lite.client);
});
afterAll(() => home.remove());

describe("what defers ends as it does on Airflow", () => {
  const runs = new Map<string, string>();
  beforeAll(async () => {
    for (const dag of COMPARED) runs.set(dag, await triggerDag(lite.client, dag));
  });

  it.each(COMPARED)("%s", async (dag) => {
    const runId = runs.get(dag) ?? "";
    await waitForRun(lite.client, dag, runId);
    const ours = await outcomeOf(lite.client, dag, runId);
    const theirs = recorded[dag];
    expect(ours.state).toEqual(theirs?.state);
    expect(ours.tasks).toEqual(theirs?.tasks);
    for (const [attempt, said] of Object.entries(theirs?.logs ?? {})) {
      // Airflow keeps the log of the last of several deferrals only.
      await until(`${dag} ${attempt} says all`, async () => {
        const { logs } = await outcomeOf(lite.client, dag, runId);
        return said.every((line) => logs[attempt]?.includes(line));
      }).catch(async () => {
        expect((await outcomeOf(lite.client, dag, runId)).logs[attempt]).toEqual(said);
      });
    }
  });
});

describe("while a task waits", () => {
  const path = (dag: string, runId: string) => `/api/v2/dags/${dag}/dagRuns/${encodeURIComponent(runId)}`;
  const states = async (dag: string, runId: string) =>
    (await taskInstances(lite.client, dag, runId)).map(({ task_id, state }) => `${task_id} ${state}`).sort();
  const read = (file: string): string => (existsSync(file) ? readFileSync(file, "utf8") : "");

  /** A run whose task waits until `go` is called; `marks` tells what its trigger lived through. */
  async function waiting(dag: string) {
    const folder = mkdtempSync(join(dirname(home.home), "waits-"));
    const files = { path: join(folder, "go"), marks: join(folder, "marks") };
    const runId = await triggerDag(lite.client, dag, files);
    await until("its trigger runs", () => read(files.marks).includes("run"));
    return { runId, go: () => writeFileSync(files.path, ""), marks: () => read(files.marks) };
  }

  it("tells which trigger, and which triggerer", async () => {
    const { runId, go } = await waiting("defer_waits");
    const ti = (await lite.client.call("GET", `${path("defer_waits", runId)}/taskInstances/t`)) as {
      trigger: { classpath: string; triggerer_id: number };
      triggerer_job: { id: number; job_type: string; state: string };
    };
    expect(ti.trigger.classpath).toBe("deferral_triggers.DoesTrigger");
    expect(ti.triggerer_job).toMatchObject({ id: ti.trigger.triggerer_id, job_type: "TriggererJob", state: "running" });
    const health = await lite.client.call("GET", "/api/v2/monitor/health");
    expect(health).toMatchObject({ triggerer: { status: "healthy" } });
    go();
    expect((await waitForRun(lite.client, "defer_waits", runId)).state).toBe("success");
  });

  it("a clear ends the trigger and begins anew", async () => {
    const { runId, go, marks } = await waiting("defer_waits");
    await lite.client.call("POST", "/api/v2/dags/defer_waits/clearTaskInstances", {
      dry_run: false,
      dag_run_id: runId,
      task_ids: ["t"],
      only_failed: false,
    });
    await until("the first trigger was ended by the user", () => marks().includes("on_kill\ncleanup"));
    await until("the second runs", () => marks().match(/run/g)?.length === 2);
    go();
    const run = await waitForRun(lite.client, "defer_waits", runId);
    expect(run.taskInstances.map(({ task_id, state, try_number }) => [task_id, state, try_number]).sort()).toEqual([
      ["after", "success", 1],
      ["t", "success", 2],
    ]);
  });

  it("a mark ends the trigger, and the run goes on", async () => {
    const { runId, marks } = await waiting("defer_waits");
    await lite.client.call("PATCH", `${path("defer_waits", runId)}/taskInstances/t`, { new_state: "success" });
    expect((await waitForRun(lite.client, "defer_waits", runId)).state).toBe("success");
    await until("the trigger was ended by the user", () => marks().includes("on_kill\ncleanup"));
  });

  it("the run's end by time, or a deletion, ends the trigger", async () => {
    const timed = await waiting("defer_waits_a_while");
    expect((await waitForRun(lite.client, "defer_waits_a_while", timed.runId)).state).toBe("failed");
    expect(await states("defer_waits_a_while", timed.runId)).toEqual(["t skipped"]);
    await until("the trigger was ended", () => timed.marks().includes("on_kill\ncleanup"));
    const deleted = await waiting("defer_waits");
    await lite.client.call("DELETE", `${path("defer_waits", deleted.runId)}/taskInstances/t`);
    await until("the trigger was ended", () => deleted.marks().includes("on_kill\ncleanup"));
  });

  it("it holds its pool's slots only where the pool says so", async () => {
    for (const include_deferred of [true, false]) {
      const name = include_deferred ? "with_deferred" : "without_deferred";
      await lite.client.call("POST", "/api/v2/pools", { name, slots: 1, include_deferred });
    }
    const { runId, go } = await waiting("defer_pools");
    await until("one that wants a slot gets it", async () =>
      (await states("defer_pools", runId)).includes("without_deferred_wants success"),
    );
    expect(await states("defer_pools", runId)).toContain("with_deferred_wants scheduled");
    go();
    expect((await waitForRun(lite.client, "defer_pools", runId)).state).toBe("success");
  });

  it("a triggerer that is killed is replaced", async () => {
    const { runId, go, marks } = await waiting("defer_waits");
    process.kill(Number(/run (\d+)/.exec(marks())?.[1]), "SIGKILL");
    await until("another runs it", () => marks().match(/run/g)?.length === 2);
    go();
    expect((await waitForRun(lite.client, "defer_waits", runId)).state).toBe("success");
    expect(marks()).not.toContain("on_kill");
  });

  it("Leoflow itself may be killed: the next start waits on for all hundred", async () => {
    const { runId, go, marks } = await waiting("defer_hundred");
    const all = (state: string) => async () =>
      (await states("defer_hundred", runId)).filter((text) => text === `t ${state}`).length === 100;
    await until("all have deferred", all("deferred"));
    await until("all triggers run", () => marks().match(/run/g)?.length === 100);
    lite.process.kill("SIGKILL");
    await until("Python and PostgreSQL have ended", () => processesOf(home.home).length === 0, 20);
    go();
    lite = await home.start();
    const run = await waitForRun(lite.client, "defer_hundred", runId);
    expect(run.state).toBe("success");
    expect(new Set(run.taskInstances.map(({ try_number }) => try_number))).toEqual(new Set([1]));
    expect(marks().match(/run/g)).toHaveLength(200);
  });

  it("it costs no process when nothing waits for long", async () => {
    const { ms } = await lite.stop();
    expect(ms).toBeLessThan(5_000);
    expect(processesOf(home.home)).toEqual([]);
    lite = await home.start();
    await waitForDag(lite.client, "defer_waits");
    expect(processesOf(home.home).filter(({ command }) => command.includes("leoflow triggers"))).toEqual([]);
  });
});
