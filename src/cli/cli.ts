import { Command, CommanderError } from "commander";
import { programVersion } from "../kit/version.ts";
import type { StartControlPlane } from "../lite/start.ts";
import { addBackupCommand } from "./backup.ts";
import { exitCodeOf, printError } from "./errors.ts";
import { addLiteCommand } from "./lite.ts";
import { addResetPasswordCommand } from "./reset-password.ts";
import { addRestoreCommand } from "./restore.ts";
import { addUpgradeCommand } from "./upgrade.ts";
import { addSetupCommand } from "./setup.ts";
import { addUninstallCommand } from "./uninstall.ts";
import { addVersionCommand } from "./version.ts";

const WRONG_USE = 2;

export interface CliDependencies {
  loadControlPlane: () => Promise<StartControlPlane>;
}

/** Runs one command line and returns the exit code: 0 well, 1 failed, 2 wrongly used. */
export async function runCli(args: readonly string[], dependencies: CliDependencies): Promise<number> {
  const program = new Command("leoflow")
    .description("Airflow's DAGs, web interface and APIs on a control plane that one command starts.")
    .version(programVersion, "-V, --version", "print the version")
    .helpOption("-h, --help", "print this help")
    .showSuggestionAfterError()
    .showHelpAfterError(false)
    .exitOverride()
    // An option after a subcommand is the subcommand's: `lite backup --workspace` is not `lite --workspace`.
    .enablePositionalOptions()
    .configureOutput({ outputError: () => undefined })
    .addHelpText("after", "\nExamples:\n  leoflow lite\n  leoflow lite --port 9000\n  leoflow version --json\n");
  const lite = addLiteCommand(program, dependencies.loadControlPlane);
  addBackupCommand(lite);
  addRestoreCommand(lite);
  addResetPasswordCommand(lite);
  addUpgradeCommand(program);
  addSetupCommand(program);
  addUninstallCommand(program);
  addVersionCommand(program);
  inheritSettings(program);
  if (args.length === 0) {
    program.outputHelp();
    return 0;
  }
  try {
    await program.parseAsync(args, { from: "user" });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return 0;
      const [what, hint] = error.message.replace(/^error: /, "").split("\n");
      process.stderr.write(`error: ${what}\n  fix: ${suggestion(hint)}\n`);
      return WRONG_USE;
    }
    printError(error);
    return exitCodeOf(error);
  }
}

function inheritSettings(parent: Command): void {
  for (const command of parent.commands) {
    command.copyInheritedSettings(parent);
    inheritSettings(command);
  }
}

/** Commander's "(Did you mean lite?)" as a way out. */
function suggestion(hint: string | undefined): string {
  const meant = /Did you mean (?:one of )?(.+?)\?/.exec(hint ?? "")?.[1];
  return meant
    ? `did you mean ${meant}? \`leoflow --help\` lists what there is`
    : "`leoflow --help` lists what there is";
}
