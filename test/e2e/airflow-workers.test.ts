import { spawn, type ChildProcess } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { agentTokenFile, removeTokenFile } from "../support/agent.ts";
import { airflowPython } from "../support/airflow-sdks.ts";
import {
  createLiteHome,
  logOf,
  triggerDag,
  until,
  waitForRun,
  xcomOf,
  type Lite,
  type LiteHome,
} from "../support/lite.ts";

const VERSIONS = ["3.3", "3.2", "3.1"];

/** Every task imports Airflow: four seconds on a quiet machine, thirty on one that tests everything else as well. */
const PATIENCE_SECONDS = 400;

const dagId = (version: string) => `stock_${version.replace(".", "_")}`;

/** A task that fails and is tried again, two mapped ones of which one defers, over XComs with floats and ints. */
const dag = (version: string) => `
from datetime import timedelta
from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk import DAG, BaseOperator, Connection, Variable, get_current_context, task, timezone

with DAG("${dagId(version)}", default_args={"queue": "${version}", "retry_delay": timedelta(0)}):

    @task(retries=1)
    def make():
        import airflow
        ti = get_current_context()["ti"]
        if ti.try_number == 1:
            raise ValueError("the first try fails")
        connection = Connection.get("stock_db")
        Variable.set("made_by_${version}", airflow.__version__)
        print("hello from", airflow.__version__, Variable.get("stock_greeting"), connection.host, connection.password)
        return [0.0, 1]

    class Half(BaseOperator):
        template_fields = ("number",)

        def __init__(self, number, **kwargs):
            super().__init__(**kwargs)
            self.number = number

        def execute(self, context):
            assert isinstance(self.number, int if context["ti"].map_index else float), repr(self.number)
            if not context["ti"].map_index:
                return self.number
            moment = timezone.utcnow()
            self.defer(trigger=DateTimeTrigger(moment=moment), method_name="after", kwargs={"since": moment, "half": 0.5})

        def after(self, context, event=None, since=None, half=None):
            assert since.tzinfo and isinstance(half, float), (since, half)
            print("resumed with", type(event).__name__)
            return half * self.number

    Half.partial(task_id="half").expand(number=make())
`;

class Workers {
  readonly #processes: ChildProcess[] = [];
  readonly #folder = mkdtempSync(join(tmpdir(), "leoflow-stock-"));
  output = "";

  /** A stock worker of this Airflow, in a home of its own. */
  start(python: string, args: { server: string; tokenFile: string; queue: string; workspace: string }): void {
    const home = mkdtempSync(join(this.#folder, "home-"));
    const bundle = { path: args.workspace };
    const classpath = "airflow.dag_processing.bundles.local.LocalDagBundle";
    const worker = spawn(
      python,
      [
        ...[join(import.meta.dirname, "../../python/airflow_worker.py"), "--server", args.server],
        ...["--token-file", args.tokenFile, "--queues", args.queue],
      ],
      {
        env: {
          ...process.env,
          AIRFLOW_HOME: home,
          AIRFLOW__CORE__LOAD_EXAMPLES: "False",
          AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST: JSON.stringify([
            { name: "dags-folder", classpath, kwargs: bundle },
          ]),
        },
        stdio: ["ignore", "pipe", "pipe"],
      },
    );
    for (const stream of [worker.stdout, worker.stderr]) {
      stream.on("data", (data: Buffer) => (this.output += data.toString()));
    }
    this.#processes.push(worker);
  }

  async stop(): Promise<void> {
    const ended = this.#processes.map(async (worker) => {
      if (worker.exitCode !== null || worker.signalCode !== null) return;
      const exited = new Promise((resolve) => worker.once("exit", resolve));
      worker.kill("SIGTERM");
      // What its last task still has to say is of no use here.
      worker.kill("SIGTERM");
      await exited;
    });
    await Promise.all(ended);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

let home: LiteHome;
let lite: Lite;
let tokenFile: string;
const workers = new Workers();

beforeAll(async () => {
  const [made] = await Promise.all([createLiteHome(), ...VERSIONS.map(airflowPython)]);
  home = made;
  mkdirSync(home.workspace, { recursive: true });
  for (const version of VERSIONS) writeFileSync(join(home.workspace, `${dagId(version)}.py`), dag(version));
  lite = await home.start();
  tokenFile = agentTokenFile(home.home, "stock", VERSIONS.join(","));
  // With the first who asks, the server knows whose tasks these are.
  const asked = await fetch(`${lite.base}/api/leoflow/agent/workloads`, {
    method: "POST",
    headers: { authorization: `Bearer ${readFileSync(tokenFile, "utf8")}`, "content-type": "application/json" },
    body: "{}",
  });
  expect(await asked.json()).toEqual({ workloads: [] });
  const { client } = lite;
  await client.call("POST", "/api/v2/variables", { key: "stock_greeting", value: "good day" });
  const secret = { connection_id: "stock_db", conn_type: "postgres", host: "db.test", password: "sesame" };
  await client.call("POST", "/api/v2/connections", secret);
});
afterAll(async () => {
  await workers.stop();
  await home.remove();
  removeTokenFile(tokenFile);
});

describe("a stock Airflow worker", () => {
  it.each(VERSIONS)(
    "of Airflow %s runs tasks",
    async (version) => {
      const { client } = lite;
      const id = dagId(version);
      const runId = await triggerDag(client, id);
      const python = await airflowPython(version);
      const server = lite.base;
      for (let nth = 0; nth < 2; nth++) {
        workers.start(python, { server, tokenFile, queue: version, workspace: home.workspace });
      }
      const run = await waitForRun(client, id, runId, PATIENCE_SECONDS).catch((error: unknown) => {
        throw new Error(`${String(error)}\n${workers.output}`);
      });
      expect(run, workers.output).toMatchObject({ state: "success" });
      const tries = run.taskInstances.map((ti) => [ti.task_id, ti.map_index, ti.try_number, ti.state]);
      expect(workers.output).toContain(`${id}.half`);
      expect(tries.toSorted()).toEqual([
        ["half", 0, 1, "success"],
        ["half", 1, 1, "success"],
        ["make", -1, 2, "success"],
      ]);
      expect(await xcomOf(client, id, runId, "make")).toEqual([0, 1]);
      expect(await xcomOf(client, id, runId, "half", 1)).toBe(0.5);
      const variable = (await client.call("GET", `/api/v2/variables/made_by_${version}`)) as { value: string };
      expect(variable.value).toContain(`${version}.`);
      // A worker sends the end of a log when its task has ended.
      const logged = (tryNumber: number, text: string) =>
        until(`the log has ${text}`, async () => (await logOf(client, id, runId, "make", tryNumber)).includes(text));
      await logged(1, "the first try fails");
      await logged(2, `hello from ${variable.value} good day db.test ***`);
    },
    450_000,
  );
});
