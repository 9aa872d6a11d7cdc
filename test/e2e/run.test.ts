import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { resolvePaths } from "../../src/lite/paths.ts";
import { withDatastore } from "../../src/lite/datastore.ts";
import { silentProgress } from "../../src/lite/progress.ts";
import { openDatabase } from "../../src/store/database.ts";
import { pino } from "pino";
import { sql } from "kysely";
import { Cli, leoflowBin } from "../support/cli.ts";
import { createLiteHome, until, type Lite, type LiteHome } from "../support/lite.ts";

// `leoflow run`: with a Leoflow that is up, and without one.

const HEAD = `from airflow.sdk import DAG, Variable, task\n`;
const WELL = `${HEAD}
from helper import double

with DAG("well", schedule=None, is_paused_upon_creation=False):
    @task
    def numbers():
        return [1, 2]

    @task
    def twice(number, params=None, **context):
        print("twice", double(number), Variable.get("greeting", default=None), context["dag_run"].conf)
        return double(number)

    twice.expand(number=numbers())
`;
const ILL = `${HEAD}
with DAG("ill", schedule="@daily", catchup=False) as dag:
    @task
    def breaks():
        raise ValueError("broken on purpose")

    @task
    def after():
        pass

    breaks() >> after()

with DAG("other", schedule=None):
    breaks()
`;
const SLOW = `${HEAD}
import time, pathlib

with DAG("slow", schedule=None):
    @task
    def sleeps():
        pathlib.Path(__file__).parent
        print("asleep")
        time.sleep(600)

    sleeps()
`;

let home: LiteHome;
let elsewhere: string;

beforeAll(async () => {
  home = await createLiteHome();
  elsewhere = join(home.workspace, "../elsewhere");
  mkdirSync(elsewhere);
  writeFileSync(join(elsewhere, "well.py"), WELL);
  writeFileSync(join(elsewhere, "helper.py"), "def double(number):\n    return 2 * number\n");
  writeFileSync(join(elsewhere, "ill.py"), ILL);
  writeFileSync(join(elsewhere, "slow.py"), SLOW);
  writeFileSync(join(elsewhere, "none.py"), "print('airflow has no dag here')\n");
  writeFileSync(join(elsewhere, "broken.py"), `${HEAD}import nothing_of_that_name\n`);
  mkdirSync(join(elsewhere, "empty"));
});

afterAll(() => home.remove());

/** Runs as a script does, and stops nothing. */
function begin(...args: string[]) {
  const child = spawn(process.execPath, [leoflowBin, "run", ...args], {
    env: { ...process.env, LEOFLOW_HOME: home.home },
  });
  let out = "";
  child.stdout.on("data", (data: Buffer) => (out += data.toString()));
  child.stderr.on("data", (data: Buffer) => (out += data.toString()));
  const ended = new Promise<number | null>((done) => child.once("close", done));
  return { child, ended, out: () => out };
}

