import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { PythonRuntime } from "../agent/python-runtime.ts";
import { taskLogPath } from "../domain/workload.ts";
import { makeDag, makeRun, makeTaskInstance, makeVersion, NOON } from "../../test/support/factories.ts";
import { createTestExecution, type TestExecution } from "../../test/support/execution.ts";
import { testPython } from "../../test/support/python.ts";

// Real tasks in real processes, against the real service: what the SDK asks is what we answer.

const DAG = `
from datetime import datetime, timedelta
from airflow.sdk import BaseHook, PokeReturnValue, Variable, dag, get_current_context, task, task_group
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync

@dag(dag_id="d", schedule=None, start_date=datetime(2025, 1, 1))
def d():
    @task
    def produce():
        context = get_current_context()
        assert context["dag_run"].conf == {"rate": 1.0, "n": 1}
        assert type(context["dag_run"].conf["rate"]) is float and type(context["dag_run"].conf["n"]) is int
        assert not context["prev_data_interval_start_success"]
        Variable.set("seen", "yes", description="by a task")
        assert Variable.get("seen") == "yes" and Variable.get("none", default=None) is None
        conn = BaseHook.get_connection("pg")
        assert (conn.password, conn.extra_dejson) == ("pw", {"a": 1})
        return [1.0, 2, 3]

    @task
    def double(n):
        return n * 2

    @task
    def total(values):
        values = list(values)
        assert len(values) == 3
        assert type(values[0]) is float
        return sum(values)

    @task(retries=1, retry_delay=timedelta(seconds=5))
    def flaky():
        raise ValueError("once")

    @task(retries=3)
    def hopeless():
        raise AirflowFailException("never again")

    @task
    def skipped():
        raise AirflowSkipException("not today")

    @task.short_circuit
    def stop():
        return False

    @task
    def after_stop():
        pass

    @task.sensor(mode="reschedule", poke_interval=60)
    def wait():
        return PokeReturnValue(is_done=False)

    total(double.expand(n=produce()))
    flaky()
    hopeless()
    skipped()
    stop() >> after_stop()
    wait()
    TriggerDagRunOperator(task_id="trigger", trigger_dag_id="other", trigger_run_id="by_task", conf={"x": 1.0})
    DateTimeSensorAsync(task_id="deferring", target_time="2099-01-01T00:00:00+00:00")

d()
`;

let t: TestExecution;
let runtime: PythonRuntime;
let runId: number;
let versionId: string;
const home = mkdtempSync(join(tmpdir(), "leoflow-execution-test-"));

beforeAll(async () => {
  t = await createTestExecution();
  const { db } = t.database;
  mkdirSync(join(home, "workspace"));
  writeFileSync(join(home, "workspace/d.py"), DAG);
  const { PATH = "" } = process.env;
  runtime = new PythonRuntime(
    t.x.kit,
    { execution: t.execution, parseHandler: (message) => t.execution.handle("", message) },
    {
      runtimeDir: join(import.meta.dirname, "../../python"),
      socketDir: null,
      logsDir: join(home, "logs"),
      workspace: join(home, "workspace"),
      environments: testPython,
      versionDir: () => join(home, "workspace"),
      env: { PATH, HOME: home, AIRFLOW_HOME: join(home, "airflow"), LANG: "C.UTF-8" },
      idleSeconds: 60,
      graceMs: 2000,
      heartbeatMs: 5000,
    },
  );
  await runtime.start();
  await makeDag(db, { dag_id: "d" });
  const tasks = [
    { id: "flaky", retries: 1, retry_delay: 5 },
    { id: "hopeless", retries: 3 },
  ];
  versionId = (await makeVersion(db, { dag_id: "d" }, { tasks })).id;
  const conf = '{"rate": 1.0, "n": 1}' as never;
  runId = (await makeRun(db, { dag_id: "d", run_id: "r1", logical_date: NOON, conf })).id;
  await makeDag(db, { dag_id: "other" });
  await makeVersion(db, { dag_id: "other" });
  const { secrets } = t.x.deps;
  const encrypted = { is_encrypted: true, is_extra_encrypted: true };
  const pg = {
    conn_id: "pg",
    conn_type: "postgres",
    password: secrets.encrypt("pw"),
    extra: secrets.encrypt('{"a": 1}'),
  };
  await db
    .insertInto("connection")
    .values({ ...pg, ...encrypted })
    .execute();
  await runtime.warm();
});

