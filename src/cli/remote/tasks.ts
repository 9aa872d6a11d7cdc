import type { Command } from "commander";
import { TASK_INSTANCE_STATES } from "../../domain/states.ts";
import { UserError } from "../../kit/user-error.ts";
import { addLogsCommand } from "./logs.ts";
import { printList } from "./list.ts";
import {
  addGroup,
  addRemoteCommand,
  collect,
  confirmed,
  printJson,
  runRemote,
  usage,
  wholeNumber,
  type Remote,
  type RemoteOptions,
} from "./remote-command.ts";
import { apiPath } from "./server.ts";
import { durationText, fieldsText, stateColour, tableText, timeText, type Column } from "./table.ts";

interface Task {
  task_id: string;
  operator_name: string | null;
  trigger_rule: string;
  retries: number;
  pool: string;
  is_mapped: boolean;
  downstream_task_ids: string[];
}

interface TaskInstance {
  task_id: string;
  dag_id: string;
  dag_run_id: string;
  map_index: number;
  state: string | null;
  try_number: number;
  max_tries: number;
  start_date: string | null;
  end_date: string | null;
  duration: number | null;
  operator_name: string | null;
  pool: string;
  hostname: string | null;
  pid: number | null;
  note: string | null;
  rendered_map_index: string | null;
  rendered_fields: Record<string, unknown>;
}

/** Which other task instances a clear or a mark takes with it. */
interface Reach {
  upstream?: boolean;
  downstream?: boolean;
  past?: boolean;
  future?: boolean;
}

interface ClearOptions extends RemoteOptions, Reach {
  mapIndex?: string;
  onlyFailed?: boolean;
  latestVersion?: boolean;
  note?: string;
  dryRun?: boolean;
  yes?: boolean;
}

interface MarkOptions extends RemoteOptions, Reach {
  mapIndex?: string;
  note?: string;
  dryRun?: boolean;
}

interface TaskPlace {
  dag: string;
  run: string;
  task: string;
}

/** `leoflow tasks`. */
export function addTasksCommand(program: Command): void {
  const tasks = addGroup(program, "tasks", "List, show, clear and mark tasks of DAGs and their instances in runs.", [
    "leoflow tasks list my_dag",
    "leoflow tasks states my_dag manual__mine",
    "leoflow tasks clear my_dag manual__mine load --downstream",
  ]);
  addRemoteCommand(tasks, "list <dag>", {
    description: "List a DAG's tasks.",
    json: "{tasks: [Airflow's TaskResponse], total_entries}",
    examples: ["leoflow tasks list my_dag"],
  }).action((dag: string, options: RemoteOptions) => runRemote(options, (remote) => list(remote, dag, options)));
  addStatesCommand(tasks);
  addRemoteCommand(tasks, "show <dag> <run> <task>", {
    description: "Show one task instance.",
    json: "Airflow's TaskInstanceResponse",
    examples: [
      "leoflow tasks show my_dag manual__mine load",
      "leoflow tasks show my_dag manual__mine load --map-index 3",
    ],
  })
    .option("--map-index <number>", "one instance of a mapped task")
    .action((dag: string, run: string, task: string, options: RemoteOptions & { mapIndex?: string }) =>
      runRemote(options, (remote) => show(remote, { dag, run, task }, options)),
    );
  addClearCommand(tasks);
  addMarkCommand(tasks);
  addLogsCommand(tasks, "tasks");
}

function addStatesCommand(tasks: Command): void {
  const states = addRemoteCommand(tasks, "states <dag> <run>", {
    description: "List the task instances of a run, those of mapped tasks too.",
    json: "{task_instances: [Airflow's TaskInstanceResponse], total_entries}",
    examples: ["leoflow tasks states my_dag manual__mine", "leoflow tasks states my_dag manual__mine --state failed"],
  });
  states
    .addOption(
      states
        .createOption("--state <state>", "in this state; more than once: in any of them")
        .choices(TASK_INSTANCE_STATES)
        .argParser(collect),
    )
    .option("--task <task>", "of this task")
    .option("--limit <number>", "so many at most; 0 is all", "1000")
    .action((dag: string, run: string, options: RemoteOptions & { state?: string[]; task?: string; limit: string }) =>
      runRemote(options, (remote) => instances(remote, { dag, run }, options)),
    );
}

function addReach(command: Command): Command {
  return command
    .option("--upstream", "with the tasks before it")
    .option("--downstream", "with the tasks after it")
    .option("--past", "in earlier runs too")
    .option("--future", "in later runs too");
}