describe("where a Leoflow is up", () => {
  let lite: Lite;
  let cli: Cli;

  beforeAll(async () => {
    lite = await home.start();
    cli = new Cli(home, lite);
    await lite.client.call("POST", "/api/v2/variables", { key: "greeting", value: "hello" });
  });
  afterAll(() => lite.stop());

  it("runs a file from elsewhere to its end, with its modules, and takes it out again", async () => {
    const out = await cli.good(`run ${elsewhere}/well.py --conf '{"day":1.0}' --logs`);
    expect(out).toMatch(/✓ numbers +[\d.]+ s\n/);
    expect(out).toMatch(/✓ twice\[1\] +[\d.]+ s\n/);
    expect(out).toContain("twice 4 hello {'day': 1.0}");
    expect(out).toMatch(/✓ well succeeded in [\d.]+ s \(3 success\)\n$/);
    await until("it left", () => !readdirSync(home.workspace).some((name) => name.startsWith("leoflow-run-")));
    await until("its DAG left", async () => {
      const { dags } = (await lite.client.call("GET", "/api/v2/dags")) as { dags: { dag_id: string }[] };
      return !dags.some(({ dag_id: id }) => id === "well");
    });
    const runs = (await lite.client.call("GET", "/api/v2/dags/well/dagRuns")) as {
      dag_runs: { triggered_by: string }[];
    };
    expect(runs.dag_runs).toMatchObject([{ triggered_by: "test", run_type: "manual", conf: { day: 1 } }]);
  });

  it("shows why it failed, and schedules nothing", async () => {
    const { code, out } = await cli.leoflow(`run ${elsewhere}/ill.py --dag ill`);
    expect(code).toBe(1);
    expect(out).toMatch(/✗ breaks +failed, [\d.]+ s\n/);
    expect(out).toMatch(/✗ after +upstream failed\n/);
    expect(out).toMatch(/log of breaks, try 1\n[^]*ValueError: broken on purpose/);
    expect(out).toMatch(/✗ ill failed in [\d.]+ s \(1 failed, 1 upstream failed\)\n$/);
    const runs = (await lite.client.call("GET", "/api/v2/dags/ill/dagRuns")) as { dag_runs: unknown[] };
    expect(runs.dag_runs).toHaveLength(1);
  });

  it("runs a file of the workspace where it lies, as it is now, and refuses its DAG from elsewhere", async () => {
    const file = join(home.workspace, "mine.py");
    for (const word of ["one", "two"]) {
      writeFileSync(
        file,
        `${HEAD}\nwith DAG("mine", schedule=None):\n    @task\n    def ${word}():\n        pass\n    ${word}()\n`,
      );
      const { tasks, state } = await cli.json<{ tasks: { task_id: string }[]; state: string }>(`run ${file} --json`);
      expect({ state, tasks: tasks.map(({ task_id: id }) => id) }).toEqual({ state: "success", tasks: [word] });
    }
    expect(await cli.good("dags test mine --logs")).toMatch(/✓ mine succeeded in/);
    await cli.refuses("dags test nothing", 1, "this home has no DAG nothing");
    writeFileSync(join(elsewhere, "copy.py"), `${HEAD}\ndag = DAG("mine", schedule=None)\n`);
    await cli.refuses(`run ${elsewhere}/copy.py`, 1, "belongs to mine.py of the workspace already");
  });

  it("gives the tasks of a run a folder of their own, kept while it has failed", async () => {
    writeFileSync(
      join(home.workspace, "stage.py"),
      `${HEAD}
import os, pathlib

with DAG("stage", schedule=None):
    @task
    def writes():
        (pathlib.Path(os.environ["LEOFLOW_STAGING_DIR"]) / "file").write_text("from writes")

    @task
    def reads():
        assert "LEOFLOW_STAGING_ROOT" not in os.environ
        assert (pathlib.Path(os.environ["LEOFLOW_STAGING_DIR"]) / "file").read_text() == "from writes"
        if Variable.get("stage_fails", default=None):
            raise ValueError("not yet")

    writes() >> reads()
`,
    );
    await lite.client.call("POST", "/api/v2/variables", { key: "stage_fails", value: "yes" });
    const { code, out } = await cli.leoflow(`run ${home.workspace}/stage.py --json`);
    expect(code).toBe(1);
    const { dag_run_id: runId } = JSON.parse(out) as { dag_run_id: string };
    const folder = join(home.home, "staging/dag_id=stage", `run_id=${runId}`);
    expect(readdirSync(folder)).toEqual(["file"]);
    expect(await cli.good(`why stage ${runId}`)).toContain(`Its tasks share the files in ${folder}\n`);
    await lite.client.call("DELETE", "/api/v2/variables/stage_fails");
    await lite.client.call("PATCH", "/api/v2/dags/stage", { is_paused: false });
    await lite.client.call("POST", "/api/v2/dags/stage/clearTaskInstances", {
      dag_run_id: runId,
      only_failed: true,
      dry_run: false,
    });
    await until("it is over, and its folder", () => !existsSync(join(home.home, "staging/dag_id=stage")));
    const run = await lite.client.call("GET", `/api/v2/dags/stage/dagRuns/${encodeURIComponent(runId)}`);
    expect(run).toMatchObject({ state: "success" });
  });

  it("says in one line what is wrong with what it is given", async () => {
    await cli.refuses(`run ${elsewhere}/gone.py`, 2, "there is no ");
    await cli.refuses(`run ${elsewhere}/empty`, 2, "has no dag.py");
    await cli.refuses(`run ${elsewhere}/none.py`, 1, "has no DAG");
    await cli.refuses(`run ${elsewhere}/ill.py`, 1, "has several DAGs, name one: ill, other");
    await cli.refuses(`run ${elsewhere}/ill.py --dag missing`, 1, "has no DAG missing; it has ill, other");
    await cli.refuses(`run ${elsewhere}/well.py --conf [1]`, 2, "--conf is not a JSON object");
    await cli.refuses(`run ${elsewhere}/well.py --conf-file ${elsewhere}/gone.json`, 1, "gone.json");
    await cli.refuses(`run ${elsewhere}/well.py --logical-date yesterday`, 1, "logical_date");
    const { code, err } = await cli.leoflow(`run ${elsewhere}/broken.py`);
    expect(code).toBe(1);
    expect(err).toMatch(/error: .*broken.py cannot be imported: .*No module named 'nothing_of_that_name'\n\nTraceback/);
  });

  it("draws the tree of its tasks on a terminal", async () => {
    const { stdout } = await cli.onTerminal(`run ${elsewhere}/well.py`);
    expect(stdout).toContain("twice [2/2]");
    expect(stdout).toContain("\u001b[32m✓ well succeeded\u001b[0m");
  });

  it("ends the run when it is ended itself, however that comes", async () => {
    const runs = () =>
      lite.client.call("GET", "/api/v2/dags/slow/dagRuns?order_by=-id") as Promise<{ dag_runs: { state: string }[] }>;
    for (const signal of ["SIGINT", "SIGKILL"] as const) {
      const { child, ended } = begin(join(elsewhere, "slow.py"));
      await until("the task runs", async () => {
        const { task_instances: tasks } = (await lite.client
          .call("GET", "/api/v2/dags/slow/dagRuns/~/taskInstances?state=running")
          .catch(() => ({ task_instances: [] }))) as { task_instances: unknown[] };
        return tasks.length === 1;
      });
      child.kill(signal);
      expect(await ended).toBe(signal === "SIGINT" ? 130 : null);
      await until("its run failed", async () => (await runs()).dag_runs.every(({ state }) => state === "failed"));
    }
    expect((await runs()).dag_runs).toHaveLength(2);
  });
});

