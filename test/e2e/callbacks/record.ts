// Records what Airflow makes of the DAGs beside this file: `nice -n 15 node test/script.mjs test/e2e/callbacks/record.ts [DAG …]`
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sleep } from "../../../bench/client.ts";
import { airflowPython, startAirflow, triggerPatiently } from "../../conformance/airflow.ts";
import { COMPARED, notesFile, outcomeOf, type CallbackOutcome } from "./outcome.ts";

declare const SCRIPT_FOLDER: string;

const only = process.argv.slice(2);
const folder = mkdtempSync(join(tmpdir(), "callbacks-record-"));
const dags = join(folder, "dags");
const notes = join(folder, "notes");
mkdirSync(dags);
mkdirSync(notes);
for (const file of ["callbacks.py", "callback_functions.py", "../deferral/deferral_triggers.py"]) {
  cpSync(join(SCRIPT_FOLDER, file), join(dags, file.split("/").at(-1) as string));
}
process.env["CALLBACK_NOTES"] = notes;
process.env["PYTHONPATH"] = dags;
const airflow = await startAirflow(await airflowPython(), folder, dags, 18_490);
try {
  const { client } = airflow;
  const file = join(SCRIPT_FOLDER, "outcomes.json");
  const known = existsSync(file) ? readFileSync(file, "utf8") : "{}";
  const outcomes = JSON.parse(known) as Record<string, CallbackOutcome>;
  const wanted = only.length > 0 ? only : [...COMPARED];
  const runs = new Map<string, string>();
  for (const dag of wanted) {
    const conf = { notes: notesFile(notes, dag) };
    runs.set(dag, await triggerPatiently(client, dag, { conf }, 90));
  }
  for (const [dag, run] of runs) {
    for (;;) {
      const { state } = (await client.call("GET", `/api/v2/dags/${dag}/dagRuns/${encodeURIComponent(run)}`)) as {
        state: string;
      };
      if (state === "success" || state === "failed") break;
      await sleep(1_000);
    }
  }
  // The DAG processor looks for callbacks every few seconds, and runs them one file at a time.
  await sleep(60_000);
  for (const [dag, run] of runs) {
    outcomes[dag] = await outcomeOf(client, notes, dag, run);
    console.log(dag, JSON.stringify(outcomes[dag]));
  }
  writeFileSync(file, `${JSON.stringify(outcomes, null, 2)}\n`);
} finally {
  await airflow.stop();
  if (!process.env["KEEP"]) rmSync(folder, { recursive: true, force: true });
}
