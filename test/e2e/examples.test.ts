import { cpSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createLiteHome, logOf, runDag, xcomOf, type Lite, type LiteHome } from "../support/lite.ts";

const examples = join(import.meta.dirname, "../../examples");

let home: LiteHome;
let lite: Lite;
beforeAll(async () => {
  home = await createLiteHome();
  cpSync(examples, home.workspace, { recursive: true });
  lite = await home.start();
});
afterAll(() => home.remove());

const states = (run: { taskInstances: { task_id: string; map_index: number; state: string | null }[] }) =>
  Object.fromEntries(
    run.taskInstances.map((ti) => [ti.map_index < 0 ? ti.task_id : `${ti.task_id}[${ti.map_index}]`, ti.state]),
  );

/** Each DAG of examples/ with what its run must come to. A new example must be added here. */
describe("examples", () => {
  it("are all tested", () => {
    const files = readdirSync(examples).filter(
      (name) => name.endsWith(".py") || name === "sales_etl" || name === "starter",
    );
    expect(files.sort()).toEqual([
      "bash_and_jinja.py",
      "branching.py",
      "map_reduce.py",
      "order_report.py",
      "params_form.py",
      "retries.py",
      "sales_etl",
      "sensor.py",
      "starter",
      "task_groups.py",
    ]);
  });

  it("sales_etl: CSV to SQLite to a report", async () => {
    const run = await runDag(lite.client, "sales_etl");
    expect(run.state).toBe("success");
    expect(await xcomOf(lite.client, "sales_etl", run.runId, "report")).toContain("| north | 2 | 220.40 |");
    expect(await logOf(lite.client, "sales_etl", run.runId, "transform")).toContain("6 of 8 rows are valid");
  });

  it("map_reduce: one instance per text, then the reduction", async () => {
    const run = await runDag(lite.client, "map_reduce");
    expect(states(run)).toEqual({
      texts: "success",
      "count_words[0]": "success",
      "count_words[1]": "success",
      "count_words[2]": "success",
      most_common: "success",
    });
  });

  it("order_report: Python, TypeScript, mapped TypeScript, Python", async () => {
    const run = await runDag(lite.client, "order_report");
    expect(states(run)).toEqual({
      read_orders: "success",
      by_region: "success",
      "describe[0]": "success",
      "describe[1]": "success",
      report: "success",
    });
    expect(await xcomOf(lite.client, "order_report", run.runId, "report")).toBe("north: 24.75 EUR\nsouth: 11.00 EUR");
  });

  it("branching: goes the way that was asked for", async () => {
    const run = await runDag(lite.client, "branching", { way: "right" });
    expect(states(run)).toEqual({
      choose: "success",
      left: "skipped",
      right: "success",
      together: "success",
      is_there_more: "success",
      end: "success",
    });
  });

  it("retries: succeeds in its third try", async () => {
    const run = await runDag(lite.client, "retries");
    expect(run.state).toBe("success");
    expect(run.taskInstances.find((ti) => ti.task_id === "flaky")?.try_number).toBe(3);
    expect(await logOf(lite.client, "retries", run.runId, "flaky", 1)).toContain("the service is not there yet");
    expect(await logOf(lite.client, "retries", run.runId, "flaky", 3)).toContain("try 3 of 4");
  });

  it("params_form: uses what the form gave, refuses what its schema forbids", async () => {
    const run = await runDag(lite.client, "params_form", {
      names: ["Leo"],
      language: "german",
      exclamations: 2,
      shout: true,
    });
    expect(await xcomOf(lite.client, "params_form", run.runId, "greet")).toEqual(["HALLO LEO!!"]);
    await expect(runDag(lite.client, "params_form", { exclamations: 9 })).rejects.toThrow(/400|422/);
  });

  it("task_groups: all groups succeed", async () => {
    const run = await runDag(lite.client, "task_groups");
    expect(run.state).toBe("success");
    expect(await xcomOf(lite.client, "task_groups", run.runId, "add")).toBe(4 + 7 + 9);
  });

  it("bash_and_jinja: renders macros, XComs and a template file", async () => {
    const run = await runDag(lite.client, "bash_and_jinja");
    expect(run.state).toBe("success");
    const log = await logOf(lite.client, "bash_and_jinja", run.runId, "report");
    expect(log).toContain("of bash_and_jinja");
    expect(log).toContain("the greeting has 4 words");
  });

  it("sensor: waits, then reads", async () => {
    const run = await runDag(lite.client, "sensor");
    expect(run.state).toBe("success");
    expect(await xcomOf(lite.client, "sensor", run.runId, "read")).toBe("the data has landed\n");
  });
});