describe("where none is", () => {
  it("runs a file with this home's variables, and leaves nothing behind", async () => {
    const { ended, out } = begin(join(elsewhere, "well.py"), "--logs");
    expect({ code: await ended, out: out() }).toEqual({
      code: 0,
      out: expect.stringMatching(/twice 4 hello \{\}[^]*✓ well succeeded in [\d.]+ s \(3 success\)\n$/) as string,
    });
    expect(existsSync(join(home.home, "trial"))).toBe(false);
    expect(existsSync(join(home.home, "lite.lock"))).toBe(false);
    await look(async (databases, runs) => {
      expect(databases).toEqual(["leoflow"]);
      expect(runs).toBe(2);
    });
  });

  it("runs two at a time one after the other, and what one left that was killed is gone after the next", async () => {
    const killed = begin(join(elsewhere, "slow.py"));
    await until("it runs", () => killed.out().includes("slow"));
    const waits = begin(join(elsewhere, "well.py"), "--json");
    await until("it waits", () => waits.out().includes("Waiting for another Leoflow"));
    killed.child.kill("SIGKILL");
    expect(await waits.ended).toBe(0);
    await look(async (databases) => expect(databases).toEqual(["leoflow"]));
    expect(existsSync(join(home.home, "trial"))).toBe(false);
  });
});

