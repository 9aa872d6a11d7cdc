import { cpSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  createLiteHome,
  triggerDag,
  until,
  waitForDag,
  waitForRun,
  type Lite,
  type LiteHome,
} from "../support/lite.ts";
import { COMPARED, outcomeOf, type Outcome } from "./deferral/outcome.ts";

const folder = join(import.meta.dirname, "deferral");
const recorded = JSON.parse(readFileSync(join(folder, "outcomes.json"), "utf8")) as Record<string, Outcome>;

let home: LiteHome;
let lite: Lite;
beforeAll(async () => {
  home = await createLiteHome();
  for (const file of ["deferral.py", "deferral_triggers.py"]) cpSync(join(folder, file), join(home.workspace, file));
  lite = await home.start();
  for (const dag of COMPARED) await waitForDag(lite.client, dag);
  for (const dag of ["defer_child", "defer_child_fails"]) await lite.client.unpause(dag);
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