function addClearCommand(tasks: Command): void {
  const clear = addRemoteCommand(tasks, "clear <dag> <run> [task...]", {
    description: "Clear task instances of a run, all of them without a task, so that they run again.",
    json: "{task_instances: [Airflow's TaskInstanceResponse], total_entries}",
    examples: [
      "leoflow tasks clear my_dag manual__mine load --downstream --yes",
      "leoflow tasks clear my_dag manual__mine load --map-index 3 --yes",
      "leoflow tasks clear my_dag manual__mine --only-failed --dry-run",
    ],
  });
  addReach(clear)
    .option("--map-index <number>", "one instance of a mapped task")
    .option("--only-failed", "only those that failed, or could not run because others did")
    .option("--latest-version", "run them on the DAG's newest version")
    .option("--note <text>", "a note on them")
    .option("--dry-run", "show them, change nothing")
    .option("-y, --yes", "ask nothing")
    .action((dag: string, run: string, ids: string[], options: ClearOptions) =>
      runRemote(options, (remote) => clearTasks(remote, { dag, run, ids }, options)),
    );
}

const MARKS = ["success", "failed", "skipped"] as const;

function addMarkCommand(tasks: Command): void {
  const mark = addRemoteCommand(tasks, "mark", {
    description:
      "Mark a task instance as success, failed or skipped; all instances of a mapped task without --map-index.",
    json: "{task_instances: [Airflow's TaskInstanceResponse], total_entries}",
    examples: [
      "leoflow tasks mark success my_dag manual__mine load",
      "leoflow tasks mark failed my_dag manual__mine load --map-index 3 --note 'known'",
    ],
  });
  addReach(mark)
    .addArgument(mark.createArgument("<state>", "the state").choices(MARKS))
    .argument("<dag>", "id of the DAG")
    .argument("<run>", "id of the run")
    .argument("<task>", "id of the task")
    .option("--map-index <number>", "one instance of a mapped task")
    .option("--note <text>", "a note on it")
    .option("--dry-run", "show what would be marked, change nothing")
    .action((state: string, dag: string, run: string, task: string, options: MarkOptions) =>
      runRemote(options, (remote) => markTask(remote, state, { dag, run, task }, options)),
    );
}

async function list({ server, terminal }: Remote, dag: string, options: RemoteOptions): Promise<void> {
  const answer = await server.get<{ tasks: Task[] }>(apiPath`/api/v2/dags/${dag}/tasks`);
  if (options.json) return printJson(terminal, answer);
  terminal.write(
    tableText(
      terminal,
      [
        { title: "TASK", of: (task) => task.task_id, colour: () => "1" },
        { title: "OPERATOR", of: (task) => task.operator_name },
        { title: "MAPPED", of: (task) => (task.is_mapped ? "yes" : "no") },
        { title: "TRIGGER RULE", of: (task) => task.trigger_rule },
        { title: "RETRIES", of: (task) => task.retries },
        { title: "POOL", of: (task) => task.pool },
        { title: "DOWNSTREAM", of: (task) => task.downstream_task_ids.join(",") },
      ],
      answer.tasks,
    ),
  );
}

const COLUMNS: readonly Column<TaskInstance>[] = [
  { title: "TASK", of: (row) => row.task_id, colour: () => "1" },
  { title: "INDEX", of: (row) => (row.map_index < 0 ? null : row.map_index) },
  { title: "STATE", of: (row) => row.state, colour: (row) => stateColour(row.state) },
  { title: "TRY", of: (row) => row.try_number },
  { title: "STARTED", of: (row) => timeText(row.start_date) },
  { title: "TOOK", of: (row) => durationText(row.duration) },
];

async function instances(
  { server, terminal }: Remote,
  { dag, run }: { dag: string; run: string },
  options: RemoteOptions & { state?: string[]; task?: string; limit: string },
): Promise<void> {
  for (const state of options.state ?? []) {
    if ((TASK_INSTANCE_STATES as readonly string[]).includes(state)) continue;
    throw usage(`--state is ${JSON.stringify(state)}`, `use one of ${TASK_INSTANCE_STATES.join(", ")}`);
  }
  const path = apiPath`/api/v2/dags/${dag}/dagRuns/${run}/taskInstances`;
  const query = { state: options.state, task_id: options.task, order_by: ["start_date", "map_index"] };
  await printList<TaskInstance>({ server, terminal }, options, {
    path,
    key: "task_instances",
    query,
    columns: COLUMNS,
  });
}