describe("leoflow check", () => {
  it("says for every DAG of a folder what it needs here", async () => {
    const folder = join(elsewhere, "airflow");
    mkdirSync(join(folder, "sub"), { recursive: true });
    writeFileSync(
      join(folder, "a.py"),
      `${HEAD}
from airflow.providers.standard.operators.bash import BashOperator

with DAG("a", schedule="@daily"):
    BashOperator(task_id="one", bash_command="{{ var.value.region }} {{ conn.wh.host }}", pool="heavy", queue="gpu")

    @task(executor_config={"KubernetesExecutor": {"image": "x"}})
    def two():
        import no_such_module, sklearn
        from airflow.sdk import Connection
        Connection.get("warehouse")
        Variable.get("greeting")
        Variable.get("optional", default=1)

    two()
`,
    );
    writeFileSync(
      join(folder, "sub/b.py"),
      "import airflow.contrib.hooks\nfrom airflow.providers.apache.spark.operators import DAG\nX(aws_conn_id='aws')\n",
    );
    writeFileSync(join(folder, "packed.zip"), "");
    const cli = new Cli(home, { base: "" } as Lite);
    const { code, out } = await cli.leoflow(`check ${folder} --json`, { env: { AIRFLOW_VAR_GREETING: "hi" } });
    expect({ code, ...(JSON.parse(out) as object) }).toEqual({
      code: 1,
      folder,
      problems: [],
      files: [
        {
          file: "a.py",
          error: null,
          install: ["no-such-module", "scikit-learn"],
          removed: [],
          missing: { connections: ["warehouse", "wh"], variables: ["region"] },
          dags: [
            {
              dag_id: "a",
              missing: { connections: ["warehouse", "wh"], variables: ["region"], pools: ["heavy"] },
              different: [
                "one: queue gpu has no effect on one machine",
                "two: executor_config has no effect on one machine",
              ],
            },
          ],
        },
        {
          file: "packed.zip",
          error: "packed.zip cannot be read as a zip archive: File is not a zip file",
          install: [],
          removed: [],
          missing: { connections: [], variables: [] },
          dags: [],
        },
        {
          file: "sub/b.py",
          error: "ModuleNotFoundError: No module named 'airflow.contrib'",
          install: ["apache-airflow-providers-apache-spark"],
          removed: ["airflow.contrib.hooks"],
          missing: { connections: ["aws"], variables: [] },
          dags: [],
        },
      ],
    });
    const told = await cli.leoflow(`check ${folder}`, {
      env: { AIRFLOW_CONN_WAREHOUSE: "a://b", AIRFLOW_VAR_REGION: "eu", AIRFLOW_VAR_GREETING: "hi" },
    });
    expect(told.code).toBe(1);
    expect(told.out).toContain("connections missing here: wh\n");
    expect(told.out).toMatch(/1 DAGs in 3 files: 0 ready, 1 in need of something, 2 not importable\n$/);
    mkdirSync(join(elsewhere, "good"));
    writeFileSync(join(elsewhere, "good/d.py"), `${HEAD}\nd = DAG("d", schedule=None)\n`);
    expect(await cli.good(`check ${elsewhere}/good`)).toMatch(
      /✓ d\.py\n +d\n\n {2}1 DAGs in 1 files: 1 ready, 0 in need/,
    );
    await cli.refuses(`check ${elsewhere}/empty`, 1, "has no DAG files");
    await cli.refuses(`check ${elsewhere}/gone`, 2, "there is no ");
    await cli.refuses(`check ${folder}/a.py`, 2, "is not a folder");
  });
});

/** The home's own databases, and how many runs of the DAG well its own has. */
async function look(see: (databases: string[], runs: number) => Promise<void>): Promise<void> {
  const options = { paths: resolvePaths(home.home), logger: pino({ level: "silent" }), progress: silentProgress };
  await withDatastore({ ...options, runtimeDir: undefined }, "look at", async ({ database }) => {
    const opened = openDatabase(database);
    const { db } = opened;
    try {
      const names = await sql<{
        datname: string;
      }>`select datname from pg_database where datname like 'leoflow%'`.execute(db);
      const runs = await db.selectFrom("dag_run").select("id").where("dag_id", "=", "well").execute();
      await see(
        names.rows.map(({ datname }) => datname),
        runs.length,
      );
    } finally {
      await opened.close();
    }
  });
}
