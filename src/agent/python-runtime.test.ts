import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { RawJson } from "../domain/task-execution.ts";
import { taskLogPath } from "../domain/workload.ts";
import { processesNow, startTestRuntime, type TestRuntime, untilTrue } from "../../test/support/python.ts";

let python: TestRuntime;

const DAG = `
from airflow.sdk import dag, task
import helper

@dag(dag_id="d")
def d():
    @task
    def t():
        print("hello from t")
        return {"n": helper.N, "i": 60}

    t()

d()
`;

beforeAll(async () => {
  python = await startTestRuntime();
  python.write("d.py", DAG);
  python.write("helper.py", "N = 60.0\n");
  await python.runtime.warm();
});
afterAll(async () => {
  await python.runtime.stop();
});

const logLines = (workload: Parameters<typeof taskLogPath>[0]) =>
  readFileSync(join(python.home, "logs", taskLogPath(workload, 1)), "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as { event: string; logger: string; level: string });

describe("running a task", () => {
  it("runs it to its end and keeps what it says", async () => {
    const workload = python.workload({});
    await python.runtime.runTask(workload);
    const xcom = python.execution.sent("SetXCom", workload.id)[0];
    expect((xcom?.["value"] as RawJson).text).toBe('{"n": 60.0, "i": 60}');
    expect(python.execution.sent("SucceedTask", workload.id)).toHaveLength(1);
    expect(python.execution.exits.get(workload.id)).toMatchObject({ code: 0, signal: null, reason: null });
    expect(logLines(workload)).toContainEqual(
      expect.objectContaining({ event: "hello from t", logger: "task.stdout", level: "info" }),
    );
  });
});

describe("a DAG zygote", () => {
  it("ends with its spare child when nothing needs it", async () => {
    const quick = await startTestRuntime({ idleSeconds: 0.1 });
    quick.write("d.py", "from airflow.sdk import DAG, task\nwith DAG('d'):\n    @task\n    def t(): ...\n    t()\n");
    await quick.runtime.runTask(quick.workload({}));
    await untilTrue(() => processesNow(quick).length === 1);
    await quick.runtime.runTask(quick.workload({}));
    expect(quick.execution.sent("SucceedTask")).toHaveLength(2);
    await quick.runtime.stop();
    expect(processesNow(quick)).toEqual([]);
  });
});

describe("an environment", () => {
  it("that is no longer used ends; the default stays", async () => {
    const several = await startTestRuntime({ idleSeconds: 0.1 });
    several.write("d.py", "from airflow.sdk import DAG, task\nwith DAG('d'):\n    @task\n    def t(): ...\n    t()\n");
    await Promise.all([several.runtime.warm(), several.runtime.warm("project")]);
    await several.runtime.runTask(several.workload({ environment: "project" }));
    expect(several.execution.sent("SucceedTask")).toHaveLength(1);
    await untilTrue(() => processesNow(several).length === 1);
    expect(processesNow(several)[0]).toContain(`${several.runtime.basePid()} `);
    await several.runtime.stop();
  });
});

describe("parsing a file", () => {
  it("returns its DAGs and the files it is made of", async () => {
    const result = await python.runtime.parseFile({
      workspace: python.workspace,
      path: join(python.workspace, "d.py"),
      relPath: "d.py",
      projectPath: null,
      environment: "default",
      timeoutSeconds: 30,
      memoryMb: 1024,
    });
    expect(result.failure).toBeNull();
    expect(result.dags.map((dag) => dag.dagId)).toEqual(["d"]);
    expect(result.files).toEqual(["d.py", "helper.py"]);
  });
});
