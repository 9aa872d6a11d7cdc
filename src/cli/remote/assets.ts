import type { Command } from "commander";
import { UserError } from "../../kit/user-error.ts";
import { printList } from "./list.ts";
import {
  addGroup,
  addRemoteCommand,
  confOf,
  printJson,
  runRemote,
  type Remote,
  type RemoteOptions,
} from "./remote-command.ts";
import { apiPath, jsonWith } from "./server.ts";
import { timeText } from "./table.ts";
import type { DagRun } from "./trigger.ts";

interface Asset {
  id: number;
  name: string;
  uri: string;
  group: string;
  scheduled_dags: unknown[];
  producing_tasks: unknown[];
  last_asset_event: { timestamp: string | null } | null;
}

interface MaterializeOptions extends RemoteOptions {
  conf?: string;
  confFile?: string;
  note?: string;
}

/** `leoflow assets`. */
export function addAssetsCommand(program: Command): void {
  const assets = addGroup(program, "assets", "List assets, and run the DAG that makes one.", [
    "leoflow assets list",
    "leoflow assets materialize s3://bucket/sales",
  ]);
  addRemoteCommand(assets, "list", {
    description: "List assets.",
    json: "{assets: [Airflow's AssetResponse], total_entries}",
    examples: ["leoflow assets list", "leoflow assets list --pattern sales"],
  })
    .option("--pattern <text>", "whose name holds this; % stands for anything")
    .option("--limit <number>", "so many at most; 0 is all", "1000")
    .action((options: RemoteOptions & { pattern?: string; limit: string }) =>
      runRemote(options, (remote) => list(remote, options)),
    );
  addRemoteCommand(assets, "materialize <asset>", {
    description: "Run the one DAG whose task makes an asset. The asset is its id, name or URI.",
    json: "Airflow's DAGRunResponse",
    examples: ["leoflow assets materialize sales", "leoflow assets materialize 3"],
  })
    .option("--conf <json>", "the run's conf, a JSON object")
    .option("--conf-file <file>", "the same from a file; - is stdin")
    .option("--note <text>", "a note on the run")
    .action((asset: string, options: MaterializeOptions) =>
      runRemote(options, (remote) => materialize(remote, asset, options)),
    );
}

async function list(
  { server, terminal }: Remote,
  options: RemoteOptions & { pattern?: string; limit: string },
): Promise<void> {
  const query = { name_pattern: options.pattern };
  await printList<Asset>({ server, terminal }, options, {
    path: "/api/v2/assets",
    key: "assets",
    query,
    columns: [
      { title: "ID", of: (asset) => asset.id },
      { title: "NAME", of: (asset) => asset.name, colour: () => "1" },
      { title: "URI", of: (asset) => asset.uri },
      { title: "GROUP", of: (asset) => asset.group },
      { title: "MADE BY", of: (asset) => asset.producing_tasks.length },
      { title: "USED BY", of: (asset) => asset.scheduled_dags.length },
      { title: "LAST EVENT", of: (asset) => timeText(asset.last_asset_event?.timestamp) },
    ],
  });
}

async function materialize({ server, terminal }: Remote, asked: string, options: MaterializeOptions): Promise<void> {
  const conf = await confOf(options);
  const id = /^\d+$/.test(asked) ? Number(asked) : await idOf({ server }, asked);
  const body = jsonWith({ note: options.note }, conf === undefined ? {} : { conf });
  const run = await server.send<DagRun>("POST", apiPath`/api/v2/assets/${id}/materialize`, { body });
  if (options.json) printJson(terminal, run);
  else terminal.write(`Triggered run ${run.dag_run_id} for "${run.dag_id}" (state ${run.state})\n`);
}

async function idOf({ server }: Pick<Remote, "server">, asked: string): Promise<number> {
  for (const [query, field] of [
    ["name_pattern", "name"],
    ["uri_pattern", "uri"],
  ] as const) {
    const { rows } = await server.list<Asset>("/api/v2/assets", "assets", { [query]: asked }, Infinity);
    const found = rows.find((asset) => asset[field] === asked);
    if (found) return found.id;
  }
  throw new UserError(`there is no asset ${asked}`, { fix: "`leoflow assets list` shows the assets" });
}
