import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { ParseResult, ProjectOverlay } from "../domain/parse-result.ts";
import { startTestRuntime, type TestRuntime } from "../../test/support/python.ts";

let python: TestRuntime;
beforeAll(async () => {
  python = await startTestRuntime();
});
afterAll(() => python.runtime.stop());

const FLOW = `from airflow.sdk import DAG, task
from datetime import timedelta
with DAG("sales", schedule="0 6 * * *", description="old", tags=["a"], default_args={"retry_delay": timedelta(seconds=7)}):
    @task(retries=1, owner="zoe")
    def extract(): ...
    @task
    def load(n): ...
    extract() >> load.expand(n=[1])
`;

async function parse(text: string, changes: Partial<ProjectOverlay>): Promise<ParseResult> {
  python.write("p/dag.py", text);
  const overlay = { file: "p/leoflow.yaml", dag_id: null, places: {}, dag: {}, defaults: {}, tasks: {}, ...changes };
  return await python.runtime.parseFile({
    workspace: python.workspace,
    path: join(python.workspace, "p/dag.py"),
    relPath: "p/dag.py",
    projectPath: join(python.workspace, "p"),
    environment: "default",
    timeoutSeconds: 20,
    memoryMb: 512,
    overlay,
  });
}

interface Serialized {
  dag: { timetable: unknown; tasks: { __var: Record<string, unknown> & { task_id: string } }[] };
}

it("goes before the code in the DAG and its tasks; defaults fill what the code leaves unsaid", async () => {
  const { dags, importErrors } = await parse(FLOW, {
    dag: {
      description: "new",
      owner: "ann",
      tags: ["b"],
      schedule: "30 7 * * *",
      schedule_timezone: "Europe/Berlin",
      max_active_runs: 2,
      max_active_tasks: 3,
    },
    defaults: { retries: 4, retry_delay_seconds: 5, execution_timeout_seconds: 60 },
    tasks: { load: { retries: 9, execution_timeout_seconds: 30 } },
  });
  expect(importErrors).toEqual([]);
  expect(dags[0]).toMatchObject({
    description: "new",
    owners: "ann, zoe",
    tags: ["a", "b"],
    timetableSummary: "30 7 * * *",
    maxActiveRuns: 2,
    maxActiveTasks: 3,
    fileloc: join(python.workspace, "p/dag.py"),
  });
  const { dag } = JSON.parse(dags[0]?.serialized ?? "") as Serialized;
  expect(JSON.stringify(dag.timetable)).toContain("Europe/Berlin");
  const task = (id: string) => dag.tasks.map(({ __var }) => __var).find(({ task_id }) => task_id === id);
  expect(task("extract")).toMatchObject({ retries: 1, retry_delay: 7, execution_timeout: 60, owner: "zoe" });
  expect(task("load")).toMatchObject({ partial_kwargs: { retries: 9, retry_delay: { __var: 7 } } });
  expect(JSON.stringify(task("load"))).toContain("30");
});

const TWO = `from airflow.sdk import DAG\nDAG("a")\nDAG("b")\nx, y = DAG("c"), DAG("d")\n`;

it.each<[string, string, Partial<ProjectOverlay>, string]>([
  [
    "an unknown task",
    FLOW,
    { tasks: { transfrom: { retries: 1 } }, places: { "tasks.transfrom": "3:5" } },
    'p/leoflow.yaml:3:5: leoflow.yaml tasks: unknown task_id "transfrom"; the DAG defines [extract load]',
  ],
  [
    "an unknown DAG",
    FLOW,
    { dag_id: "x", places: { dag_id: "1:1" } },
    "p/leoflow.yaml:1:1: DAG 'x' not found in dag.py; found [sales]",
  ],
  [
    "several DAGs and no choice",
    TWO,
    { dag: { description: "x" } },
    "p/leoflow.yaml: multiple DAGs in dag.py [c d]; set dag_id in leoflow.yaml",
  ],
  [
    "a time zone for no cron",
    FLOW.replace('"0 6 * * *"', "timedelta(days=1)"),
    { dag: { schedule_timezone: "UTC" }, places: { schedule_timezone: "2:1" } },
    "p/leoflow.yaml:2:1: schedule_timezone needs a cron expression as schedule",
  ],
])("refuses %s", async (_, text, changes, message) => {
  const { dags, importErrors } = await parse(text, changes);
  expect(dags).toEqual([]);
  expect(importErrors[0]?.stacktrace).toContain(message);
});