afterAll(async () => {
  await runtime.stop();
  await t.database.close();
  rmSync(home, { recursive: true, force: true });
});

/** Runs one try to its end; returns the row, whatever id it has by then, and the task's log. */
async function runTask(taskId: string, columns: { map_index?: number; max_tries?: number } = {}) {
  const { db } = t.database;
  const ti = await makeTaskInstance(db, {
    dag_run_id: runId,
    task_id: taskId,
    state: "queued",
    try_number: 1,
    ...columns,
  });
  const workload = {
    id: ti.id,
    dagId: "d",
    taskId,
    runId: "r1",
    mapIndex: ti.map_index,
    tryNumber: 1,
    dagVersionId: versionId,
    queue: "default",
    poolSlots: 1,
    priorityWeight: 1,
    executorConfig: null,
    dagRelPath: "d.py",
    bundle: { name: "dags-folder", version: null },
    archiveDigest: "v1",
    environment: "default",
  };
  await runtime.runTask(workload);
  const row = await db
    .selectFrom("task_instance")
    .selectAll()
    .where("dag_run_id", "=", runId)
    .where("task_id", "=", taskId)
    .where("map_index", "=", ti.map_index)
    .executeTakeFirstOrThrow();
  return { ti, row, log: readFileSync(join(home, "logs", taskLogPath(workload, 1)), "utf8") };
}

async function xcom(taskId: string, key = "return_value") {
  const row = await t.database.db
    .selectFrom("xcom")
    .select("value")
    .where("task_id", "=", taskId)
    .where("key", "=", key)
    .executeTakeFirst();
  return row?.value;
}

it("context, Variables, Connections, XComs and mapping", async () => {
  const produced = await runTask("produce");
  expect(produced.row.state, produced.log).toBe("success");
  expect(await xcom("produce")).toBe("[1.0, 2, 3]");
  const [length] = await t.database.db.selectFrom("task_map").selectAll().execute();
  expect(length).toMatchObject({ task_id: "produce", length: 3 });
  for (const map_index of [0, 1, 2]) {
    const doubled = await runTask("double", { map_index });
    expect(doubled.row.state, doubled.log).toBe("success");
  }
  const summed = await runTask("total");
  expect(summed.row.state, summed.log).toBe("success");
  expect(await xcom("total")).toBe("12.0");
  const fields = await t.database.db.selectFrom("rendered_task_instance_fields").select("task_id").execute();
  expect(fields.map(({ task_id }) => task_id)).toContain("produce");
});

it("retry, failure without retry, skip", async () => {
  const flaky = await runTask("flaky", { max_tries: 1 });
  expect(flaky.row, flaky.log).toMatchObject({ state: "up_for_retry", try_number: 1 });
  expect(flaky.row.id).not.toBe(flaky.ti.id);
  expect(flaky.row.wake_at).not.toBeNull();
  const hopeless = await runTask("hopeless", { max_tries: 3 });
  expect(hopeless.row, hopeless.log).toMatchObject({ state: "failed", id: hopeless.ti.id });
  const skipped = await runTask("skipped");
  expect(skipped.row.state, skipped.log).toBe("skipped");
});

it("short circuit, reschedule, triggered run, deferral without a triggerer", async () => {
  const after = await makeTaskInstance(t.database.db, { dag_run_id: runId, task_id: "after_stop" });
  const stop = await runTask("stop");
  expect(stop.row.state, stop.log).toBe("success");
  const rows = t.database.db.selectFrom("task_instance").select("state").where("id", "=", after.id);
  expect(await rows.execute()).toEqual([{ state: "skipped" }]);
  const wait = await runTask("wait");
  expect(wait.row, wait.log).toMatchObject({ state: "up_for_reschedule", id: wait.ti.id });
  const trigger = await runTask("trigger");
  expect(trigger.row.state, trigger.log).toBe("success");
  const run = await t.database.db.selectFrom("dag_run").selectAll().where("run_id", "=", "by_task").executeTakeFirst();
  expect(run).toMatchObject({ dag_id: "other", run_type: "operator_triggered", conf: '{"x": 1.0}' });
  const deferring = await runTask("deferring");
  expect(deferring.row.state, deferring.log).toBe("failed");
  expect(deferring.log).toContain("no triggerer runs here");
});
