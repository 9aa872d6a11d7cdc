import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ParseRequest, ParseResult } from "../domain/parse-result.ts";
import { processesAlive, startTestRuntime, type TestRuntime } from "../../test/support/python.ts";

let python: TestRuntime;

beforeAll(async () => {
  python = await startTestRuntime();
  await python.runtime.warm();
});
afterAll(async () => {
  await python.runtime.stop();
  expect(await processesAlive(python)).toEqual([]);
});

async function parse(relPath: string, text: string, changes: Partial<ParseRequest> = {}): Promise<ParseResult> {
  python.write(relPath, text);
  return await python.runtime.parseFile({
    workspace: python.workspace,
    path: join(python.workspace, relPath),
    relPath,
    projectPath: null,
    environment: "default",
    timeoutSeconds: 20,
    memoryMb: 512,
    ...changes,
  });
}

const SDK = "from airflow.sdk import DAG, Asset, Variable, dag, task\n";

describe("a file's DAGs", () => {
  it("are described by what DagModel holds", async () => {
    const result = await parse(
      "many.py",
      `${SDK}from datetime import timedelta
with DAG("one", schedule="@daily", tags=["b", "a"], description="first", max_active_runs=3, fail_fast=True,
         default_args={"owner": "zoe"}, dag_display_name="One", is_paused_upon_creation=False):
    @task(retries=1, max_active_tis_per_dag=2)
    def t(): ...
    t()
with DAG("two", schedule=[Asset("x://y")]):
    pass
with DAG("three", schedule=timedelta(hours=1), default_args={"retry_delay": timedelta(minutes=1)}):
    @task
    def u(): ...
    u()
`,
    );
    expect(result).toMatchObject({ failure: null, importErrors: [], files: ["many.py"] });
    const [one, three, two] = result.dags;
    expect(one).toMatchObject({
      dagId: "one",
      displayName: "One",
      description: "first",
      owners: "zoe",
      tags: ["a", "b"],
      timetableSummary: "0 0 * * *",
      timetablePeriodic: true,
      maxActiveRuns: 3,
      maxActiveTasks: 16,
      failFast: true,
      hasTaskConcurrencyLimits: true,
      isPausedUponCreation: false,
      assetExpression: null,
      fileloc: join(python.workspace, "many.py"),
    });
    expect(one?.dagHash).toMatch(/^[0-9a-f]{32}$/);
    expect(two?.assetExpression).toContain('"name": "x://y"');
    // As Python wrote it.
    expect(three?.serialized).toContain('"retry_delay": 60.0');
    expect((JSON.parse(three?.serialized ?? "") as { __version: number }).__version).toBe(3);
  });

  it("have the same hash each time", async () => {
    const text = `${SDK}with DAG("same", tags=["c", "a", "b"]):\n    @task\n    def t(): ...\n    t()\n`;
    const hashes = [await parse("same.py", text), await parse("same.py", text)].map(({ dags }) => dags[0]?.dagHash);
    expect(hashes[0]).toBe(hashes[1]);
  });

  it("may ask for Variables while they are imported", async () => {
    python.execution.answers.set("GetVariable", ({ key }) => ({
      body: { type: "VariableResult", key, value: "from-the-store" },
    }));
    const result = await parse("asks.py", `${SDK}with DAG(Variable.get("name")):\n    pass\n`);
    expect(result.dags.map(({ dagId }) => dagId)).toEqual(["from-the-store"]);
  });
});

describe("the files a DAG file is made of", () => {
  it("are its modules, templates and what it reads", async () => {
    python.write("lib/__init__.py", "");
    python.write("lib/used.py", "from lib import deeper\n");
    python.write("lib/deeper.py", "def f():\n    from . import late\n");
    python.write("lib/late.py", "import lib.later\n");
    python.write("lib/later.py", "");
    python.write("lib/unused.py", "");
    python.write("conf/dags.yaml", "x: 1\n");
    python.write("sql/query.sql", "select 1 {% include 'sql/part.sql' %}");
    python.write("sql/part.sql", "-- part");
    python.write("sql/big.csv", "data");
    const result = await parse(
      "made.py",
      `${SDK}import os
from lib import used
from airflow.providers.standard.operators.bash import BashOperator
here = os.path.dirname(__file__)
open(os.path.join(here, "conf/dags.yaml")).read()
os.listdir(os.path.join(here, "conf"))
class Sql(BashOperator):
    template_ext = (".sql",)
with DAG("made"):
    Sql(task_id="t", bash_command="sql/query.sql")
    BashOperator(task_id="absent", bash_command="echo nowhere.sql")
`,
    );
    expect(result.importErrors).toEqual([]);
    expect(result.files).toEqual([
      "lib/__init__.py",
      "lib/deeper.py",
      "lib/late.py",
      "lib/later.py",
      "lib/used.py",
      "made.py",
    ]);
    expect(result.templates).toEqual(["sql/part.sql", "sql/query.sql"]);
    expect(result.reads).toEqual(["conf/dags.yaml", "conf/"]);
  });

  it("are found from the project's folder first", async () => {
    python.write("project/leoflow.yaml", "");
    python.write("project/helper.py", "NAME = 'in-the-project'\n");
    python.write("helper.py", "NAME = 'in-the-workspace'\n");
    const result = await parse("project/dag.py", `${SDK}import helper\nwith DAG(helper.NAME):\n    pass\n`, {
      projectPath: join(python.workspace, "project"),
    });
    expect(result.dags[0]?.dagId).toBe("in-the-project");
    expect(result.files).toEqual(["project/dag.py", "project/helper.py"]);
    expect(existsSync(join(python.workspace, "project/__pycache__"))).toBe(false);
  });
});

