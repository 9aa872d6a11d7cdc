import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Client } from "../../../bench/client.ts";

/** The DAGs of callbacks.py, whose notes Airflow gave too. */
export const COMPARED = [
  "cb_dag_success",
  "cb_dag_failure",
  "cb_dag_list",
  "cb_dag_notifiers",
  "cb_dag_timed_out",
  "cb_dag_no_tasks",
  "cb_tasks",
  "cb_tasks_list",
  "cb_mapped",
  "cb_lost",
  "cb_trigger_ends",
  "cb_deadlines",
] as const;

export interface CallbackOutcome {
  state: string;
  /** What the callbacks noted; in which order they did is chance. */
  notes: string[];
  /** The run's deadlines: name, whether missed. */
  deadlines: string[];
}

export const notesFile = (folder: string, dag: string): string => join(folder, dag);

/** The whole lines of the file; a callback that has opened it and not yet written has noted nothing. */
export function notesOf(folder: string, dag: string): string[] {
  const file = notesFile(folder, dag);
  return existsSync(file) ? readFileSync(file, "utf8").split("\n").slice(0, -1).sort() : [];
}

export async function outcomeOf(client: Client, folder: string, dag: string, runId: string): Promise<CallbackOutcome> {
  const run = `dags/${dag}/dagRuns/${encodeURIComponent(runId)}`;
  const { state } = (await client.call("GET", `/api/v2/${run}`)) as { state: string };
  const { deadlines } = (await client.call("GET", `/ui/${run}/deadlines`)) as {
    deadlines: { alert_name: string | null; missed: boolean }[];
  };
  return {
    state,
    notes: notesOf(folder, dag),
    deadlines: deadlines.map(({ alert_name, missed }) => `${alert_name} ${missed ? "missed" : "open"}`).sort(),
  };
}
