import type { Command } from "commander";
import { UserError } from "../../kit/user-error.ts";
import { printList } from "./list.ts";
import {
  addGroup,
  addRemoteCommand,
  collect,
  confirmed,
  note,
  printJson,
  runRemote,
  usage,
  type Remote,
  type RemoteOptions,
} from "./remote-command.ts";
import { DAG_RUN_STATES } from "../../domain/states.ts";
import { apiPath } from "./server.ts";
import { fieldsText, tableText, timeText } from "./table.ts";
import { addTriggerCommand } from "./trigger.ts";

/** What commands show of Airflow's DAGResponse. */
interface Dag {
  dag_id: string;
  dag_display_name: string;
  is_paused: boolean;
  is_stale: boolean;
  description: string | null;
  timetable_summary: string | null;
  tags: { name: string }[];
  owners: string[];
  fileloc: string;
  bundle_name: string | null;
  has_import_errors: boolean;
  last_parsed_time: string | null;
  max_active_runs: number;
  max_active_tasks: number;
  next_dagrun_logical_date: string | null;
  next_dagrun_data_interval_start: string | null;
  next_dagrun_data_interval_end: string | null;
  next_dagrun_run_after: string | null;
}

interface DagDetails extends Dag {
  catchup: boolean;
  doc_md: string | null;
  start_date: string | null;
  end_date: string | null;
  active_runs_count: number;
  latest_dag_version: { version_number: number } | null;
}

interface ListOptions extends RemoteOptions {
  pattern?: string;
  tag?: string[];
  owner?: string[];
  paused?: boolean;
  unpaused?: boolean;
  state?: string;
  stale?: boolean;
  limit: string;
}

/** `leoflow dags`. Returns the group, to which commands of other modules are added. */
export function addDagsCommand(program: Command): Command {
  const dags = addGroup(program, "dags", "List, pause, trigger and delete DAGs.", [
    "leoflow dags list",
    "leoflow dags trigger my_dag --wait",
  ]);
  addListCommand(dags);
  addRemoteCommand(dags, "show <dag>", {
    description: "Show a DAG: its schedule, its file, when it runs next.",
    json: "Airflow's DAGDetailsResponse",
    examples: ["leoflow dags show my_dag", "leoflow dags show my_dag --json | jq .fileloc"],
  }).action((dag: string, options: RemoteOptions) => runRemote(options, (remote) => show(remote, dag, options)));
  addPauseCommand(dags, true);
  addPauseCommand(dags, false);
  addTriggerCommand(dags, "dags");
  addRemoteCommand(dags, "delete <dag>", {
    description:
      "Delete a DAG with its runs, its task instances and their logs' rows. Its file stays; while it is there, the DAG comes back without history.",
    examples: ["leoflow dags delete old_dag", "leoflow dags delete old_dag --yes"],
  })
    .option("-y, --yes", "ask nothing")
    .action((dag: string, options: RemoteOptions & { yes?: boolean }) =>
      runRemote(options, async ({ server, terminal }) => {
        await confirmed(options, `delete DAG ${dag} and its history`);
        await server.send("DELETE", apiPath`/api/v2/dags/${dag}`);
        terminal.write(`Deleted "${dag}" and its history\n`);
      }),
    );
  addRemoteCommand(dags, "next-run <dag>", {
    description: "Show the next run that the schedule makes.",
    json: "{dag_id, logical_date, data_interval_start, data_interval_end, run_after}",
    examples: ["leoflow dags next-run my_dag"],
  }).action((dag: string, options: RemoteOptions) => runRemote(options, (remote) => nextRun(remote, dag, options)));
  addRemoteCommand(dags, "versions <dag>", {
    description: "List the versions of a DAG, newest first.",
    json: "{dag_versions: [Airflow's DagVersionResponse], total_entries}",
    examples: ["leoflow dags versions my_dag"],
  })
    .option("--limit <number>", "so many at most; 0 is all", "100")
    .action((dag: string, options: RemoteOptions & { limit: string }) =>
      runRemote(options, (remote) => versions(remote, dag, options)),
    );
  addRemoteCommand(dags, "list-import-errors", {
    description: "List the DAG files that cannot be read, with the reason. Ends with 1 where there are any.",
    json: "{import_errors: [Airflow's ImportErrorResponse], total_entries}",
    examples: ["leoflow dags list-import-errors"],
  }).action((options: RemoteOptions) => runRemote(options, (remote) => importErrors(remote, options)));
  return dags;
}