describe("a file that fails", () => {
  it("is an import error with Airflow's traceback, and its files are known", async () => {
    python.write("broken_helper.py", "raise KeyError('the cause')\n");
    const result = await parse("broken.py", `${SDK}import broken_helper\n`);
    expect(result.dags).toEqual([]);
    expect(result.importErrors).toEqual([
      { filename: "broken.py", stacktrace: expect.stringContaining("KeyError: 'the cause'") as string },
    ]);
    expect(result.importErrors[0]?.stacktrace).toMatch(/^Traceback \(most recent call last\):/);
    expect(result.files).toEqual(["broken.py", "broken_helper.py"]);
  });

  it("by a cycle or a syntax error is an import error", async () => {
    const cycle = await parse(
      "cycle.py",
      `${SDK}with DAG("cycle"):\n    @task\n    def a(): ...\n    @task\n    def b(): ...\n    x, y = a(), b()\n    x >> y >> x\n`,
    );
    expect(cycle.importErrors[0]?.stacktrace).toContain("Cycle detected in Dag");
    const syntax = await parse("syntax.py", `${SDK}def (:\n`);
    expect(syntax.importErrors[0]?.stacktrace).toContain("SyntaxError");
    expect(syntax.files).toEqual(["syntax.py"]);
  });

  it("by hanging is ended at its time limit, with what it started", async () => {
    const result = await parse(
      "hangs.py",
      `${SDK}import subprocess, time\nprint("about to hang", flush=True)\nsubprocess.Popen(["sleep", "1000"])\ntime.sleep(1000)\n`,
      { timeoutSeconds: 1 },
    );
    expect(result.failure).toMatchObject({ kind: "timeout" });
    expect(result.failure?.message).toContain("longer than 1 s");
    expect(result.failure?.message).toContain("about to hang");
  });

  it("by its need for memory is an import error that says so", async () => {
    const result = await parse("hungry.py", `${SDK}held = []\nwhile True:\n    held.append(bytearray(10_000_000))\n`, {
      memoryMb: 200,
    });
    expect(result.importErrors[0]?.stacktrace).toMatch(/more than 200 MB of memory[^]*MemoryError/);
  });

  it("by a crash is told as that", async () => {
    const segfault = await parse("segv.py", `${SDK}import ctypes\nctypes.string_at(0)\n`);
    expect(segfault.failure).toMatchObject({ kind: "crash" });
    expect(segfault.failure?.message).toContain("SIGSEGV");
    const exits = await parse("exits.py", `${SDK}import os\nos._exit(3)\n`);
    expect(exits.failure?.message).toContain("exit code 3");
    const quits = await parse("quits.py", `${SDK}import sys\nsys.exit("no thanks")\n`);
    expect(quits.importErrors[0]?.stacktrace).toContain("SystemExit: no thanks");
  });
});

describe("small requests", () => {
  it("are answered by the installed Airflow", async () => {
    const { runtime } = python;
    const { providers } = (await runtime.request({ kind: "providers" })) as { providers: { package_name: string }[] };
    expect(providers.map((provider) => provider.package_name)).toContain("apache-airflow-providers-standard");
    const meta = (await runtime.request({ kind: "hook_meta" })) as { connection_type: string }[];
    expect(meta.map((hook) => hook.connection_type)).toContain("fs");
    expect(await runtime.request({ kind: "plugins" })).toMatchObject({ import_errors: [] });
    const config = (await runtime.request({ kind: "airflow_config" })) as {
      sections: { name: string; options: { key: string; value: string }[] }[];
    };
    const core = config.sections.find(({ name }) => name === "core");
    expect(core?.options.find(({ key }) => key === "dags_folder")?.value).toBe(python.workspace);
    const test = await runtime.request({
      kind: "test_connection",
      connection: { conn_type: "fs", extra: JSON.stringify({ path: python.workspace }) },
    });
    expect(test).toMatchObject({ status: true });
    await expect(runtime.request({ kind: "nonsense" })).rejects.toThrow("nonsense");
  });
});
