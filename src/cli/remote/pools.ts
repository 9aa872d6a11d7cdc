import type { Command } from "commander";
import type { ExactJson } from "../../kit/exact-json.ts";
import { UserError } from "../../kit/user-error.ts";
import { addImportExport, deleteAll } from "./entities.ts";
import { printList } from "./list.ts";
import {
  addGroup,
  addRemoteCommand,
  printJson,
  runRemote,
  wholeNumber,
  type Remote,
  type RemoteOptions,
} from "./remote-command.ts";
import { ServerAnswer } from "./server.ts";
import { fieldsText } from "./table.ts";

interface Pool {
  name: string;
  slots: number;
  description: string | null;
  include_deferred: boolean;
  occupied_slots: number;
  running_slots: number;
  queued_slots: number;
  scheduled_slots: number;
  deferred_slots: number;
  open_slots: number;
}

interface SetOptions extends RemoteOptions {
  description?: string;
  includeDeferred?: boolean;
}

/** `leoflow pools`. */
export function addPoolsCommand(program: Command): void {
  const pools = addGroup(program, "pools", "Set, show and delete pools, and carry them over as files.", [
    "leoflow pools set etl 5",
    "leoflow pools export pools.json",
  ]);
  addRemoteCommand(pools, "set <name> <slots>", {
    description: "Make a pool, or change it: what is not given stays. -1 slots are no limit.",
    json: "Airflow's PoolResponse",
    examples: [
      "leoflow pools set etl 5",
      "leoflow pools set etl 5 --description 'to the warehouse' --include-deferred",
    ],
  })
    .option("--description <text>", "what it is for")
    .option("--include-deferred", "deferred tasks take slots")
    .option("--no-include-deferred", "deferred tasks take none")
    .action((name: string, slots: string, options: SetOptions) =>
      runRemote(options, (remote) => setPool(remote, name, slots, options)),
    );
  addRemoteCommand(pools, "get <name>", {
    description: "Show a pool and what takes its slots.",
    json: "Airflow's PoolResponse",
    examples: ["leoflow pools get default_pool"],
  }).action((name: string, options: RemoteOptions) =>
    runRemote(options, async ({ server, terminal }) => {
      const pool = await server.get<Pool>(pathOf(name));
      if (options.json) return printJson(terminal, pool);
      terminal.write(
        fieldsText(terminal, [
          ["name", pool.name],
          ["slots", pool.slots],
          ["open", pool.open_slots],
          ["running", pool.running_slots],
          ["queued", pool.queued_slots],
          ["scheduled", pool.scheduled_slots],
          ["deferred", pool.deferred_slots],
          ["deferred tasks count", pool.include_deferred ? "yes" : "no"],
          ["description", pool.description],
        ]),
      );
    }),
  );
  addRemoteCommand(pools, "list", {
    description: "List pools.",
    json: "{pools: [Airflow's PoolResponse], total_entries}",
    examples: ["leoflow pools list"],
  })
    .option("--limit <number>", "so many at most; 0 is all", "1000")
    .action((options: RemoteOptions & { limit: string }) =>
      runRemote(options, async ({ server, terminal }) => {
        await printList<Pool>({ server, terminal }, options, {
          path: "/api/v2/pools",
          key: "pools",
          columns: [
            { title: "POOL", of: (pool) => pool.name, colour: () => "1" },
            { title: "SLOTS", of: (pool) => pool.slots },
            { title: "OPEN", of: (pool) => pool.open_slots },
            { title: "RUNNING", of: (pool) => pool.running_slots },
            { title: "QUEUED", of: (pool) => pool.queued_slots },
            { title: "DESCRIPTION", of: (pool) => pool.description },
          ],
        });
      }),
    );
  addRemoteCommand(pools, "delete <name...>", {
    description: "Delete pools, all or none.",
    examples: ["leoflow pools delete etl"],
  }).action((names: string[], options: RemoteOptions) =>
    runRemote(options, (remote) => deleteAll(remote, "pools", names)),
  );
  addImportExport(pools, {
    plural: "pools",
    formats: ["json", "yaml"],
    describe: "Airflow's {name: {slots, description, include_deferred}}",
    toEntities: (file) =>
      file.entries.map(([name, value]) => {
        const { slots, description = null, include_deferred = false, ...rest } = file.objectOf(name, value);
        const [unknown] = Object.keys(rest).filter((key) => key !== "team_name");
        if (unknown !== undefined) throw file.error(name, `does not know ${unknown}`);
        if (!Number.isInteger(slots)) throw file.error(name, "needs slots, a whole number");
        return { name, slots, description, include_deferred, ...rest };
      }),
    async fromServer({ server }) {
      const { toExact } = await import("./entity-file.ts");
      const { rows } = await server.list<Pool>("/api/v2/pools", "pools", {}, Infinity);
      const entries = rows.map(({ name, slots, description, include_deferred }): [string, ExactJson] => [
        name,
        toExact({ slots, description: description ?? "", include_deferred }),
      ]);
      return { entries, left: [] };
    },
  });
}

/** Pools' names may hold slashes, which their path takes as they are. */
const pathOf = (name: string) => `/api/v2/pools/${name.split("/").map(encodeURIComponent).join("/")}`;

async function setPool(
  { server, terminal }: Remote,
  name: string,
  slotsText: string,
  options: SetOptions,
): Promise<void> {
  const slots = wholeNumber("the number of slots", slotsText, -1);
  const given = { description: options.description, include_deferred: options.includeDeferred };
  const existing = await server.get<Pool>(pathOf(name)).catch((error: unknown) => {
    if (error instanceof ServerAnswer && error.status === 404) return undefined;
    throw error;
  });
  let pool: Pool;
  if (!existing) pool = await server.send("POST", "/api/v2/pools", { body: { name, slots, ...given } });
  else {
    const fields = Object.entries({ slots, ...given }).filter(([, value]) => value !== undefined);
    const mask = fields.map(([field]) => field);
    if (name === "default_pool" && mask.includes("description")) {
      throw new UserError("the description of default_pool cannot be changed", { fix: "leave --description away" });
    }
    const { description, include_deferred } = { ...existing, ...Object.fromEntries(fields) };
    const body = { pool: name, slots, description, include_deferred };
    pool = await server.send("PATCH", pathOf(name), { query: { update_mask: mask }, body });
  }
  if (options.json) printJson(terminal, pool);
  else
    terminal.write(`Pool ${name} is ${existing ? "set" : "made"}, ${slots === -1 ? "no limit" : `${slots} slots`}\n`);
}