function addListCommand(dags: Command): void {
  const list = addRemoteCommand(dags, "list", {
    description: "List DAGs.",
    json: "{dags: [Airflow's DAGResponse], total_entries}",
    examples: [
      "leoflow dags list",
      "leoflow dags list --pattern sales --tag daily --unpaused",
      "leoflow dags list --state failed --json | jq -r '.dags[].dag_id'",
    ],
  });
  list
    .option("--pattern <text>", "whose id holds this; % stands for anything")
    .option("--tag <tag>", "with this tag; more than once: with any of them", collect)
    .option("--owner <owner>", "of this owner; more than once: of any of them", collect)
    .option("--paused", "that are paused")
    .option("--unpaused", "that are not")
    .addOption(list.createOption("--state <state>", "whose last run is in this state").choices(DAG_RUN_STATES))
    .option("--stale", "with those whose file is gone")
    .option("--limit <number>", "so many at most; 0 is all", "1000")
    .action((options: ListOptions) => runRemote(options, (remote) => listDags(remote, options)));
}

function addPauseCommand(dags: Command, isPaused: boolean): void {
  const verb = isPaused ? "pause" : "unpause";
  addRemoteCommand(dags, `${verb} [dag]`, {
    description: isPaused
      ? "Pause a DAG: its schedule makes no runs, and runs that wait do not start."
      : "Unpause a DAG: its schedule goes on, and runs that wait start.",
    json: "Airflow's DAGResponse; with --pattern {dags: […], total_entries}",
    examples: [`leoflow dags ${verb} my_dag`, `leoflow dags ${verb} --pattern staging_%`],
  })
    .option("--pattern <text>", "all DAGs whose id holds this, in one request; % stands for anything")
    .action((dag: string | undefined, options: RemoteOptions & { pattern?: string }) =>
      runRemote(options, (remote) => setPaused(remote, { dag, isPaused, verb }, options)),
    );
}

async function listDags({ server, terminal }: Remote, options: ListOptions): Promise<void> {
  if (options.paused && options.unpaused) throw usage("--paused and --unpaused exclude each other", "give one of them");
  const query = {
    dag_id_pattern: options.pattern,
    tags: options.tag,
    owners: options.owner,
    paused: options.paused ? true : options.unpaused ? false : undefined,
    last_dag_run_state: options.state,
    exclude_stale: options.stale ? false : undefined,
  };
  await printList<Dag>({ server, terminal }, options, {
    path: "/api/v2/dags",
    key: "dags",
    query,
    columns: [
      { title: "DAG", of: (dag) => dag.dag_id, colour: () => "1" },
      { title: "SCHEDULE", of: (dag) => dag.timetable_summary },
      {
        title: "PAUSED",
        of: (dag) => (dag.is_paused ? "yes" : "no"),
        colour: (dag) => (dag.is_paused ? "33" : undefined),
      },
      { title: "NEXT RUN", of: (dag) => (dag.is_paused ? null : timeText(dag.next_dagrun_run_after)) },
      { title: "OWNERS", of: (dag) => dag.owners.join(",") },
      { title: "TAGS", of: (dag) => dag.tags.map(({ name }) => name).join(",") },
    ],
  });
}

async function show({ server, terminal }: Remote, dagId: string, options: RemoteOptions): Promise<void> {
  const dag = await server.get<DagDetails>(apiPath`/api/v2/dags/${dagId}/details`);
  if (options.json) return printJson(terminal, dag);
  terminal.write(
    fieldsText(terminal, [
      ["id", dag.dag_id],
      ["description", dag.description],
      ["schedule", dag.timetable_summary],
      ["paused", dag.is_paused ? "yes" : "no"],
      ["next run", timeText(dag.next_dagrun_run_after)],
      ["running runs", dag.active_runs_count],
      ["max active runs", dag.max_active_runs],
      ["max active tasks", dag.max_active_tasks],
      ["catchup", dag.catchup ? "yes" : "no"],
      ["start date", timeText(dag.start_date)],
      ["end date", timeText(dag.end_date)],
      ["owners", dag.owners.join(", ")],
      ["tags", dag.tags.map(({ name }) => name).join(", ")],
      ["version", dag.latest_dag_version?.version_number],
      ["file", dag.fileloc],
      ["bundle", dag.bundle_name],
      ["import errors", dag.has_import_errors ? "yes: `leoflow dags list-import-errors`" : "no"],
      ["file is gone", dag.is_stale ? "yes" : "no"],
    ]),
  );
}

