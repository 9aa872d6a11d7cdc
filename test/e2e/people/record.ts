// Records what Airflow makes of the DAGs beside this file: `nice -n 15 node test/script.mjs test/e2e/people/record.ts [DAG …]`
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { airflowPython, startAirflow, triggerPatiently } from "../../conformance/airflow.ts";
import { play, SCENARIOS, type PeopleOutcome } from "./outcome.ts";

declare const SCRIPT_FOLDER: string;

const folder = mkdtempSync(join(tmpdir(), "people-record-"));
const dags = join(folder, "dags");
mkdirSync(dags);
for (const file of ["people.py", "tries.py"]) cpSync(join(SCRIPT_FOLDER, file), join(dags, file));
const airflow = await startAirflow(await airflowPython(), folder, dags, 18_494);
try {
  const { client } = airflow;
  const file = join(SCRIPT_FOLDER, "outcomes.json");
  const outcomes = JSON.parse(existsSync(file) ? readFileSync(file, "utf8") : "{}") as Record<string, PeopleOutcome>;
  const only = process.argv.slice(2);
  const waiting = Object.keys(SCENARIOS).filter((dag) => only.length === 0 || only.includes(dag));
  // A few at a time: on a busy machine Airflow's workers fail to start for other reasons than the DAG's.
  const work = async (): Promise<void> => {
    for (let dag = waiting.shift(); dag !== undefined; dag = waiting.shift()) {
      outcomes[dag] = await play(client, dag, await triggerPatiently(client, dag, {}, 90), {
        pauseMs: 500,
        thinkMs: 8_000,
      });
      console.log(dag, JSON.stringify(outcomes[dag]));
    }
  };
  await Promise.all([work(), work(), work()]);
  const sorted = Object.fromEntries(Object.entries(outcomes).sort(([a], [b]) => (a < b ? -1 : 1)));
  writeFileSync(file, `${JSON.stringify(sorted, null, 2)}\n`);
} finally {
  await airflow.stop();
  rmSync(folder, { recursive: true, force: true });
}