async function show(
  { server, terminal }: Remote,
  { dag, run, task }: TaskPlace,
  options: RemoteOptions & { mapIndex?: string },
): Promise<void> {
  const path = apiPath`/api/v2/dags/${dag}/dagRuns/${run}/taskInstances/${task}`;
  const index = mapIndexOf(options);
  const row = await server.get<TaskInstance>(index === undefined ? path : path + apiPath`/${index}`);
  if (options.json) return printJson(terminal, row);
  terminal.write(
    fieldsText(terminal, [
      ["DAG", row.dag_id],
      ["run", row.dag_run_id],
      ["task", row.task_id],
      ["map index", row.map_index < 0 ? null : (row.rendered_map_index ?? row.map_index)],
      ["state", row.state],
      ["try", `${row.try_number} of ${row.max_tries + 1}`],
      ["started", timeText(row.start_date)],
      ["ended", timeText(row.end_date)],
      ["took", durationText(row.duration)],
      ["operator", row.operator_name],
      ["pool", row.pool],
      ["host", row.hostname],
      ["process", row.pid],
      ["note", row.note],
      ...Object.entries(row.rendered_fields).map(
        ([name, value]) => [`rendered ${name}`, typeof value === "string" ? value : JSON.stringify(value)] as const,
      ),
    ]),
  );
}

async function clearTasks(
  { server, terminal }: Remote,
  { dag, run, ids }: { dag: string; run: string; ids: string[] },
  options: ClearOptions,
): Promise<void> {
  const index = mapIndexOf(options);
  if (index !== undefined && ids.length !== 1) throw usage("--map-index needs one task", "name the mapped task");
  if (ids.length === 0 && (options.upstream || options.downstream)) {
    throw usage("--upstream and --downstream need a task", "name the task, or leave them away to clear all");
  }
  const body = {
    dag_run_id: run,
    task_ids: ids.length === 0 ? null : index === undefined ? ids : [[ids[0], index]],
    only_failed: options.onlyFailed ?? false,
    run_on_latest_version: options.latestVersion,
    note: options.note,
    ...reachOf(options),
  };
  const path = apiPath`/api/v2/dags/${dag}/clearTaskInstances`;
  const send = (dryRun: boolean) =>
    server.send<{ task_instances: TaskInstance[] }>("POST", path, { body: { ...body, dry_run: dryRun } });
  if (options.dryRun || !options.yes) {
    const meant = await send(true);
    if (options.dryRun && options.json) return printJson(terminal, meant);
    if (!options.json) terminal.write(tableText(terminal, COLUMNS, meant.task_instances));
    if (options.dryRun) return;
    await confirmed(options, `clear these ${meant.task_instances.length} task instances`);
  }
  const cleared = await send(false);
  if (options.json) printJson(terminal, cleared);
  else terminal.write(`Cleared ${cleared.task_instances.length} task instances of "${dag}"\n`);
}

async function markTask(
  { server, terminal }: Remote,
  state: string,
  { dag, run, task }: TaskPlace,
  options: MarkOptions,
): Promise<void> {
  const index = mapIndexOf(options);
  const path = apiPath`/api/v2/dags/${dag}/dagRuns/${run}/taskInstances/${task}`;
  const body = { new_state: state, note: options.note, ...reachOf(options) };
  const at = (index === undefined ? path : path + apiPath`/${index}`) + (options.dryRun ? "/dry_run" : "");
  const answer = await server.send<{ task_instances: TaskInstance[] }>("PATCH", at, { body });
  if (answer.task_instances.length === 0 && !options.dryRun) {
    throw new UserError(`there is no instance of task ${task} to mark`, {
      fix: `\`leoflow tasks states ${dag} ${run}\``,
    });
  }
  if (options.json) printJson(terminal, answer);
  else if (options.dryRun) terminal.write(tableText(terminal, COLUMNS, answer.task_instances));
  else terminal.write(`Task ${task} of run ${run} is marked ${state}\n`);
}

const reachOf = (reach: Reach) => ({
  include_upstream: reach.upstream ?? false,
  include_downstream: reach.downstream ?? false,
  include_past: reach.past ?? false,
  include_future: reach.future ?? false,
});

function mapIndexOf(options: { mapIndex?: string }): number | undefined {
  return options.mapIndex === undefined ? undefined : wholeNumber("--map-index", options.mapIndex);
}
