import type { Command } from "commander";
import { DAG_RUN_STATES } from "../../domain/states.ts";
import { UserError } from "../../kit/user-error.ts";
import { printList } from "./list.ts";
import {
  addGroup,
  addRemoteCommand,
  collect,
  confirmed,
  printJson,
  runRemote,
  seconds,
  usage,
  wholeNumber,
  type Remote,
  type RemoteOptions,
} from "./remote-command.ts";
import { addLogsCommand } from "./logs.ts";
import { apiPath } from "./server.ts";
import { durationText, stateColour, tableText, timeText } from "./table.ts";
import { addTriggerCommand, type DagRun } from "./trigger.ts";
import { waitForRun } from "./wait.ts";

interface ListOptions extends RemoteOptions {
  dag?: string;
  state?: string[];
  olderThan?: string;
  limit: string;
}

interface ClearOptions extends RemoteOptions {
  onlyFailed?: boolean;
  onlyNew?: boolean;
  latestVersion?: boolean;
  note?: string;
  dryRun?: boolean;
  yes?: boolean;
}

/** `leoflow runs`. */
export function addRunsCommand(program: Command): void {
  const runs = addGroup(program, "runs", "Start, watch, clear and delete runs of DAGs.", [
    "leoflow runs list --state failed",
    "leoflow runs wait my_dag manual__2026-01-01T00:00:00+00:00",
  ]);
  addTriggerCommand(runs, "runs");
  addRemoteCommand(runs, "status <dag>", {
    description: "Print the id and the state of a DAG's newest run, or of one, with a tab between them.",
    json: "Airflow's DAGRunResponse",
    examples: ["leoflow runs status my_dag", "leoflow runs status my_dag --run manual__mine"],
  })
    .option("--run <id>", "this run")
    .action((dag: string, options: RemoteOptions & { run?: string }) =>
      runRemote(options, (remote) => status(remote, dag, options)),
    );
  addListCommand(runs);
  addLogsCommand(runs, "runs");
  addClearCommand(runs);
  addRemoteCommand(runs, "wait <dag> <run>", {
    description: "Wait for a run's end. Ends with 1 where it failed or --timeout passed.",
    json: "Airflow's DAGRunResponse, as it ended",
    examples: ["leoflow runs wait my_dag manual__mine", "leoflow runs wait my_dag manual__mine --timeout 600"],
  })
    .option("--timeout <seconds>", "wait no longer")
    .action((dag: string, run: string, options: RemoteOptions & { timeout?: string }) =>
      runRemote(options, (remote) => wait(remote, { dagId: dag, runId: run }, options)),
    );
  addMarkCommand(runs);
  addRemoteCommand(runs, "delete <dag> <run...>", {
    description: "Delete runs with their task instances. A run that is running cannot be deleted.",
    json: "{success: [ids], errors: [{error, status_code}]}",
    examples: ["leoflow runs delete my_dag manual__mine --yes"],
  })
    .option("-y, --yes", "ask nothing")
    .action((dag: string, ids: string[], options: RemoteOptions & { yes?: boolean }) =>
      runRemote(options, (remote) => deleteRuns(remote, dag, ids, options)),
    );
}

function addListCommand(runs: Command): void {
  const list = addRemoteCommand(runs, "list", {
    description: "List runs, newest first.",
    json: "{dag_runs: [Airflow's DAGRunResponse], total_entries}",
    examples: [
      "leoflow runs list",
      "leoflow runs list --dag my_dag --state failed --state running",
      "leoflow runs list --older-than 30d --limit 0 --json | jq -r '.dag_runs[].dag_run_id'",
    ],
  });
  list
    .option("--dag <dag>", "of this DAG")
    .addOption(
      list
        .createOption("--state <state>", "in this state; more than once: in any of them")
        .choices(DAG_RUN_STATES)
        .argParser((value: string, before?: string[]) => collect(oneOf("--state", value, DAG_RUN_STATES), before)),
    )
    .option("--older-than <time>", "that were due this long ago or longer: 90s, 30m, 12h, 7d")
    .option("--limit <number>", "so many at most; 0 is all", "100")
    .action((options: ListOptions) => runRemote(options, (remote) => listRuns(remote, options)));
}

function addClearCommand(runs: Command): void {
  addRemoteCommand(runs, "clear <dag> <run>", {
    description: "Clear a run, so that its tasks run again.",
    json: "Airflow's DAGRunResponse; with --dry-run {task_instances, total_entries}",
    examples: [
      "leoflow runs clear my_dag manual__mine --dry-run",
      "leoflow runs clear my_dag manual__mine --only-failed --yes",
    ],
  })
    .option("--only-failed", "only tasks that failed, or could not run because others did")
    .option("--only-new", "only tasks that came into the DAG since")
    .option("--latest-version", "run them on the DAG's newest version")
    .option("--note <text>", "a note on the run")
    .option("--dry-run", "show the tasks, change nothing")
    .option("-y, --yes", "ask nothing")
    .action((dag: string, run: string, options: ClearOptions) =>
      runRemote(options, (remote) => clear(remote, { dagId: dag, runId: run }, options)),
    );
}

const MARKS = ["success", "failed", "queued"] as const;

function addMarkCommand(runs: Command): void {
  const mark = addRemoteCommand(runs, "mark", {
    description: "Mark a run as success or failed, or queue it again.",
    json: "Airflow's DAGRunResponse",
    examples: ["leoflow runs mark failed my_dag manual__mine"],
  });
  mark
    .addArgument(mark.createArgument("<state>", "the state").choices(MARKS))
    .argument("<dag>", "id of the DAG")
    .argument("<run>", "id of the run")
    .action((state: string, dag: string, run: string, options: RemoteOptions) =>
      runRemote(options, async ({ server, terminal }) => {
        const answer = await server.send("PATCH", apiPath`/api/v2/dags/${dag}/dagRuns/${run}`, { body: { state } });
        if (options.json) printJson(terminal, answer);
        else terminal.write(`Run ${run} of "${dag}" is marked ${state}\n`);
      }),
    );
}

