import type { Command } from "commander";
import { ExactObject, exactStringify, parseExact, pythonDumps, type ExactJson } from "../../kit/exact-json.ts";
import { UserError } from "../../kit/user-error.ts";
import { connectionUri, parseConnectionUri, type ConnectionFields } from "./connection-uri.ts";
import { addImportExport, deleteAll } from "./entities.ts";
import type { EntityFile } from "./entity-file.ts";
import { printList } from "./list.ts";
import {
  addGroup,
  addRemoteCommand,
  printJson,
  readInput,
  requireObject,
  runRemote,
  usage,
  wholeNumber,
  type Remote,
  type RemoteOptions,
} from "./remote-command.ts";
import { apiPath, ServerAnswer } from "./server.ts";
import { fieldsText } from "./table.ts";

interface Connection extends ConnectionFields {
  connection_id: string;
}

interface SetOptions extends RemoteOptions {
  connType?: string;
  description?: string;
  host?: string;
  login?: string;
  password?: string;
  passwordStdin?: boolean;
  schema?: string;
  port?: string;
  extra?: string;
  extraFile?: string;
  uri?: string;
  uriStdin?: boolean;
}

/** `leoflow connections`. */
export function addConnectionsCommand(program: Command): void {
  const connections = addGroup(
    program,
    "connections",
    "Set, show, test and delete connections, and carry them over as files. Secrets are never printed.",
    [
      "leoflow connections set warehouse --conn-type postgres --host db --login etl --password-stdin < password.txt",
      "leoflow connections test warehouse",
    ],
  );
  addSetCommand(connections);
  addRemoteCommand(connections, "get <id>", {
    description: "Show a connection, its secrets as ***.",
    json: "Airflow's ConnectionResponse",
    examples: ["leoflow connections get warehouse"],
  }).action((id: string, options: RemoteOptions) => runRemote(options, (remote) => get(remote, id, options)));
  addRemoteCommand(connections, "list", {
    description: "List connections.",
    json: "{connections: [Airflow's ConnectionResponse], total_entries}",
    examples: ["leoflow connections list", "leoflow connections list --pattern prod_"],
  })
    .option("--pattern <text>", "whose id holds this; % stands for anything")
    .option("--limit <number>", "so many at most; 0 is all", "1000")
    .action((options: RemoteOptions & { pattern?: string; limit: string }) =>
      runRemote(options, (remote) => list(remote, options)),
    );
  addRemoteCommand(connections, "test <id>", {
    description: "Let a connection's own hook try it. Ends with 1 where it fails.",
    json: "{status, message}",
    examples: ["leoflow connections test warehouse"],
  }).action((id: string, options: RemoteOptions) =>
    runRemote(options, async ({ server, terminal }) => {
      const { conn_type } = await server.get<Connection>(pathOf(id));
      const body = { connection_id: id, conn_type };
      const answer = await server.send<{ status: boolean; message: string }>("POST", "/api/v2/connections/test", {
        body,
      });
      if (options.json) printJson(terminal, answer);
      if (!answer.status) throw new UserError(`connection ${id} fails: ${answer.message}`);
      if (!options.json) terminal.write(`${answer.message}\n`);
    }),
  );
  addRemoteCommand(connections, "delete <id...>", {
    description: "Delete connections, all or none.",
    examples: ["leoflow connections delete warehouse"],
  }).action((ids: string[], options: RemoteOptions) =>
    runRemote(options, (remote) => deleteAll(remote, "connections", ids)),
  );
  addImportExport(connections, {
    plural: "connections",
    formats: ["json", "yaml", "env"],
    describe: "{id: URI} or {id: {conn_type, host, …}}",
    toEntities: (file) => file.entries.map(([id, value]) => entityOf(file, id, value)),
    async fromServer({ server }) {
      const { toExact } = await import("./entity-file.ts");
      const { rows } = await server.list<Connection>("/api/v2/connections", "connections", {}, Infinity);
      const left: string[] = [];
      const entries = rows.map((row): [string, ExactJson] => {
        const { fields, hidden } = withoutSecrets(row);
        left.push(...hidden.map((name) => `${row.connection_id} (${name})`));
        return [row.connection_id, toExact(fields)];
      });
      return { entries, left };
    },
    envLine,
  });
}

