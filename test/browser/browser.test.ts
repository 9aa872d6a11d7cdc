import { copyFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ADMIN, createLiteHome, PASSWORD, runDag, type LiteHome } from "../support/lite.ts";
import type { Subject } from "./actions.ts";
import { CHECKS } from "./pages.ts";
import { startVisit, type Visit } from "./visit.ts";

const subject: Subject = {
  username: ADMIN,
  password: PASSWORD,
  dagId: "tour",
  runId: "",
  taskId: "numbers",
  mappedTaskId: "double",
  groupId: "report",
  logLine: "counting to 3",
  sourceLine: "A DAG with something to see on every page",
};

let home: LiteHome;
let visit: Visit;

beforeAll(async () => {
  home = await createLiteHome();
  copyFileSync(join(import.meta.dirname, "tour.py"), join(home.workspace, "tour.py"));
  writeFileSync(join(home.workspace, "broken.py"), "from airflow.sdk import dag\nimport no_such_module\n");
  const lite = await home.start();
  await runDag(lite.client, subject.dagId, { fails: true });
  const run = await runDag(lite.client, subject.dagId);
  expect(run.state).toBe("success");
  subject.runId = run.runId;
  visit = await startVisit({
    baseUrl: lite.base,
    screenshots: process.env["LEOFLOW_TEST_SCREENSHOTS"],
    slowness: Number(process.env["LEOFLOW_TEST_SLOWNESS"] ?? 0),
  });
});

afterAll(async () => {
  await visit?.close();
  await home?.remove();
});

describe("the unmodified Airflow UI on a running Lite", () => {
  for (const check of CHECKS) {
    it(`shows: ${check.name}`, async () => {
      try {
        await check.run(visit, subject);
      } catch (error) {
        await visit.screenshot(`failed-${check.name.replaceAll(" ", "-")}`);
        throw new Error(`${String(error)}\n${visit.problems().join("\n")}`, { cause: error });
      }
      expect(visit.problems()).toEqual([]);
    });
  }
});
