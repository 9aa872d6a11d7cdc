import type { Command } from "commander";
import { expandHome, parsePort, type Environment } from "../kit/config.ts";
import type { LeoflowConfig } from "../lite/config-file.ts";
import { addGroup, examplesText, printJson, runLocal, type Local } from "./remote/remote-command.ts";
import { tableText } from "./remote/table.ts";

interface Options {
  workspace?: string;
  port?: string;
  host?: string;
  server?: string;
  token?: string;
  json?: boolean;
}

interface Setting {
  name: string;
  value: string | number | null;
  /** "--port", "LEOFLOW_LITE_PORT", "config.yaml", "default". */
  source: string;
}

/** `leoflow config`. */
export function addConfigCommand(program: Command): void {
  const config = addGroup(program, "config", "Look at the settings of this home.", ["leoflow config show"]);
  config
    .command("show")
    .description(
      "Show the settings that count, secrets as ***, and where each comes from: an option, the environment, config.yaml or the default.",
    )
    .option("--workspace <folder>", "as `leoflow lite --workspace` would be started")
    .option("--port <port>", "as `leoflow lite --port`")
    .option("--host <address>", "as `leoflow lite --host`")
    .option("--server <url>", "as a command with --server")
    .option("--token <token>", "as a command with --token")
    .option("--json", "as JSON: {settings: [{name, value, source}]}")
    .addHelpText(
      "after",
      examplesText(["leoflow config show", "leoflow config show --json | jq -r '.settings[].name'"]),
    )
    .action((options: Options) => runLocal((local) => show(local, options)));
}

async function show({ environment, paths, terminal }: Local, options: Options): Promise<void> {
  const { readConfigFile } = await import("../lite/config-file.ts");
  const settings = settingsOf(options, environment, readConfigFile(paths, environment) ?? {});
  if (options.json) return printJson(terminal, { settings });
  terminal.write(
    tableText(
      terminal,
      [
        { title: "SETTING", of: ({ name }) => name, colour: () => "1" },
        { title: "VALUE", of: ({ value }) => value },
        { title: "FROM", of: ({ source }) => source },
      ],
      settings,
    ),
  );
}

type Given = readonly [source: string, value: string | number | undefined];

function settingsOf(options: Options, environment: Environment, file: Partial<LeoflowConfig>): Setting[] {
  const { userHome } = environment;
  /** The first that is given counts. */
  const setting = (name: string, fallback: string | number | null, ...given: Given[]): Setting => {
    const found = given.find(([, value]) => value !== undefined);
    return { name, value: withoutPassword(found?.[1] ?? fallback), source: found?.[0] ?? "default" };
  };
  const secret = (name: string, ...given: Given[]): Setting => {
    const found = setting(name, null, ...given);
    return { ...found, value: found.value === null ? null : "***" };
  };
  const port = options.port === undefined ? undefined : parsePort(options.port, "--port");
  const workspace = options.workspace && expandHome(options.workspace, userHome);
  const fromFile = <K extends keyof LeoflowConfig>(key: K) => ["config.yaml", file[key]] as const;
  return [
    setting("home", `${userHome}/.leoflow`, ["LEOFLOW_HOME", unlessDefault(environment.home, `${userHome}/.leoflow`)]),
    setting(
      "workspace",
      `${userHome}/leoflow`,
      ["--workspace", workspace],
      ["LEOFLOW_WORKSPACE", environment.workspace],
      fromFile("workspace"),
    ),
    setting("lite_port", 8088, ["--port", port], ["LEOFLOW_LITE_PORT", environment.port], fromFile("lite_port")),
    setting("host", "127.0.0.1", ["--host", options.host], ["LEOFLOW_HOST", environment.host]),
    setting("admin_email", "admin@leoflow.local", fromFile("admin_email")),
    secret("admin_password_hash", fromFile("admin_password_hash")),
    secret("jwt_secret", fromFile("jwt_secret")),
    secret("fernet_key", fromFile("fernet_key")),
    setting(
      "server_url",
      null,
      ["--server", options.server],
      ["LEOFLOW_SERVER", environment.server],
      fromFile("server_url"),
    ),
    secret("token", ["--token", options.token], ["LEOFLOW_TOKEN", environment.token], fromFile("token")),
    setting("log_level", "info", ["LEOFLOW_LOG_LEVEL", unlessDefault(environment.logLevel, "info")]),
    setting("docker_volume", null, ["LEOFLOW_DOCKER_VOLUME", environment.dockerVolume]),
    setting("dag_bundles", null, ["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", environment.dagBundles]),
    setting("package_index", null, ["UV_DEFAULT_INDEX", environment.packageIndex]),
  ];
}

const unlessDefault = (value: string, fallback: string) => (value === fallback ? undefined : value);

/** Addresses may carry one. */
function withoutPassword(value: string | number | null): string | number | null {
  return typeof value === "string" ? value.replace(/\/\/[^/@\s]+@/g, "//***@") : value;
}
