import type { Command } from "commander";
import {
  addRemoteCommand,
  confOf,
  note,
  printJson,
  runRemote,
  type Remote,
  type RemoteOptions,
} from "./remote-command.ts";
import { apiPath, jsonWith } from "./server.ts";
import { waitForRun } from "./wait.ts";

interface TriggerOptions extends RemoteOptions {
  conf?: string;
  confFile?: string;
  logicalDate?: string;
  runId?: string;
  note?: string;
  wait?: boolean;
}

/** `leoflow dags trigger` and `leoflow runs trigger` are one command. */
export function addTriggerCommand(parent: Command, group: string): void {
  addRemoteCommand(parent, "trigger <dag>", {
    description: "Start a run of a DAG.",
    json: "Airflow's DAGRunResponse; with --wait as the run ended",
    examples: [
      `leoflow ${group} trigger my_dag`,
      `leoflow ${group} trigger my_dag --conf '{"day": "2026-01-01"}' --wait`,
      `leoflow ${group} trigger my_dag --conf-file conf.json --run-id manual__mine`,
    ],
  })
    .option("--conf <json>", "the run's conf, a JSON object")
    .option("--conf-file <file>", "the same from a file; - is stdin")
    .option("--logical-date <date>", "its logical date, with its offset: 2026-01-01T00:00:00Z; none without it")
    .option("--run-id <id>", "its id; one is made without it")
    .option("--note <text>", "a note on it")
    .option("--wait", "wait for its end; ends with 1 where it failed")
    .action((dag: string, options: TriggerOptions) => runRemote(options, (remote) => trigger(remote, dag, options)));
}

export interface DagRun {
  dag_run_id: string;
  dag_id: string;
  state: string;
  run_type: string;
  logical_date: string | null;
  run_after: string;
  start_date: string | null;
  end_date: string | null;
  duration: number | null;
}

async function trigger({ server, terminal }: Remote, dagId: string, options: TriggerOptions): Promise<void> {
  const conf = await confOf(options);
  const fields = { logical_date: options.logicalDate ?? null, dag_run_id: options.runId, note: options.note };
  const path = apiPath`/api/v2/dags/${dagId}/dagRuns`;
  const run = await server.send<DagRun>("POST", path, { body: jsonWith(fields, conf === undefined ? {} : { conf }) });
  const runId = run.dag_run_id;
  if (!options.json) terminal.write(`Triggered run ${runId} for "${dagId}" (state ${run.state})\n`);
  if (!options.wait) {
    if (options.json) printJson(terminal, run);
    return;
  }
  const { is_paused: isPaused } = await server.get<{ is_paused: boolean }>(apiPath`/api/v2/dags/${dagId}`);
  if (isPaused) note(`"${dagId}" is paused, so the run waits until \`leoflow dags unpause ${dagId}\``);
  const ended = await waitForRun(server, { dagId, runId });
  if (options.json) printJson(terminal, await server.get(apiPath`/api/v2/dags/${dagId}/dagRuns/${runId}`));
  else terminal.write(`Run ${runId} ended as ${ended.state}\n`);
  ended.throwIfFailed();
}
