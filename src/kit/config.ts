import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { UserError } from "./user-error.ts";

/**
 * What the environment says. The order is everywhere: command-line option > environment > config.yaml > default.
 * This is the only file that reads `process.env`.
 */
export interface Environment {
  /** Where everything of this installation lives; `LEOFLOW_HOME`, else `~/.leoflow`. Absolute. */
  home: string;
  /** The user's own home directory, for `~` in paths. */
  userHome: string;
  workspace: string | undefined;
  port: number | undefined;
  host: string | undefined;
  /** Only the first start reads it. */
  adminPassword: string | undefined;
  /** The Leoflow that commands talk to: `LEOFLOW_SERVER`, else `LEOFLOW_SERVER_URL`. */
  server: string | undefined;
  /** A user's token for it. */
  token: string | undefined;
  /** An agent's token for its server. */
  agentToken: string | undefined;
  /** After how long a server gives up an agent that is silent. */
  agentLostSeconds: number | undefined;
  /** Who signs in to it. */
  userName: string | undefined;
  /** Of a user that is made, changed or signs in. */
  userPassword: string | undefined;
  /** The Docker volume whose database a first start takes over, or "none"; by default this home's own. */
  dockerVolume: string | undefined;
  /** For encrypted backups in scripts. */
  backupPassphrase: string | undefined;
  logLevel: string;
  noColor: boolean;
  /** Of a server's PostgreSQL, not Lite's. */
  databaseUrl: string | undefined;
  /** A directory of this user for sockets, where the system has one. */
  runtimeDir: string | undefined;
  path: string;
  /** Where uv takes packages from, instead of PyPI. */
  packageIndex: string | undefined;
  /** Airflow's `[dag_processor] dag_bundle_config_list`, as it is. */
  dagBundles: string | undefined;
  /** Airflow's `[core] parallelism`; 0 there is Infinity here. */
  parallelism: number | undefined;
  /** Airflow's `[core] multi_team`. */
  multiTeam: boolean | undefined;
}

export const MULTI_TEAM_VARIABLE = "AIRFLOW__CORE__MULTI_TEAM";
const PARALLELISM_VARIABLE = "AIRFLOW__CORE__PARALLELISM";

const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "fatal", "silent"];

export function readEnvironment(source: NodeJS.ProcessEnv = process.env): Readonly<Environment> {
  const text = (name: string): string | undefined => source[name]?.trim() || undefined;
  const userHome = text("HOME") ?? homedir();
  const logLevel = text("LEOFLOW_LOG_LEVEL")?.toLowerCase() ?? "info";
  if (!LOG_LEVELS.includes(logLevel)) {
    throw new UserError(`LEOFLOW_LOG_LEVEL is ${JSON.stringify(logLevel)}`, {
      fix: `use one of ${LOG_LEVELS.join(", ")}, or unset it`,
      exitCode: 2,
    });
  }
  const port = text("LEOFLOW_LITE_PORT");
  return Object.freeze({
    home: resolve(expandHome(text("LEOFLOW_HOME") ?? join(userHome, ".leoflow"), userHome)),
    userHome,
    workspace: text("LEOFLOW_WORKSPACE"),
    port: port === undefined ? undefined : parsePort(port, "LEOFLOW_LITE_PORT"),
    host: text("LEOFLOW_HOST"),
    adminPassword: source["LEOFLOW_ADMIN_PASSWORD"] || undefined,
    server: text("LEOFLOW_SERVER") ?? text("LEOFLOW_SERVER_URL"),
    token: text("LEOFLOW_TOKEN"),
    agentToken: text("LEOFLOW_AGENT_TOKEN"),
    agentLostSeconds: parseSeconds(text("LEOFLOW_AGENT_LOST_SECONDS"), "LEOFLOW_AGENT_LOST_SECONDS", 3),
    userName: text("LEOFLOW_USERNAME"),
    userPassword: source["LEOFLOW_PASSWORD"] || undefined,
    dockerVolume: text("LEOFLOW_DOCKER_VOLUME"),
    backupPassphrase: source["LEOFLOW_BACKUP_PASSPHRASE"] || undefined,
    logLevel,
    noColor: Boolean(source["NO_COLOR"]),
    runtimeDir: text("XDG_RUNTIME_DIR"),
    databaseUrl: source["LEOFLOW_DATABASE_URL"] || undefined,
    path: source["PATH"] ?? "",
    packageIndex: text("UV_DEFAULT_INDEX"),
    dagBundles: text("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"),
    parallelism: parseParallelism(text(PARALLELISM_VARIABLE)),
    multiTeam: parseBoolean(text(MULTI_TEAM_VARIABLE), MULTI_TEAM_VARIABLE),
  });
}

