import { existsSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { CallbackOutcome, DueCallback } from "../domain/callback.ts";
import { newId } from "../kit/ids.ts";
import { toJsonText } from "../kit/json-text.ts";
import {
  processesAlive,
  startTestRuntime,
  taskContext,
  untilTrue,
  type TestRuntime,
} from "../../test/support/python.ts";

let python: TestRuntime;

beforeAll(async () => {
  const plugins = mkdtempSync(join(tmpdir(), "leoflow-plugins-"));
  writeFileSync(join(plugins, "references.py"), PLUGIN);
  python = await startTestRuntime(
    {},
    { AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT: "6", AIRFLOW__CORE__PLUGINS_FOLDER: plugins },
  );
  python.write(
    "helper.py",
    `def alert(text, context):\n    note("alert", f"{text!r} {context['deadline']['id']}")\n${NOTE}`,
  );
  python.write("d.py", FILE);
  python.write("chance.py", CHANCE);
  await python.runtime.warm();
});
afterAll(async () => {
  await python.runtime.stop();
  expect(await processesAlive(python)).toEqual([]);
});

const PLUGIN = `
from datetime import datetime, timezone
from airflow.plugins_manager import AirflowPlugin
from airflow.sdk import BaseDeadlineReference

class OfRun(BaseDeadlineReference):
    required_kwargs = {"run_id"}
    def _evaluate_with(self, *, session, run_id):
        if run_id == "none":
            return None
        return datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=timezone.utc)

class Plugin(AirflowPlugin):
    name = "references"
    deadline_references = [OfRun]
`;

const NOTE = `
import os
def note(name, text):
    with open(os.path.join(os.environ["TEST_FLAGS"], name), "a") as file:
        file.write(text + "\\n")
`;

const FILE = `${NOTE}
import time
from airflow.sdk import DAG, BaseNotifier, Variable
from airflow.providers.standard.operators.empty import EmptyOperator

def named(name):
    def callback(context):
        ti = context.get("ti")
        note(name, f"{context['run_id']} {context['reason'] if 'reason' in context else context['ti'].try_number} {ti.task_id if ti else None}")
        print("printed by", name)
    return callback

def raises(context):
    raise ValueError("the callback raised")

def sleeps(context):
    note("sleeps", str(os.getpid()))
    time.sleep(600)

def dies(context):
    os._exit(3)

class Notifies(BaseNotifier):
    template_fields = ("text",)
    def __init__(self, text):
        super().__init__()
        self.text = text
    def notify(self, context):
        note("notifier", self.text)

def asks(context):
    note("asks", Variable.get("v", default="none"))

with DAG("d", schedule=None, on_success_callback=[raises, named("success")], on_failure_callback=named("failure")):
    EmptyOperator(task_id="t", retries=2, on_failure_callback=[raises, named("task_failure"), Notifies("{{ ti.task_id }} of {{ dag.dag_id }}")],
        on_retry_callback=named("retry"))
for name, callback in {"sleeps": sleeps, "dies": dies, "asks": asks}.items():
    with DAG(name, schedule=None, on_failure_callback=callback):
        EmptyOperator(task_id="t")

def in_the_file(context, *, n):
    note("in_the_file", f"{n} {context['dag_run']['run_id']}")
`;

/** With what the zygote would have imported of numpy. */
const CHANCE = `${NOTE}
import random, sys, types
from airflow.sdk import DAG
from airflow.providers.standard.operators.empty import EmptyOperator

sys.modules["numpy"] = types.ModuleType("numpy")
sys.modules["numpy"].random = random.Random(1)

def draws(context):
    note("draws", str(sys.modules["numpy"].random.random()))

with DAG("chance", schedule=None, on_failure_callback=draws):
    EmptyOperator(task_id="t")
`;

const dagRun = (dagId = "d") => {
  const { dag_run } = taskContext() as { dag_run: Record<string, unknown> };
  return { ...dag_run, dag_id: dagId, state: "failed" };
};
const ti = {
  id: newId(),
  dag_id: "d",
  run_id: "r1",
  task_id: "t",
  try_number: 2,
  map_index: -1,
  dag_version_id: newId(),
};

async function run(data: Record<string, unknown>, changes: Partial<DueCallback> = {}): Promise<CallbackOutcome> {
  return await python.runtime.runCallback({
    id: newId(),
    type: "dag_processor",
    dagId: "d",
    runId: "r1",
    data: toJsonText(data),
    attempt: 1,
    environment: "default",
    archiveDigest: "v1",
    dagRelPath: "d.py",
    logPath: "callback.log",
    ...changes,
  });
}
const noted = (name: string): string => {
  const file = join(python.flags, name);
  return existsSync(file) ? readFileSync(file, "utf8") : "";
};
const log = (): string => readFileSync(join(python.home, "logs/callback.log"), "utf8");

describe("a DAG's callbacks", () => {
  it("run with the task that the run ended by, all of them, whichever raises", async () => {
    const outcome = await run({ kind: "dag", state: "success", msg: "success", dag_run: dagRun(), ti });
    expect(outcome).toEqual({ kind: "done", errors: ["ValueError: the callback raised"] });
    expect(noted("success")).toBe("r1 success t\n");
    expect(log()).toContain("Executing on_success dag callback");
    expect(log()).toContain("ValueError");
    expect(log()).toContain("printed by success");
  });

  it("run without a task, too", async () => {
    expect(await run({ kind: "dag", state: "failed", msg: "timed_out", dag_run: dagRun(), ti: null })).toEqual({
      kind: "done",
      errors: [],
    });
    expect(noted("failure")).toBe("r1 timed_out None\n");
  });

  it("may ask for Variables", async () => {
    python.execution.answers.set("GetVariable", () => ({
      body: { type: "VariableResult", key: "v", value: "secret" },
    }));
    await run({ kind: "dag", state: "failed", msg: "", dag_run: dagRun("asks"), ti: null }, { dagId: "asks" });
    expect(noted("asks")).toBe("secret\n");
  });

  it("draw other random numbers each time", async () => {
    const data = { kind: "dag", state: "failed", msg: "", dag_run: dagRun("chance"), ti: null };
    const where = { dagId: "chance", dagRelPath: "chance.py" };
    for (let i = 0; i < 2; i++) expect(await run(data, where)).toEqual({ kind: "done", errors: [] });
    const [one, another] = noted("draws").trim().split("\n");
    expect(another).toBeDefined();
    expect(another).not.toBe(one);
  });

  it("are ended when they take too long, with all they started", async () => {
    const outcome = await run({ kind: "dag", state: "failed", msg: "", dag_run: dagRun("sleeps"), ti: null });
    expect(outcome).toEqual({ kind: "timed-out", seconds: 6 });
    await untilTrue(() => !existsSync(`/proc/${noted("sleeps").trim()}`));
    expect(log()).toContain("took longer than 6 s");
  });

  it("may end their process", async () => {
    const outcome = await run({ kind: "dag", state: "failed", msg: "", dag_run: dagRun("dies"), ti: null });
    expect(outcome).toEqual({ kind: "lost", reason: "the callback's process ended: exit code 3" });
  });
});

describe("a lost task's callbacks", () => {
  it("are those of a failure, notifiers included", async () => {
    const outcome = await run({ kind: "task", state: "failed", msg: "lost", dag_run: dagRun(), ti, max_tries: 2 });
    expect(outcome).toEqual({ kind: "done", errors: ["ValueError: the callback raised"] });
    expect(noted("task_failure")).toBe("r1 2 t\n");
    expect(noted("notifier")).toBe("t of d\n");
  });

  it("are those of a retry, or of a task that its trigger ended", async () => {
    await run({ kind: "task", state: "up_for_retry", msg: "lost", dag_run: dagRun(), ti, max_tries: 2 });
    expect(noted("retry")).toBe("r1 2 t\n");
    const outcome = await run({
      kind: "task",
      state: "up_for_retry",
      by_trigger: true,
      dag_run: dagRun(),
      ti,
      max_tries: 2,
    });
    expect(outcome).toEqual({ kind: "done", errors: [] });
    expect(noted("retry")).toBe("r1 2 t\nr1 2 t\n");
  });

  it("say so when the task is gone from the file", async () => {
    const gone = { ...ti, task_id: "gone" };
    const outcome = await run({
      kind: "task",
      state: "failed",
      msg: "lost",
      dag_run: dagRun(),
      ti: gone,
      max_tries: 2,
    });
    expect(outcome).toMatchObject({ kind: "done", errors: [expect.stringContaining("Task 'gone' not found")] });
  });
});

describe("a missed deadline's callback", () => {
  const context = { dag_run: { run_id: "r1" }, deadline: { id: "the-id" } };
  it("is found in a module beside the DAG, or in the DAG's own file", async () => {
    const kwargs = { text: 1.5, context };
    expect(await run({ kind: "path", path: "helper.alert", kwargs })).toEqual({ kind: "done", errors: [] });
    expect(noted("alert")).toBe("1.5 the-id\n");
    const path = "unusual_prefix_0000000000000000000000000000000000000000_d.in_the_file";
    expect(await run({ kind: "path", path, kwargs: { n: 3, context } })).toEqual({ kind: "done", errors: [] });
    expect(noted("in_the_file")).toBe("3 r1\n");
  });

  it("may not be there", async () => {
    const outcome = await run({ kind: "path", path: "nowhere.to_be_found", kwargs: {} });
    expect(outcome).toMatchObject({ kind: "done", errors: [expect.stringContaining("No module named 'nowhere'")] });
  });
});

it("evaluates what a deadline refers to by a plugin's class", async () => {
  const reference = { reference_type: "OfRun", __class_path: "references.OfRun" };
  const of = (run_id: string, more = {}) =>
    run({ kind: "reference", reference: { ...reference, ...more }, dag_id: "d", run_id });
  expect(await of("r1")).toEqual({ kind: "done", errors: [], value: "2026-01-02T03:04:05.000006+00:00" });
  expect(await of("none")).toEqual({ kind: "done", errors: [] });
  const unknown = await of("r1", { __class_path: "references.Unknown" });
  expect(unknown).toMatchObject({ kind: "done", errors: [expect.stringContaining("references.Unknown")] });
});

it("says so when the DAG's file is gone, or nothing starts", async () => {
  const data = { kind: "dag", state: "failed", msg: "", dag_run: dagRun(), ti: null };
  expect(await run(data, { dagRelPath: "gone.py" })).toMatchObject({
    kind: "done",
    errors: [expect.stringContaining("DAG 'd' not found")],
  });
  const stopped = await startTestRuntime();
  await stopped.runtime.stop();
  const callback = { id: newId(), type: "executor", data: toJsonText(data), logPath: "x", dagRelPath: "d.py" } as const;
  const where = { dagId: "d", runId: "r", attempt: 1, environment: "default", archiveDigest: "v1" };
  expect((await stopped.runtime.runCallback({ ...callback, ...where })).kind).toBe("lost");
});
