import type { Command } from "commander";
import { REPROCESS_BEHAVIORS } from "../../domain/backfill.ts";
import { printList } from "./list.ts";
import {
  addGroup,
  addRemoteCommand,
  confOf,
  printJson,
  runRemote,
  wholeNumber,
  type Remote,
  type RemoteOptions,
} from "./remote-command.ts";
import { apiPath, jsonWith } from "./server.ts";
import { fieldsText, tableText, timeText } from "./table.ts";

interface Backfill {
  id: number;
  dag_id: string;
  from_date: string;
  to_date: string;
  is_paused: boolean;
  reprocess_behavior: string;
  max_active_runs: number;
  dag_run_conf: unknown;
  created_at: string;
  completed_at: string | null;
}

interface CreateOptions extends RemoteOptions {
  fromDate: string;
  toDate: string;
  conf?: string;
  confFile?: string;
  runBackwards?: boolean;
  maxActiveRuns: string;
  reprocessBehavior: string;
  runOnLatestVersion?: boolean;
  dryRun?: boolean;
}

/** `leoflow backfill`. */
export function addBackfillCommand(program: Command): void {
  const backfill = addGroup(program, "backfill", "Make runs of a DAG's past.", [
    "leoflow backfill create my_dag --from-date 2026-01-01 --to-date 2026-01-31 --dry-run",
    "leoflow backfill list --active",
  ]);
  addCreateCommand(backfill);
  addRemoteCommand(backfill, "list", {
    description: "List backfills, newest first.",
    json: "{backfills: [Airflow's BackfillResponse], total_entries}",
    examples: ["leoflow backfill list", "leoflow backfill list --dag my_dag --active"],
  })
    .option("--dag <dag>", "of this DAG")
    .option("--active", "that are not completed")
    .option("--limit <number>", "so many at most; 0 is all", "100")
    .action((options: RemoteOptions & { dag?: string; active?: boolean; limit: string }) =>
      runRemote(options, (remote) => list(remote, options)),
    );
  addRemoteCommand(backfill, "show <id>", {
    description: "Show a backfill.",
    json: "Airflow's BackfillResponse",
    examples: ["leoflow backfill show 3"],
  }).action((id: string, options: RemoteOptions) =>
    runRemote(options, async ({ server, terminal }) => {
      const found = await server.get<Backfill>(pathOf(id));
      if (options.json) printJson(terminal, found);
      else terminal.write(fieldsText(terminal, fieldsOf(found)));
    }),
  );
  for (const [verb, description, done] of [
    ["pause", "Pause a backfill: it starts no more runs.", "paused"],
    ["unpause", "Let a paused backfill go on.", "unpaused"],
    ["cancel", "Cancel a backfill: runs that wait are failed, those that run go on.", "cancelled"],
  ] as const) {
    addRemoteCommand(backfill, `${verb} <id>`, {
      description,
      json: "Airflow's BackfillResponse",
      examples: [`leoflow backfill ${verb} 3`],
    }).action((id: string, options: RemoteOptions) =>
      runRemote(options, async ({ server, terminal }) => {
        const answer = await server.send("PUT", `${pathOf(id)}/${verb}`);
        if (options.json) printJson(terminal, answer);
        else terminal.write(`Backfill ${id} is ${done}\n`);
      }),
    );
  }
}

function addCreateCommand(backfill: Command): void {
  const create = addRemoteCommand(backfill, "create <dag>", {
    description: "Make the runs that the schedule has between two dates.",
    json: "Airflow's BackfillResponse; with --dry-run {backfills: [{logical_date, …}], total_entries}",
    examples: [
      "leoflow backfill create my_dag --from-date 2026-01-01 --to-date 2026-01-31 --dry-run",
      "leoflow backfill create my_dag --from-date 2026-01-01 --to-date 2026-01-31 --reprocess-behavior failed",
    ],
  });
  create
    .requiredOption("--from-date <date>", "the first logical date")
    .requiredOption("--to-date <date>", "the last one")
    .option("--conf <json>", "the conf of its runs, a JSON object")
    .option("--conf-file <file>", "the same from a file; - is stdin")
    .option("--run-backwards", "the latest first")
    .option("--max-active-runs <number>", "so many runs at once", "10")
    .addOption(
      create
        .createOption("--reprocess-behavior <which>", "dates that have a run already and run again")
        .choices(REPROCESS_BEHAVIORS)
        .default("none"),
    )
    .option("--run-on-latest-version", "run again on the DAG's newest version")
    .option("--dry-run", "show the dates, make nothing")
    .action((dag: string, options: CreateOptions) => runRemote(options, (remote) => createOne(remote, dag, options)));
}

const pathOf = (id: string) => apiPath`/api/v2/backfills/${wholeNumber("the backfill's id", id)}`;

async function createOne({ server, terminal }: Remote, dag: string, options: CreateOptions): Promise<void> {
  const conf = await confOf(options);
  const body = jsonWith(
    {
      dag_id: dag,
      from_date: options.fromDate,
      to_date: options.toDate,
      run_backwards: options.runBackwards ?? false,
      max_active_runs: wholeNumber("--max-active-runs", options.maxActiveRuns, 1),
      reprocess_behavior: options.reprocessBehavior,
      run_on_latest_version: options.runOnLatestVersion,
    },
    conf === undefined ? {} : { dag_run_conf: conf },
  );
  if (options.dryRun) {
    const path = "/api/v2/backfills/dry_run";
    const plan = await server.send<{ backfills: { logical_date: string | null }[] }>("POST", path, { body });
    if (options.json) printJson(terminal, plan);
    else
      terminal.write(
        tableText(terminal, [{ title: "LOGICAL DATE", of: (run) => timeText(run.logical_date) }], plan.backfills),
      );
    return;
  }
  const made = await server.send<Backfill>("POST", "/api/v2/backfills", { body });
  if (options.json) printJson(terminal, made);
  else terminal.write(`Backfill ${made.id} of "${dag}" made\n`);
}

async function list(
  { server, terminal }: Remote,
  options: RemoteOptions & { dag?: string; active?: boolean; limit: string },
): Promise<void> {
  // The public API lists one DAG's alone.
  const query = { dag_id: options.dag, active: options.active, order_by: "-id" };
  await printList<Backfill>({ server, terminal }, options, {
    path: "/ui/backfills",
    key: "backfills",
    query,
    columns: [
      { title: "ID", of: (row) => row.id },
      { title: "DAG", of: (row) => row.dag_id, colour: () => "1" },
      { title: "FROM", of: (row) => timeText(row.from_date) },
      { title: "TO", of: (row) => timeText(row.to_date) },
      { title: "STATE", of: stateOf },
      { title: "MADE", of: (row) => timeText(row.created_at) },
    ],
  });
}

function stateOf({ completed_at: completed, is_paused: isPaused }: Backfill): string {
  return completed !== null ? "completed" : isPaused ? "paused" : "running";
}

function fieldsOf(row: Backfill): [string, string | number | null][] {
  return [
    ["id", row.id],
    ["DAG", row.dag_id],
    ["from", timeText(row.from_date)],
    ["to", timeText(row.to_date)],
    ["state", stateOf(row)],
    ["reprocess", row.reprocess_behavior],
    ["max active runs", row.max_active_runs],
    ["conf", row.dag_run_conf === null ? null : JSON.stringify(row.dag_run_conf)],
    ["made", timeText(row.created_at)],
    ["completed", timeText(row.completed_at)],
  ];
}