async function setPaused(
  { server, terminal }: Remote,
  { dag, isPaused, verb }: { dag: string | undefined; isPaused: boolean; verb: string },
  options: RemoteOptions & { pattern?: string },
): Promise<void> {
  const { pattern } = options;
  if ((dag === undefined) === (pattern === undefined)) {
    throw usage(`${verb} needs a DAG or --pattern, one of the two`, `\`leoflow dags ${verb} my_dag\``);
  }
  const body = { is_paused: isPaused };
  if (dag !== undefined) {
    const answer = await server.send("PATCH", apiPath`/api/v2/dags/${dag}`, { body });
    if (options.json) printJson(terminal, answer);
    else terminal.write(`"${dag}" is ${verb}d\n`);
    return;
  }
  const answer = await server.send<{ total_entries: number }>("PATCH", "/api/v2/dags", {
    query: { dag_id_pattern: pattern },
    body,
  });
  if (answer.total_entries === 0) {
    throw new UserError(`no DAG's id holds ${JSON.stringify(pattern)}`, { fix: "`leoflow dags list` shows the DAGs" });
  }
  if (options.json) printJson(terminal, answer);
  else terminal.write(`${answer.total_entries} DAGs are ${verb}d\n`);
}

async function nextRun({ server, terminal }: Remote, dagId: string, options: RemoteOptions): Promise<void> {
  const dag = await server.get<Dag>(apiPath`/api/v2/dags/${dagId}`);
  const next = {
    dag_id: dagId,
    logical_date: dag.next_dagrun_logical_date,
    data_interval_start: dag.next_dagrun_data_interval_start,
    data_interval_end: dag.next_dagrun_data_interval_end,
    run_after: dag.next_dagrun_run_after,
  };
  if (options.json) return printJson(terminal, next);
  if (next.run_after === null) {
    note(`the schedule of "${dagId}" makes no further run`);
    return;
  }
  if (dag.is_paused) note(`"${dagId}" is paused`);
  terminal.write(
    tableText(
      terminal,
      [
        { title: "LOGICAL DATE", of: (run) => timeText(run.logical_date) },
        { title: "INTERVAL START", of: (run) => timeText(run.data_interval_start) },
        { title: "INTERVAL END", of: (run) => timeText(run.data_interval_end) },
        { title: "RUN AFTER", of: (run) => timeText(run.run_after) },
      ],
      [next],
    ),
  );
}

interface DagVersion {
  version_number: number;
  bundle_name: string | null;
  bundle_version: string | null;
  created_at: string;
}

async function versions(
  { server, terminal }: Remote,
  dagId: string,
  options: RemoteOptions & { limit: string },
): Promise<void> {
  const path = apiPath`/api/v2/dags/${dagId}/dagVersions`;
  const query = { order_by: "-version_number" };
  await printList<DagVersion>({ server, terminal }, options, {
    path,
    key: "dag_versions",
    query,
    columns: [
      { title: "VERSION", of: (version) => version.version_number },
      { title: "MADE", of: (version) => timeText(version.created_at) },
      { title: "BUNDLE", of: (version) => version.bundle_name },
      { title: "BUNDLE VERSION", of: (version) => version.bundle_version },
    ],
  });
}

interface ImportError {
  filename: string;
  bundle_name: string | null;
  timestamp: string;
  stack_trace: string;
}

async function importErrors({ server, terminal }: Remote, options: RemoteOptions): Promise<void> {
  const { rows, total } = await server.list<ImportError>("/api/v2/importErrors", "import_errors", {}, Infinity);
  if (options.json) printJson(terminal, { import_errors: rows, total_entries: total });
  else
    for (const error of rows)
      terminal.write(`${error.filename}\n${error.stack_trace.trimEnd().replace(/^/gm, "  ")}\n\n`);
  if (rows.length > 0) {
    throw new UserError(`${total} DAG file${total === 1 ? "" : "s"} cannot be read`, {
      fix: "correct them; they are read again at once",
    });
  }
}