/** As Airflow's `conf.getboolean` reads it, a comment behind it included. */
function parseBoolean(text: string | undefined, name: string): boolean | undefined {
  const value = text?.split("#", 1)[0]?.trim().toLowerCase();
  if (value === undefined || value === "") return undefined;
  if (["t", "true", "1"].includes(value)) return true;
  if (["f", "false", "0"].includes(value)) return false;
  throw new UserError(`${name} is ${JSON.stringify(text)}`, { fix: "use True or False, or unset it", exitCode: 2 });
}

/** As Airflow's `conf.getint` reads it, a comment behind it included; there 0 stands for no limit. */
function parseParallelism(text: string | undefined): number | undefined {
  const value = text?.split("#", 1)[0]?.trim();
  if (value === undefined || value === "") return undefined;
  if (/^\d{1,6}$/.test(value)) return Number(value) || Infinity;
  throw new UserError(`${PARALLELISM_VARIABLE} is ${JSON.stringify(text)}`, {
    fix: "use a whole number of task instances, 0 for no limit, or unset it",
    exitCode: 2,
  });
}

function parseSeconds(text: string | undefined, name: string, least: number): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d{1,6}$/.test(text) && Number(text) >= least) return Number(text);
  throw new UserError(`${name} is ${JSON.stringify(text)}`, {
    fix: `use a whole number of seconds, at least ${least}, or unset it`,
    exitCode: 2,
  });
}

/** A port from text; `name` is the option or variable that the error names. */
export function parsePort(text: string, name: string): number {
  const port = Number(text);
  if (!/^\d+$/.test(text.trim()) || port < 1 || port > 65535) {
    throw new UserError(`${name} is ${JSON.stringify(text)}, not a port`, {
      fix: "use a whole number from 1 to 65535",
      exitCode: 2,
    });
  }
  return port;
}

/** `~` and `~/x` as a shell would read them. */
export function expandHome(path: string, userHome: string): string {
  return path === "~" || path.startsWith("~/") ? join(userHome, path.slice(1)) : path;
}

/** Variables and connections of teams, as Airflow names them in the environment: `AIRFLOW_VAR__<TEAM>___<KEY>`. */
export function teamSecrets(source: NodeJS.ProcessEnv = process.env): ReadonlyMap<string, string> {
  return new Map(
    Object.entries(source).filter(
      (entry): entry is [string, string] => /^AIRFLOW_(VAR|CONN)__.+___/s.test(entry[0]) && Boolean(entry[1]),
    ),
  );
}

/** The environment for a child process: ours, with changes; `undefined` takes a variable away. Tasks see no password. */
export function childEnvironment(changes: Record<string, string | undefined> = {}): Record<string, string> {
  // What is not set is no key of it.
  const env = { ...process.env } as Record<string, string>;
  delete env["LEOFLOW_ADMIN_PASSWORD"];
  delete env["LEOFLOW_PASSWORD"];
  delete env["LEOFLOW_TOKEN"];
  delete env["LEOFLOW_AGENT_TOKEN"];
  delete env["LEOFLOW_DATABASE_URL"];
  delete env["LEOFLOW_BACKUP_PASSPHRASE"];
  for (const [name, value] of Object.entries(changes)) {
    if (value === undefined) delete env[name];
    else env[name] = value;
  }
  return env;
}
