import type { Command } from "commander";
import { ExactObject, parseExact, pythonDumps, type ExactJson } from "../../kit/exact-json.ts";
import { addImportExport, deleteAll } from "./entities.ts";
import { printList } from "./list.ts";
import {
  addGroup,
  addRemoteCommand,
  printJson,
  readInput,
  runRemote,
  usage,
  type Remote,
  type RemoteOptions,
} from "./remote-command.ts";
import { ServerAnswer } from "./server.ts";

interface Variable {
  key: string;
  value: string | null;
  description: string | null;
}

interface SetOptions extends RemoteOptions {
  valueFile?: string;
  description?: string;
}

/** `leoflow variables`. */
export function addVariablesCommand(program: Command): void {
  const variables = addGroup(program, "variables", "Set, show and delete variables, and carry them over as files.", [
    "leoflow variables set bucket s3://data",
    "leoflow variables export variables.json",
  ]);
  addRemoteCommand(variables, "set <key> [value]", {
    description: "Make a variable, or change it: what is not given stays.",
    json: "Airflow's VariableResponse",
    examples: [
      "leoflow variables set bucket s3://data --description 'where files go'",
      "leoflow variables set api_token --value-file - < token.txt",
    ],
  })
    .option("--value-file <file>", "the value from a file; - is stdin. One line end at its end is left out")
    .option("--description <text>", "what it is for")
    .action((key: string, value: string | undefined, options: SetOptions) =>
      runRemote(options, (remote) => setVariable(remote, key, value, options)),
    );
  addRemoteCommand(variables, "get <key>", {
    description: "Print a variable's value, masked where its name sounds secret.",
    json: "Airflow's VariableResponse",
    examples: ["leoflow variables get bucket"],
  }).action((key: string, options: RemoteOptions) =>
    runRemote(options, async ({ server, terminal }) => {
      const variable = await server.get<Variable>(pathOf(key));
      if (options.json) printJson(terminal, variable);
      else terminal.write(`${variable.value ?? ""}\n`);
    }),
  );
  addRemoteCommand(variables, "list", {
    description: "List variables, values masked where their names sound secret.",
    json: "{variables: [Airflow's VariableResponse], total_entries}",
    examples: ["leoflow variables list", "leoflow variables list --json | jq -r '.variables[].key'"],
  })
    .option("--pattern <text>", "whose key holds this; % stands for anything")
    .option("--limit <number>", "so many at most; 0 is all", "1000")
    .action((options: RemoteOptions & { pattern?: string; limit: string }) =>
      runRemote(options, async ({ server, terminal }) => {
        const query = { variable_key_pattern: options.pattern };
        await printList<Variable>({ server, terminal }, options, {
          path: "/api/v2/variables",
          key: "variables",
          query,
          columns: [
            { title: "KEY", of: (variable) => variable.key, colour: () => "1" },
            { title: "VALUE", of: (variable) => variable.value },
            { title: "DESCRIPTION", of: (variable) => variable.description },
          ],
        });
      }),
    );
  addRemoteCommand(variables, "delete <key...>", {
    description: "Delete variables, all or none.",
    examples: ["leoflow variables delete bucket"],
  }).action((keys: string[], options: RemoteOptions) =>
    runRemote(options, (remote) => deleteAll(remote, "variables", keys)),
  );
  addImportExport(variables, {
    plural: "variables",
    formats: ["json", "yaml", "env"],
    describe: "{key: value} or {key: {value, description}}",
    toEntities: (file) => file.entries.map(([key]) => entityOf(key, file.exactOf(key), 2)),
    async fromServer({ server }) {
      const { rows } = await server.list<Variable>("/api/v2/variables", "variables", {}, Infinity);
      const isHidden = ({ value }: Variable) => value === null || value.includes("***");
      return {
        entries: rows.filter((row) => !isHidden(row)).map((row): [string, ExactJson] => [row.key, exportedValue(row)]),
        left: rows.filter(isHidden).map(({ key }) => key),
      };
    },
    envLine: (value) => entityOf("", value, undefined).value.replaceAll("\n", " "),
  });
}

/** Keys may hold slashes, which their path takes as they are. */
const pathOf = (key: string) => `/api/v2/variables/${key.split("/").map(encodeURIComponent).join("/")}`;

async function setVariable(
  { server, terminal }: Remote,
  key: string,
  value: string | undefined,
  options: SetOptions,
): Promise<void> {
  if (value !== undefined && options.valueFile !== undefined) {
    throw usage("a value and --value-file exclude each other", "give one of them");
  }
  const text = options.valueFile === undefined ? value : (await readInput(options.valueFile)).replace(/\r?\n$/, "");
  const given = Object.entries({ value: text, description: options.description }).filter(
    ([, each]) => each !== undefined,
  );
  if (given.length === 0) throw usage("nothing to set", "give a value, --value-file or --description");
  const body = { key, value: text ?? "", description: options.description };
  const mask = given.map(([name]) => name);
  const changed = await server
    .send<Variable>("PATCH", pathOf(key), { query: { update_mask: mask }, body })
    .catch((error: unknown) => {
      if (error instanceof ServerAnswer && error.status === 404) return undefined;
      throw error;
    });
  if (!changed && text === undefined) throw usage(`there is no variable ${key} yet`, "give it a value");
  const variable = changed ?? (await server.send<Variable>("POST", "/api/v2/variables", { body }));
  if (options.json) printJson(terminal, variable);
  else terminal.write(`Variable ${key} is ${changed ? "set" : "made"}\n`);
}

/** As `airflow variables import` reads a value. */
function entityOf(key: string, given: ExactJson, indent: number | undefined) {
  if (!(given instanceof ExactObject) || !given.entries.has("value")) return { key, value: textOf(given, indent) };
  const value = textOf(given.entries.get("value") ?? null, indent);
  return { key, value, description: given.entries.get("description") ?? null };
}

/** Variables are texts; anything else is stored as the JSON that Python writes. */
function textOf(value: ExactJson, indent: number | undefined): string {
  if (typeof value === "string") return value;
  return pythonDumps(value, indent === undefined ? {} : { indent });
}

/** As `airflow variables export` writes a value, so that an import makes the same of it. */
function exportedValue({ value, description }: Variable): ExactJson {
  const text = value ?? "";
  let decoded: ExactJson;
  try {
    decoded = parseExact(text);
  } catch {
    decoded = text;
  }
  if (typeof decoded === "string") decoded = text;
  const needsWords = description || (decoded instanceof ExactObject && decoded.entries.has("value"));
  if (!needsWords) return decoded;
  return new ExactObject(
    new Map<string, ExactJson>([
      ["value", decoded],
      ["description", description],
    ]),
  );
}
