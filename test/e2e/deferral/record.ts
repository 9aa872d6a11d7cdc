// Records what Airflow makes of the DAGs beside this file into outcomes.json.
//   PYTHONPATH=test/e2e/deferral AIRFLOW__CORE__DAGS_FOLDER=$PWD/test/e2e/deferral airflow standalone    (everyone is admin)
//   node test/script.mjs test/e2e/deferral/record.ts http://127.0.0.1:8080 [DAG …]
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Client, sleep } from "../../../bench/client.ts";
import { triggerPatiently } from "../../conformance/airflow.ts";
import { runPath } from "../../conformance/outcome.ts";
import { COMPARED, outcomeOf, prepare, type Outcome } from "./outcome.ts";

declare const SCRIPT_FOLDER: string;

const [base = "http://127.0.0.1:8080", ...only] = process.argv.slice(2);
const client = new Client(base);
await client.login("admin", "admin");
await prepare(client);
const file = join(SCRIPT_FOLDER, "outcomes.json");
const outcomes = (existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : {}) as Record<string, Outcome>;
const dags = only.length > 0 ? only : [...COMPARED];
for (const dag of dags) {
  // One after the other: on a busy machine Airflow's workers fail to start for other reasons than the DAG's.
  const run = await triggerPatiently(client, dag, {}, 60);
  const path = runPath(dag, run);
  const end = Date.now() + 300_000;
  for (;;) {
    const { state } = (await client.call("GET", path)) as { state: string };
    if (state === "success" || state === "failed") break;
    if (Date.now() > end) throw new Error(`${dag} does not end`);
    await sleep(500);
  }
  // What Airflow's triggerer writes comes a moment later.
  await sleep(2_000);
  outcomes[dag] = await outcomeOf(client, dag, run);
  console.log(dag, JSON.stringify(outcomes[dag]));
  writeFileSync(file, `${JSON.stringify(Object.fromEntries(Object.entries(outcomes).sort()), null, 2)}\n`);
}
