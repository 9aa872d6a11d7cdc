// Records what Airflow makes of the DAGs beside this file: `nice -n 15 node test/script.mjs test/conformance/record.ts [--python PYTHON] [--only REGEXP] [--keep]`
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { sleep, type Client } from "../../bench/client.ts";
import { airflowPython, settingsOfPlugins, startAirflow } from "./airflow.ts";
import { drive } from "./drive.ts";
import { copyExamples, exampleScenario, leftOut, plainExample } from "./examples.ts";
import { pages } from "./outcome.ts";
import { readRecordings, writeRecordings } from "./recordings.ts";
import { scenarioOf } from "./scenarios.ts";

declare const SCRIPT_FOLDER: string;

const PORT = 18480;
const { values: options } = parseArgs({
  options: {
    python: { type: "string" },
    only: { type: "string", default: "" },
    seconds: { type: "string", default: "7200" },
    /** Only DAGs without a recording. */
    missing: { type: "boolean", default: false },
    /** Where to write; what differs from what is there is told. */
    to: { type: "string" },
    /** Airflow's own examples instead of ours. */
    examples: { type: "boolean", default: false },
    /** Generated DAGs to record, as "100-259"; otherwise those that have a recording. */
    seeds: { type: "string" },
    keep: { type: "boolean", default: false },
  },
});

const folder = mkdtempSync(join(tmpdir(), "conformance-"));
const dags = join(folder, "dags");
mkdirSync(dags);
const to = options.to ?? join(SCRIPT_FOLDER, options.examples ? "examples.jsonl" : "recordings.jsonl");
const note = (text: string) => console.log(`${new Date().toISOString().slice(11, 19)} ${text}`);
const python = options.python ?? (await airflowPython());
prepareDags(python, dags);
note(`starting Airflow in ${folder}`);
const airflow = await startAirflow(python, folder, dags, PORT, settingsOfPlugins(join(SCRIPT_FOLDER, "plugins")));
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => void airflow.stop().then(() => process.exit(1)));
}
try {
  const found = await parsedDags(airflow.client);
  const target = {
    client: airflow.client,
    folder: dags,
    versions: join(SCRIPT_FOLDER, "versions"),
    pollMs: 1500,
    concurrency: 20,
    scenario: options.examples ? exampleScenario : scenarioOf,
    quietMs: 20_000,
    note,
  };
  const known = readRecordings(to);
  const only = new RegExp(options.only);
  const wanted = found.filter(
    (dagId) => only.test(dagId) && !(options.examples && leftOut(dagId)) && !(options.missing && known.has(dagId)),
  );
  note(`${found.length} DAGs, recording ${wanted.length}`);
  let recorded = 0;
  await drive(target, wanted, Number(options.seconds), (captured) => {
    const outcome = options.examples ? plainExample(captured) : captured;
    const before = known.get(outcome.dag);
    if (before && JSON.stringify(before) !== JSON.stringify(outcome)) {
      note(`${outcome.dag} differs from its last recording`);
      console.log(`- ${JSON.stringify(before)}\n+ ${JSON.stringify(outcome)}`);
    }
    known.set(outcome.dag, outcome);
    writeRecordings(to, known);
    recorded++;
    if (recorded % 20 === 0) note(`${recorded} recorded`);
  });
  note(`${recorded} recorded`);
} finally {
  await airflow.stop();
  if (!options.keep) rmSync(folder, { recursive: true, force: true });
}

/** Copies the hand-written DAGs and has the others generated. */
function prepareDags(interpreter: string, target: string): void {
  if (options.examples) {
    const where = 'import sysconfig; print(sysconfig.get_path("purelib"))';
    const sitePackages = execFileSync(interpreter, ["-c", where], { encoding: "utf8" }).trim();
    return copyExamples(sitePackages, target);
  }
  cpSync(join(SCRIPT_FOLDER, "dags"), target, { recursive: true });
  execFileSync(
    interpreter,
    [join(SCRIPT_FOLDER, "generator.py"), target, ...(options.seeds === undefined ? [] : [options.seeds])],
    { stdio: "inherit" },
  );
}

/** Waits until every file has been parsed: no new DAG for a while. */
async function parsedDags(client: Client): Promise<string[]> {
  let before = -1;
  for (let unchanged = 0; ;) {
    const found = await pages<{ dag_id: string }>(client, "/api/v2/dags?exclude_stale=true&order_by=dag_id", "dags");
    unchanged = found.length === before ? unchanged + 1 : 0;
    before = found.length;
    const errors = await pages<{ filename: string; stack_trace: string }>(
      client,
      "/api/v2/importErrors",
      "import_errors",
    );
    for (const error of errors) note(`${error.filename}: ${error.stack_trace}`);
    if (errors.length > 0) throw new Error("a DAG file does not import");
    if (unchanged === 5 && found.length > 0) return found.map((dag) => dag.dag_id);
    await sleep(3000);
  }
}