function addSetCommand(connections: Command): void {
  addRemoteCommand(connections, "set <id>", {
    description: "Make a connection, or change it: only what is given changes, and an empty value takes a field away.",
    json: "Airflow's ConnectionResponse",
    examples: [
      "leoflow connections set warehouse --conn-type postgres --host db --port 5432 --schema sales --login etl",
      "leoflow connections set warehouse --password-stdin < password.txt",
      "leoflow connections set api --uri-stdin <<< 'https://user:secret@api.example.com'",
    ],
  })
    .option("--conn-type <type>", "its type, such as postgres; needed for a new one")
    .option("--description <text>", "what it is for")
    .option("--host <host>", "its host")
    .option("--login <login>", "its login")
    .option("--password <password>", "its password; other users can see it in the list of processes: --password-stdin")
    .option("--password-stdin", "read the password from the first line of stdin")
    .option("--schema <schema>", "its schema or database")
    .option("--port <port>", "its port")
    .option("--extra <json>", "its extra, a JSON object")
    .option("--extra-file <file>", "the same from a file; - is stdin")
    .option("--uri <uri>", "type, host, login and the others as Airflow's URI")
    .option("--uri-stdin", "the same from the first line of stdin")
    .action((id: string, options: SetOptions) => runRemote(options, (remote) => set(remote, id, options)));
}

const pathOf = (id: string) => apiPath`/api/v2/connections/${id}`;

async function set({ server, terminal }: Remote, id: string, options: SetOptions): Promise<void> {
  const given = await givenFields(options);
  if (Object.keys(given).length === 0)
    throw usage("nothing to set", "`leoflow connections set --help` lists the fields");
  const existing = await server.get<Connection>(pathOf(id)).catch((error: unknown) => {
    if (error instanceof ServerAnswer && error.status === 404) return undefined;
    throw error;
  });
  if (!existing && !given.conn_type)
    throw usage(`there is no connection ${id} yet, and a new one needs its type`, "--conn-type");
  const body = { connection_id: id, conn_type: existing?.conn_type, ...given };
  const connection = existing
    ? await server.send("PATCH", pathOf(id), { query: { update_mask: Object.keys(given) }, body })
    : await server.send("POST", "/api/v2/connections", { body });
  if (options.json) printJson(terminal, connection);
  else terminal.write(`Connection ${id} is ${existing ? "set" : "made"}\n`);
}

async function givenFields(options: SetOptions): Promise<Partial<ConnectionFields>> {
  const { passwordStdin, uriStdin, extraFile } = options;
  const stdins = [
    passwordStdin && "--password-stdin",
    uriStdin && "--uri-stdin",
    extraFile === "-" && "--extra-file -",
  ];
  const readers = stdins.filter((each) => each);
  if (readers.length > 1) throw usage(`${readers.join(" and ")} both read stdin`, "give one of them");
  const exclusive = (names: readonly string[], values: readonly unknown[]) => {
    if (values.filter((value) => value !== undefined).length > 1)
      throw usage(`${names.join(" and ")} exclude each other`, "give one");
  };
  exclusive(["--password", "--password-stdin"], [options.password, passwordStdin]);
  exclusive(["--extra", "--extra-file"], [options.extra, extraFile]);
  exclusive(["--uri", "--uri-stdin"], [options.uri, uriStdin]);
  const firstLine = async () => (await readInput("-")).split(/\r?\n/)[0] ?? "";
  const uri = uriStdin ? await firstLine() : options.uri;
  const password = passwordStdin ? await firstLine() : options.password;
  if (passwordStdin && password === "") throw usage("stdin holds no password", "write it as its first line");
  const extra = extraFile === undefined ? options.extra : await readInput(extraFile);
  if (extra) requireObject(extraFile ?? "--extra", extra);
  const { connType, description, host, login, schema, port } = options;
  if (connType === "") throw usage("--conn-type is empty", "a connection has a type, such as postgres");
  const textFields = { conn_type: connType, description, host, login, password, schema, extra };
  const texts = Object.entries(textFields).filter(([, text]) => text !== undefined);
  return {
    ...(uri === undefined ? {} : fieldsOfUri(uri)),
    ...(Object.fromEntries(
      texts.map(([name, text]) => [name, text === "" ? null : text]),
    ) as Partial<ConnectionFields>),
    ...(port === undefined ? {} : { port: port === "" ? null : wholeNumber("--port", port) }),
  };
}