interface RunPlace {
  dagId: string;
  runId: string;
}

async function status(
  { server, terminal }: Remote,
  dagId: string,
  options: RemoteOptions & { run?: string },
): Promise<void> {
  const runs = apiPath`/api/v2/dags/${dagId}/dagRuns`;
  const run =
    options.run === undefined
      ? (await server.list<DagRun>(runs, "dag_runs", { order_by: "-run_after" }, 1)).rows[0]
      : await server.get<DagRun>(runs + apiPath`/${options.run}`);
  if (!run)
    throw new UserError(`no runs found for "${dagId}"`, { fix: `\`leoflow runs trigger ${dagId}\` starts one` });
  if (options.json) printJson(terminal, run);
  else terminal.write(`${run.dag_run_id}\t${run.state}\n`);
}

async function listRuns({ server, terminal }: Remote, options: ListOptions): Promise<void> {
  const query = {
    state: options.state,
    run_after_lte: options.olderThan === undefined ? undefined : before(options.olderThan),
    order_by: "-run_after",
  };
  const path = apiPath`/api/v2/dags/${options.dag ?? "~"}/dagRuns`;
  await printList<DagRun>({ server, terminal }, options, {
    path,
    key: "dag_runs",
    query,
    columns: [
      { title: "DAG", of: (run) => run.dag_id, colour: () => "1" },
      { title: "RUN", of: (run) => run.dag_run_id },
      { title: "STATE", of: (run) => run.state, colour: (run) => stateColour(run.state) },
      { title: "TYPE", of: (run) => run.run_type },
      { title: "DUE", of: (run) => timeText(run.run_after) },
      { title: "STARTED", of: (run) => timeText(run.start_date) },
      { title: "TOOK", of: (run) => durationText(run.duration) },
    ],
  });
}

async function clear({ server, terminal }: Remote, { dagId, runId }: RunPlace, options: ClearOptions): Promise<void> {
  if (options.onlyFailed && options.onlyNew) throw usage("--only-failed and --only-new exclude each other", "give one");
  const path = apiPath`/api/v2/dags/${dagId}/dagRuns/${runId}/clear`;
  const body = {
    only_failed: options.onlyFailed ?? false,
    only_new: options.onlyNew ?? false,
    run_on_latest_version: options.latestVersion,
    note: options.note,
  };
  const send = (dryRun: boolean) => server.send("POST", path, { body: { ...body, dry_run: dryRun } });
  if (options.dryRun || !options.yes) {
    const meant = (await send(true)) as { task_instances: { task_id: string; map_index?: number; state?: string }[] };
    if (options.dryRun && options.json) return printJson(terminal, meant);
    if (!options.json) terminal.write(tableText(terminal, TASK_COLUMNS, meant.task_instances));
    if (options.dryRun) return;
    await confirmed(options, `clear these ${meant.task_instances.length} task instances`);
  }
  const run = await send(false);
  if (options.json) printJson(terminal, run);
  else terminal.write(`Cleared run ${runId} of "${dagId}"\n`);
}

const TASK_COLUMNS = [
  { title: "TASK", of: (task: { task_id: string }) => task.task_id },
  { title: "INDEX", of: (task: { map_index?: number }) => ((task.map_index ?? -1) < 0 ? null : task.map_index) },
  { title: "STATE", of: (task: { state?: string }) => task.state },
];

async function wait(
  { server, terminal }: Remote,
  { dagId, runId }: RunPlace,
  options: RemoteOptions & { timeout?: string },
): Promise<void> {
  const seconds = options.timeout === undefined ? undefined : wholeNumber("--timeout", options.timeout, 1);
  const ended = await waitForRun(server, { dagId, runId, ...(seconds === undefined ? {} : { seconds }) });
  if (options.json) printJson(terminal, await server.get(apiPath`/api/v2/dags/${dagId}/dagRuns/${runId}`));
  else terminal.write(`Run ${runId} ended as ${ended.state}\n`);
  ended.throwIfFailed();
}

async function deleteRuns(
  { server, terminal }: Remote,
  dagId: string,
  ids: readonly string[],
  options: RemoteOptions & { yes?: boolean },
): Promise<void> {
  await confirmed(options, `delete ${ids.length === 1 ? `run ${ids[0]}` : `${ids.length} runs`} of "${dagId}"`);
  const body = { actions: [{ action: "delete", entities: ids }] };
  const path = apiPath`/api/v2/dags/${dagId}/dagRuns`;
  const answer = await server.send<{ delete: { success: string[]; errors: { error: string }[] } }>("PATCH", path, {
    body,
  });
  const { success, errors } = answer.delete;
  if (options.json) printJson(terminal, answer.delete);
  else if (success.length > 0) terminal.write(`Deleted ${success.length} of ${ids.length} runs of "${dagId}"\n`);
  if (errors.length > 0) throw new UserError(errors.map(({ error }) => error).join("; "));
}

/** The moment so long ago. */
function before(text: string): string {
  const at = new Date(Date.now() - seconds("--older-than", text) * 1000);
  if (Number.isNaN(at.getTime())) throw usage(`--older-than is ${JSON.stringify(text)}`, "use a shorter time");
  return at.toISOString();
}

/** Throws UserError for a value that is none of them. */
function oneOf(name: string, value: string, choices: readonly string[]): string {
  if (choices.includes(value)) return value;
  throw usage(`${name} is ${JSON.stringify(value)}`, `use one of ${choices.join(", ")}`);
}
