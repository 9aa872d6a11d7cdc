import type { Command } from "commander";
import type { ExactJson } from "../../kit/exact-json.ts";
import { UserError } from "../../kit/user-error.ts";
import type { EntityFile, Format } from "./entity-file.ts";
import {
  addRemoteCommand,
  note,
  printJson,
  readInput,
  runRemote,
  writeOutput,
  type Remote,
  type RemoteOptions,
} from "./remote-command.ts";

/** What connections, variables and pools have in common: files of them, and bulk requests. */
export interface EntityKind {
  plural: "connections" | "variables" | "pools";
  formats: readonly Format[];
  /** The file's content, for the help. */
  describe: string;
  /** Bodies of Airflow's bulk request. Throws the file's errors. */
  toEntities(file: EntityFile): object[];
  /** What is exported, and the names of what the server keeps to itself. */
  fromServer(remote: Remote): Promise<{ entries: [string, ExactJson][]; left: string[] }>;
  /** A value as one line of an .env file. */
  envLine?: (value: ExactJson) => string;
}

interface BulkOutcome {
  success: string[];
  errors: { error: string; status_code?: number }[];
}

interface ImportOptions extends RemoteOptions {
  format?: string;
  onExisting: string;
}

const ON_EXISTING = ["fail", "skip", "overwrite"] as const;

/** Adds `import` and `export`. */
export function addImportExport(parent: Command, kind: EntityKind): void {
  const { plural, formats } = kind;
  const list = formats.join(", ");
  const load = addRemoteCommand(parent, "import <file>", {
    description: `Import ${plural} from a file of \`airflow ${plural} export\`: ${kind.describe}. All or none; - is stdin.`,
    json: "{success: [names], errors: []}",
    examples: [
      `leoflow ${plural} import ${plural}.json`,
      `leoflow ${plural} import ${plural}.json --on-existing overwrite`,
      `leoflow ${plural} import - --format json < ${plural}.json`,
    ],
  });
  load
    .option("--format <format>", `${list}; the file's ending without it`)
    .addOption(
      load
        .createOption(
          "--on-existing <what>",
          "what to do where one is there already: import nothing, skip it, or overwrite it",
        )
        .choices(ON_EXISTING)
        .default("fail"),
    )
    .action((file: string, options: ImportOptions) =>
      runRemote(options, (remote) => importFile(remote, kind, file, options)),
    );
  addRemoteCommand(parent, "export [file]", {
    description:
      `Export ${plural} as \`airflow ${plural} export\` does; without a file to stdout.` +
      (plural === "pools" ? "" : " What the server keeps secret is left out, and named on stderr."),
    examples: [`leoflow ${plural} export ${plural}.json`, `leoflow ${plural} export --format ${formats.at(-1)}`],
  })
    .option("--format <format>", `${list}; the file's ending without it, json on stdout`)
    .action((file: string | undefined, options: RemoteOptions & { format?: string }) =>
      runRemote(options, (remote) => exportFile(remote, kind, file ?? "-", options)),
    );
}

async function importFile(remote: Remote, kind: EntityKind, file: string, options: ImportOptions): Promise<void> {
  const { formatOf, parseEntities } = await import("./entity-file.ts");
  const format = formatOf(file, options.format, kind.formats);
  const parsed = parseEntities(file === "-" ? "stdin" : file, await readInput(file), format);
  const entities = kind.toEntities(parsed);
  const action = { action: "create", entities, action_on_existence: options.onExisting };
  const outcome = await bulk(remote, kind.plural, action, {
    fix: "nothing was imported; --on-existing skip or overwrite takes what is there into account",
  });
  const skipped = entities.length - outcome.success.length;
  if (options.json) printJson(remote.terminal, outcome);
  else {
    const rest = skipped === 0 ? "" : `, ${skipped} skipped: there already`;
    remote.terminal.write(`Imported ${outcome.success.length} ${kind.plural}${rest}\n`);
  }
}

async function exportFile(
  remote: Remote,
  kind: EntityKind,
  file: string,
  options: RemoteOptions & { format?: string },
): Promise<void> {
  const { entitiesText, formatOf } = await import("./entity-file.ts");
  const format = formatOf(file, options.format ?? (file === "-" ? "json" : undefined), kind.formats);
  const { entries, left } = await kind.fromServer(remote);
  const text = entitiesText(entries, format, kind.envLine ?? String);
  if (file === "-") remote.terminal.write(text);
  else {
    await writeOutput(file, text, 0o600);
    remote.terminal.write(`Exported ${entries.length} ${kind.plural} to ${file}\n`);
  }
  if (left.length > 0) note(`the server tells no secrets, so these are not in it: ${left.join(", ")}`);
}

/** Deletes all of them in one request, or none. */
export async function deleteAll(remote: Remote, plural: EntityKind["plural"], names: readonly string[]): Promise<void> {
  const { success } = await bulk(remote, plural, { action: "delete", entities: names }, { fix: "nothing was deleted" });
  remote.terminal.write(`Deleted ${names.filter((name) => success.includes(name)).join(", ")}\n`);
}

async function bulk(
  { server }: Remote,
  plural: string,
  action: { action: string; entities: readonly unknown[]; action_on_existence?: string },
  { fix }: { fix: string },
): Promise<BulkOutcome> {
  const answer = await server.send<Record<string, BulkOutcome | null>>("PATCH", `/api/v2/${plural}`, {
    body: { actions: [action] },
  });
  const outcome = answer[action.action] ?? { success: [], errors: [] };
  if (outcome.errors.length === 0) return outcome;
  throw new UserError(outcome.errors.map(({ error }) => error).join("; "), { fix });
}