/** What a URI says; what it does not say is left alone. */
function fieldsOfUri(uri: string): Partial<ConnectionFields> {
  try {
    const fields = Object.entries(parseConnectionUri(uri)).filter(([, value]) => value !== null);
    return Object.fromEntries(fields);
  } catch (error) {
    throw usage(`the URI ${(error as Error).message}`, "for example postgres://login:password@host:5432/database");
  }
}

async function get({ server, terminal }: Remote, id: string, options: RemoteOptions): Promise<void> {
  const row = await server.get<Connection>(pathOf(id));
  if (options.json) return printJson(terminal, row);
  terminal.write(
    fieldsText(terminal, [
      ["id", row.connection_id],
      ["type", row.conn_type],
      ["host", row.host],
      ["port", row.port],
      ["schema", row.schema],
      ["login", row.login],
      ["password", row.password],
      ["extra", row.extra],
      ["description", row.description],
    ]),
  );
}

async function list(
  { server, terminal }: Remote,
  options: RemoteOptions & { pattern?: string; limit: string },
): Promise<void> {
  const query = { connection_id_pattern: options.pattern };
  await printList<Connection>({ server, terminal }, options, {
    path: "/api/v2/connections",
    key: "connections",
    query,
    columns: [
      { title: "CONNECTION", of: (row) => row.connection_id, colour: () => "1" },
      { title: "TYPE", of: (row) => row.conn_type },
      { title: "HOST", of: (row) => row.host },
      { title: "PORT", of: (row) => row.port },
      { title: "SCHEMA", of: (row) => row.schema },
      { title: "LOGIN", of: (row) => row.login },
      { title: "DESCRIPTION", of: (row) => row.description },
    ],
  });
}

const FIELDS = ["conn_type", "description", "host", "login", "password", "schema", "port", "extra"];

/** As `airflow connections import` reads a value: a URI, or an object. */
function entityOf(file: EntityFile, id: string, value: unknown): object {
  const given = typeof value === "string" && value.startsWith("{") ? parseObject(file, id, value) : value;
  if (typeof given === "string") {
    try {
      return { connection_id: id, ...parseConnectionUri(given) };
    } catch (error) {
      throw file.error(id, (error as Error).message);
    }
  }
  const { conn_id, extra_dejson, uri, ...fields } = file.objectOf(id, given);
  if (conn_id !== undefined && conn_id !== id)
    throw file.error(id, `says of itself that it is ${JSON.stringify(conn_id)}`);
  const unknown = Object.keys(fields).find((name) => !FIELDS.includes(name) && name !== "team_name");
  if (unknown !== undefined) throw file.error(id, `does not know ${unknown}; there are ${FIELDS.join(", ")}`);
  if (extra_dejson !== undefined && "extra" in fields) throw file.error(id, "has both extra and extra_dejson");
  if (typeof uri === "string") return { ...entityOf(file, id, uri), ...fields };
  if (typeof fields["conn_type"] !== "string") throw file.error(id, "needs conn_type");
  const extra = extra_dejson ?? fields["extra"];
  const isText = extra === undefined || extra === null || typeof extra === "string";
  const text = isText ? extra : pythonDumps(exactExtra(file, id) ?? parseExact(JSON.stringify(extra)));
  return { connection_id: id, ...fields, ...(text === undefined ? {} : { extra: text }) };
}

/** With its numbers as they were written. */
function exactExtra(file: EntityFile, id: string): ExactJson | undefined {
  const exact = file.exactOf(id);
  if (!(exact instanceof ExactObject)) return undefined;
  return exact.entries.get("extra_dejson") ?? exact.entries.get("extra");
}

function parseObject(file: EntityFile, id: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw file.error(id, "is neither a URI nor JSON");
  }
}

/** What the server shows as *** is left out, so that an import of it overwrites no secret. */
function withoutSecrets(row: Connection): { fields: Partial<ConnectionFields>; hidden: string[] } {
  const { conn_type, description, host, login, schema, port, password, extra } = row;
  const fields: Partial<ConnectionFields> = { conn_type, description, login, host, port, schema };
  const hidden: string[] = [];
  if (password === null) fields.password = null;
  else hidden.push("password");
  if (!extra?.includes("***")) fields.extra = extra;
  else hidden.push("extra");
  return { fields, hidden };
}

/** What an export leaves out is null in a URI. */
function envLine(value: ExactJson): string {
  const empty = { conn_type: "", host: null, login: null, password: null, schema: null, port: null, extra: null };
  return connectionUri({ ...empty, ...(JSON.parse(exactStringify(value)) as Partial<ConnectionFields>) });
}
