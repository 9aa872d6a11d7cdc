import { resolve } from "node:path";
import type { Command } from "commander";
import { expandHome, parsePort } from "../kit/config.ts";
import { UserError } from "../kit/user-error.ts";
import type { PresentSettings, Settings } from "../lite/setup.ts";
import { askLine, canAsk } from "./ask.ts";
import { runCommandWork, type CommandContext } from "./command-context.ts";
import { printError } from "./errors.ts";
import { paint, type Terminal } from "./terminal-progress.ts";

interface Options {
  workspace?: string;
  port?: string;
  email?: string;
  dryRun?: boolean;
  yes?: boolean;
  /** commander's name for --no-download. */
  download: boolean;
}

/** `leoflow setup`. */
export function addSetupCommand(program: Command): void {
  program
    .command("setup")
    .summary("choose workspace, port and login; safe to run again")
    .description(
      "Make the settings of Leoflow Lite, and install its Python and PostgreSQL. On a terminal it asks; elsewhere options and " +
        "defaults decide. Run again it keeps every setting, but for those that an option changes.",
    )
    .option("--workspace <folder>", "folder for your DAGs (at first ~/leoflow)")
    .option("--port <number>", "port of the web interface (at first 8088)")
    .option("--email <address>", "the admin's login (at first admin@leoflow.local)")
    .option("--yes", "ask nothing: take options and defaults")
    .option("--no-download", "leave Python and PostgreSQL to the first start")
    .option("--dry-run", "only print what would be set")
    .addHelpText(
      "after",
      `
Examples:
  leoflow setup
  leoflow setup --yes --workspace ~/dags --port 9000
  leoflow setup --email ada@example.com      on an installation: changes only that

Environment:
  LEOFLOW_HOME             where settings, database and Python live (~/.leoflow)
  LEOFLOW_ADMIN_PASSWORD   password for the admin, instead of a made one
`,
    )
    .action((options: Options) => runCommandWork((context) => run(context, options)));
}

async function run(context: CommandContext, options: Options): Promise<void> {
  const { paths, environment, terminal } = context;
  const setup = await import("../lite/setup.ts");
  const present = setup.presentSettings(paths, environment);
  const parse: Record<keyof Settings, (text: string) => string | number> = {
    workspace: (text) => {
      const workspace = resolve(expandHome(text, environment.userHome));
      setup.checkNewWorkspace(workspace, paths);
      return workspace;
    },
    port: (text) => parsePort(text, "the port"),
    email: (text) => {
      setup.checkEmail(text);
      return text;
    },
  };
  const chosen: Partial<Settings> = {};
  for (const key of ["workspace", "port", "email"] as const) {
    const text = options[key];
    if (text !== undefined) Object.assign(chosen, { [key]: parse[key](text) });
  }
  if (!present.configured && canAsk() && !options.yes && !options.dryRun) {
    await askForRest(context, present, chosen, parse);
  }
  if (options.dryRun) {
    terminal.write(dryRunText(present, { ...present, ...chosen }, paths.config));
    return;
  }
  let passwordShown = false;
  const { settings, wasConfigured, runningPid, downloadError } = await setup.setUp({
    ...context,
    chosen,
    download: options.download,
    onPassword(password, { email, port }) {
      passwordShown = true;
      terminal.write(
        passwordBanner(terminal, environment.adminPassword === undefined ? password : undefined, email, port),
      );
    },
  });
  if (wasConfigured) {
    const changed = changesOf(present, settings);
    const rest = changed.length === 0 ? "keeping your settings" : "keeping your other settings";
    for (const line of changed) terminal.write(`  ✓ ${line}\n`);
    terminal.write(`  already configured (${shortened(paths.config, environment.userHome)}) — ${rest}.\n`);
    if (changed.length > 0 && runningPid !== undefined) {
      context.progress.note(`Leoflow runs (process ${runningPid}) with its old settings; restart it to use these`);
    }
  } else if (!passwordShown) {
    terminal.write(`  ✓ Settings are in ${shortened(paths.config, environment.userHome)}\n`);
  }
  if (downloadError !== undefined) {
    printError(downloadError);
    throw new UserError("the settings are made, but not all could be installed", {
      fix: "run `leoflow setup` again; or `leoflow lite`, which installs what is missing",
    });
  }
  if (!wasConfigured) terminal.write("  Start it: leoflow lite\n");
}

/** One question for each setting that no option has decided; Enter keeps what is in brackets. */
async function askForRest(
  { terminal }: CommandContext,
  present: PresentSettings,
  chosen: Partial<Settings>,
  parse: Record<keyof Settings, (text: string) => string | number>,
): Promise<void> {
  const questions: Record<keyof Settings, string> = {
    workspace: "Folder for your DAGs",
    port: "Port of the web interface",
    email: "Admin's e-mail (the login)",
  };
  terminal.write(`\n  ${paint(terminal, "1", "Leoflow setup")}: Enter keeps what is in brackets.\n\n`);
  for (const key of ["workspace", "port", "email"] as const) {
    while (chosen[key] === undefined) {
      const answer = await askLine(`  ${questions[key]} [${present[key]}]: `);
      if (answer === undefined) throw new UserError("setup was called off", { fix: "run `leoflow setup` again" });
      try {
        Object.assign(chosen, { [key]: answer === "" ? present[key] : parse[key](answer) });
      } catch (error) {
        if (!(error instanceof UserError)) throw error;
        terminal.write(`  ${error.message}: ${error.fix}\n`);
      }
    }
  }
  terminal.write("\n");
}

/** `password` is undefined where the user gave it. */
function passwordBanner(terminal: Terminal, password: string | undefined, email: string, port: number): string {
  const rows = [
    ["user:", email],
    ["password:", password === undefined ? "the one in LEOFLOW_ADMIN_PASSWORD" : paint(terminal, "1", password)],
    ["open:", `http://localhost:${port}   (once \`leoflow lite\` runs)`],
  ];
  const title = paint(terminal, "1;33", "LEOFLOW LITE ADMIN — SAVE NOW (shown only once)");
  return `\n  ${title}\n${rows.map(([name = "", value]) => `    ${name.padEnd(11)}${value}\n`).join("")}\n`;
}

function dryRunText(present: PresentSettings, wanted: Settings, file: string): string {
  const what = present.configured ? "is configured already" : "would be made";
  const changes = present.configured ? changesOf(present, wanted) : [];
  const rows: [string, string | number][] = [
    ["workspace", wanted.workspace],
    ["port", wanted.port],
    ["login", wanted.email],
  ];
  return [
    `  ${file} ${what}; nothing was written`,
    ...rows.map(([name, value]) => `    ${name.padEnd(11)}${value}`),
    ...(present.configured
      ? [changes.length === 0 ? "  nothing would change" : `  would change: ${changes.join(", ")}`]
      : []),
    "",
  ].join("\n");
}

function changesOf(before: Settings, after: Settings): string[] {
  return (["workspace", "port", "email"] as const)
    .filter((key) => before[key] !== after[key])
    .map((key) => `${key} is ${after[key]} (was ${before[key]})`);
}

function shortened(file: string, userHome: string): string {
  return file.startsWith(`${userHome}/`) ? `~${file.slice(userHome.length)}` : file;
}
