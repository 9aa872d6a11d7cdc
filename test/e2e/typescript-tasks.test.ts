import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  createLiteHome,
  logOf,
  runDag,
  triggerDag,
  until,
  waitForDag,
  waitForRun,
  xcomOf,
  type Lite,
  type LiteHome,
} from "../support/lite.ts";

let home: LiteHome;
let lite: Lite;
beforeAll(async () => {
  home = await createLiteHome();
  lite = await home.start({
    env: { SHOP: "main street", HOLD: hold(""), AIRFLOW__SDK__QUEUE_TO_COORDINATOR: '{"node": "typescript"}' },
  });
});
afterAll(() => home.remove());

/** Where a task of a run leaves its pid. */
const hold = (runId: string) => join(home.home, `hold-${runId}`);

const IMPORT = 'import { FailTask, float, SkipTask, task } from "@leoflow/task";\n';

function save(relPath: string, text: string): void {
  const path = join(home.workspace, relPath);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

/** A DAG whose body is `tasks`, after its functions in TypeScript, which save the DAG file from an import error. */
function saveDag(dagId: string, typescript: string, tasks: string): void {
  save(`${dagId}.tasks.ts`, IMPORT + typescript);
  const body = tasks.trim().replaceAll(/^/gm, "    ");
  save(
    `${dagId}.py`,
    `from datetime import timedelta\nfrom airflow.sdk import Asset, dag, task\n\n@dag(schedule=None, params={"region": "eu", "size": 2})\ndef ${dagId}():\n${body}\n\n${dagId}()\n`,
  );
}

const states = (run: { taskInstances: { task_id: string; state: string | null }[] }) =>
  Object.fromEntries(run.taskInstances.map((ti) => [ti.task_id, ti.state]));

async function importError(relPath: string): Promise<string> {
  const { import_errors: errors } = (await lite.client.call("GET", "/api/v2/importErrors?limit=100")) as {
    import_errors: { filename: string; stack_trace: string }[];
  };
  return errors.find(({ filename }) => filename.endsWith(relPath))?.stack_trace ?? "";
}

/** The log's lines as they were written. */
function linesOf(dagId: string, runId: string, taskId: string): Record<string, unknown>[] {
  const file = join(home.home, `logs/dag_id=${dagId}/run_id=${runId}/task_id=${taskId}/attempt=1.log`);
  const lines = readFileSync(file, "utf8").trim().split("\n");
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
}

const versionsOf = async (dagId: string) =>
  ((await lite.client.call("GET", `/api/v2/dags/${dagId}/dagVersions`)) as { total_entries: number }).total_entries;

describe("a task in TypeScript", () => {
  it("reads and writes XComs, variables and connections, knows its run, and logs", async () => {
    await lite.client.call("POST", "/api/v2/variables", { key: "currency", value: "EUR" });
    await lite.client.call("POST", "/api/v2/connections", {
      connection_id: "shop_db",
      conn_type: "postgres",
      host: "db.shop",
      port: 5433,
      password: "hunter2-secret",
      extra: '{"sslmode": "require"}',
    });
    save("node_modules/shout/package.json", '{"name": "shout", "version": "1.0.0", "main": "index.js"}');
    save(
      "node_modules/shout/index.js",
      'const { format } = require("util"); module.exports = (s) => format("%s!", s.toUpperCase());',
    );
    save("lib/sum.ts", "export const sum = (of: number[]): number => of.reduce((a, b) => a + b, 0);\n");
    saveDag(
      "talk",
      `import shout from "shout";
import { sum } from "./lib/sum.ts";
export const middle = task(async ({ xcom, variables, connections, log, ...context }) => {
  const [rows, currency, db] = await Promise.all([
    xcom.pull<number[]>("first"), variables.get("currency"), connections.get("shop_db"),
  ]);
  await variables.set("from_typescript", "yes");
  await xcom.push("exact", { one: 1, float: float(1), big: 2n ** 60n, half: 0.5 });
  console.log("printed: %s", shout(currency));
  log.debug("not shown");
  log.warning("careful", { password: db.password, rows: rows?.length });
  const { dagId, runId, taskId, mapIndex, tryNumber, params, dagRun, logicalDate } = context;
  return {
    sum: sum(rows ?? []), db: [db.type, db.host, db.port, db.extra], shop: process.env["SHOP"],
    staging: process.env["LEOFLOW_STAGING_DIR"]?.includes(runId), nothing: await xcom.pull("first", { key: "other" }),
    dagId, taskId, mapIndex, tryNumber, params, conf: dagRun.conf, runType: dagRun.runType, logicalDate,
  };
});`,
      `
@task
def first():
    return [1, 2.5, 3]
@task.stub(queue="typescript")
def middle(rows): ...
@task
def last(got, ti=None):
    from airflow.sdk import Variable
    return [repr(ti.xcom_pull(task_ids="middle", key="exact")), Variable.get("from_typescript"), got["sum"]]
last(middle(first()))`,
    );
    const run = await runDag(lite.client, "talk", { region: "us" });
    expect(states(run)).toEqual({ first: "success", middle: "success", last: "success" });
    expect(await xcomOf(lite.client, "talk", run.runId, "middle")).toEqual({
      sum: 6.5,
      db: ["postgres", "db.shop", 5433, { sslmode: "require" }],
      shop: "main street",
      staging: true,
      nothing: null,
      dagId: "talk",
      taskId: "middle",
      mapIndex: -1,
      tryNumber: 1,
      params: { region: "us", size: 2 },
      conf: { region: "us" },
      runType: "manual",
      logicalDate: null,
    });
    expect(await xcomOf(lite.client, "talk", run.runId, "last")).toEqual([
      "{'one': 1, 'float': 1.0, 'big': 1152921504606846976, 'half': 0.5}",
      "yes",
      6.5,
    ]);
    expect(linesOf("talk", run.runId, "middle")).toEqual([
      expect.objectContaining({ level: "info", logger: "task.stdout", event: "printed: EUR!" }),
      expect.objectContaining({ level: "warning", logger: "task", event: "careful", password: "***", rows: 3 }),
    ]);
    expect(await logOf(lite.client, "talk", run.runId, "middle")).toContain("printed: EUR!");
  });

  it("fails, is retried, skips, runs out of time, is killed; in groups and other queues", async () => {
    saveDag(
      "ends",
      `const deep = (): never => { throw new RangeError("no rows today", { cause: new Error("file is empty") }); };
export const flaky = task(({ tryNumber }) => (tryNumber === 1 ? deep() : "second try"));
export const never = task(() => { throw new FailTask("hopeless"); });
export const skip = task(() => { throw new SkipTask("holiday"); });
export const slow = task(({ signal }) => new Promise((done) => signal.addEventListener("abort", done)));
export const shot = task(() => process.kill(process.pid, "SIGKILL"));
export const stray = task(async () => { void Promise.reject(new Error("nobody waits")); await new Promise(() => setInterval(() => {}, 1000)); });
`,
      `
from airflow.sdk import task_group
@task.stub(queue="node", retries=2, retry_delay=timedelta(0))
def flaky(): ...
@task.stub(queue="typescript", retries=2, retry_delay=timedelta(0))
def never(): ...
@task.stub(queue="typescript", outlets=[Asset("typescript_table")])
def skip(): ...
@task
def after_skip(): ...
@task.stub(queue="typescript", execution_timeout=timedelta(milliseconds=200))
def slow(): ...
@task.stub(queue="typescript")
def shot(): ...
@task.stub(queue="typescript")
def stray(): ...
@task_group
def group():
    flaky()
    flaky()
group()
skip() >> after_skip()
never(), slow(), shot(), stray()`,
    );
    const run = await runDag(lite.client, "ends");
    expect(states(run)).toEqual({
      "group.flaky": "success",
      "group.flaky__1": "success",
      never: "failed",
      skip: "skipped",
      after_skip: "skipped",
      slow: "failed",
      shot: "failed",
      stray: "failed",
    });
    expect(run.taskInstances.find(({ task_id: id }) => id === "never")?.try_number).toBe(1);
    const log = (taskId: string) => linesOf("ends", run.runId, taskId);
    const [flaky] = log("group.flaky");
    expect(flaky).toMatchObject({ level: "error", event: "Task failed with exception" });
    expect(flaky?.["error_detail"]).toMatchObject([
      {
        exc_type: "RangeError",
        exc_value: "no rows today",
        frames: [{ lineno: 3 }, { name: "deep", lineno: 2 }],
      },
      { exc_type: "Error", exc_value: "file is empty", is_cause: true },
    ]);
    expect(JSON.stringify(flaky)).toContain("/ends.tasks.ts");
    expect(log("skip")).toMatchObject([{ level: "info", event: "Skipping task.", reason: "holiday" }]);
    expect(JSON.stringify(log("slow"))).toContain("execution_timeout: the task ran for 0.2 s");
    expect(JSON.stringify(log("shot"))).toContain("SIGKILL");
    expect(JSON.stringify(log("stray"))).toContain("nobody waits");
  });

  it("runs the functions of its version: a saved file makes a new one, also where it was broken in between", async () => {
    const typescript = (word: string) =>
      `import { word } from "./lib/word.ts";\nexport const say = task(() => word + "${word}");\n`;
    save("lib/word.ts", 'export const word = "first";\n');
    saveDag("reload", typescript(""), '@task.stub(queue="typescript")\ndef say(): ...\nsay()');
    const said = async () => {
      const run = await runDag(lite.client, "reload");
      return await xcomOf(lite.client, "reload", run.runId, "say");
    };
    expect(await said()).toBe("first");
    save("lib/word.ts", 'export const word = "second";\n');
    await until("the helper's change is live", async () => (await versionsOf("reload")) === 2);
    expect(await said()).toBe("second");
    save("lib/word.ts", 'export const word = "third\n');
    await until("the error is shown", async () => (await importError("reload.py")) !== "");
    expect(await importError("reload.py")).toContain("lib/word.ts:1:");
    save("lib/word.ts", 'export const word = "fourth";\n');
    await until("the error is gone", async () => (await importError("reload.py")) === "");
    save("reload.tasks.ts", IMPORT + typescript(", and more"));
    await until("both changes are live", async () => (await versionsOf("reload")) === 4);
    expect(await said()).toBe("fourth, and more");
  });

  it("says what is missing before anything runs: the file, the export, a package", async () => {
    const dag = (ids: string[]) =>
      ids.map((id) => `@task.stub(queue="typescript")\ndef ${id}(): ...\n${id}()`).join("\n");
    saveDag("lacks", "export const here = task(() => 1);\n", dag(["here", "gone"]));
    await until("the error is shown", async () => (await importError("lacks.py")) !== "");
    expect(await importError("lacks.py")).toContain(
      'lacks.tasks.ts has no export "gone" for the task gone of the DAG lacks; it exports here.',
    );
    save("lacks.tasks.ts", `${IMPORT}import { z } from "zod/v4";\nexport const here = task(() => z), gone = here;\n`);
    await until("the package is missed", async () => (await importError("lacks.py")).includes("zod"));
    expect(await importError("lacks.py")).toContain(
      'lacks.tasks.ts:2:19: the package "zod" is not installed: run `npm install zod` in the workspace',
    );
    save("lacks.tasks.ts", `${IMPORT}export const here = task(() => 1), gone = 2;\n`);
    await waitForDag(lite.client, "lacks");
    const run = await runDag(lite.client, "lacks");
    expect(states(run)).toEqual({ here: "success", gone: "failed" });
    expect(await logOf(lite.client, "lacks", run.runId, "gone")).toContain(
      'the export \\"gone\\" of lacks.tasks.ts is no function',
    );
    save("alone.py", readFileSync(join(home.workspace, "lacks.py"), "utf8").replaceAll("lacks", "alone"));
    await until("the file is missed", async () => (await importError("alone.py")) !== "");
    expect(await importError("alone.py")).toContain("alone.tasks.ts is missing");
    save("alone.tasks.ts", `${IMPORT}export const here = task(() => 1), gone = here;\n`);
    expect(states(await runDag(lite.client, "alone"))).toEqual({ here: "success", gone: "success" });
  });

  it("ends with its run, and with Leoflow, whatever it does", async () => {
    saveDag(
      "stays",
      `import { writeFileSync } from "node:fs";
export const wait = task(async ({ signal, log, runId }) => {
  writeFileSync(process.env["HOLD"] + runId, String(process.pid));
  await new Promise((_, end) => signal.addEventListener("abort", () => { log.info("cleaning up"); end(signal.reason); }));
});
export const spin = task(({ runId }) => {
  writeFileSync(process.env["HOLD"] + runId, String(process.pid));
  for (;;);
});`,
      `
@task.stub(queue="typescript")
def wait(): ...
@task.stub(queue="typescript")
def spin(): ...
@task.branch
def which(dag_run=None):
    return dag_run.conf["which"]
which() >> [wait(), spin()]`,
    );
    const begin = async (which: string) => {
      const runId = await triggerDag(lite.client, "stays", { which });
      let pid = 0;
      await until(`${which} runs`, async () => {
        try {
          pid = Number(readFileSync(hold(runId), "utf8"));
        } catch {
          return false;
        }
        return pid > 0;
      });
      return { runId, pid };
    };
    const isGone = (pid: number) => {
      try {
        process.kill(pid, 0);
        return Promise.resolve(false);
      } catch {
        return Promise.resolve(true);
      }
    };
    const waiting = await begin("wait");
    await lite.client.call("PATCH", `/api/v2/dags/stays/dagRuns/${encodeURIComponent(waiting.runId)}`, {
      state: "failed",
    });
    await until("the task is ended", () => isGone(waiting.pid));
    await waitForRun(lite.client, "stays", waiting.runId);
    await until("its log is whole", () =>
      Promise.resolve(JSON.stringify(linesOf("stays", waiting.runId, "wait")).includes("cleaning up")),
    );
    const spinning = await begin("spin");
    process.kill(lite.pid, "SIGKILL");
    await until("the task is gone with Leoflow", () => isGone(spinning.pid));
  });
});
