import type { Command } from "commander";
import type { StartControlPlane } from "../lite/start.ts";
import { addAuthCommand } from "./auth.ts";
import { addBackupCommand } from "./backup.ts";
import { addCheckCommand } from "./check/check.ts";
import { addCompletionCommand } from "./completion.ts";
import { addConfigCommand } from "./config-show.ts";
import { addDbCommand } from "./db.ts";
import { addDoctorCommand } from "./doctor.ts";
import { addLiteCommand } from "./lite.ts";
import { addReferenceCommand } from "./reference.ts";
import { addProjectCommands } from "./project/project-commands.ts";
import { addResetPasswordCommand } from "./reset-password.ts";
import { addRestoreCommand } from "./restore.ts";
import { addAssetsCommand } from "./remote/assets.ts";
import { addBackfillCommand } from "./remote/backfill.ts";
import { addConnectionsCommand } from "./remote/connections.ts";
import { addDagsCommand } from "./remote/dags.ts";
import { addHealthCommand } from "./remote/health.ts";
import { addPoolsCommand } from "./remote/pools.ts";
import { addRunsCommand } from "./remote/runs.ts";
import { addTasksCommand } from "./remote/tasks.ts";
import { addVariablesCommand } from "./remote/variables.ts";
import { addDagsTestCommand, addRunCommand } from "./run/run.ts";
import { newProgram, runProgram } from "./run-program.ts";
import { addTeamsCommand } from "./teams.ts";
import { addUpgradeCommand } from "./upgrade.ts";
import { addServerCommand } from "./server.ts";
import { addSetupCommand } from "./setup.ts";
import { addUninstallCommand } from "./uninstall.ts";
import { addVersionCommand } from "./version.ts";
import { addWhyCommand } from "./why.ts";

export interface CliDependencies {
  loadControlPlane: () => Promise<StartControlPlane>;
}

/** Runs one command line and returns the exit code: 0 well, 1 failed, 2 wrongly used. */
export async function runCli(args: readonly string[], dependencies: CliDependencies): Promise<number> {
  const program = leoflowProgram(dependencies);
  if (args.length > 0) return runProgram(program, args);
  program.outputHelp();
  return 0;
}

/** `leoflow` with all its commands. */
export function leoflowProgram(dependencies: CliDependencies): Command {
  const program = newProgram(
    "leoflow",
    "Airflow's DAGs, web interface and APIs on a control plane that one command starts.",
  ).addHelpText("after", "\nExamples:\n  leoflow lite\n  leoflow lite --port 9000\n  leoflow version --json\n");
  const lite = addLiteCommand(program, dependencies.loadControlPlane);
  addBackupCommand(lite);
  addRestoreCommand(lite);
  addResetPasswordCommand(lite);
  addAuthCommand(program);
  addTeamsCommand(program);
  addRunCommand(program, dependencies.loadControlPlane);
  addCheckCommand(program);
  addDagsTestCommand(addDagsCommand(program), dependencies.loadControlPlane);
  addRunsCommand(program);
  addTasksCommand(program);
  addBackfillCommand(program);
  addConnectionsCommand(program);
  addVariablesCommand(program);
  addPoolsCommand(program);
  addAssetsCommand(program);
  addHealthCommand(program);
  addConfigCommand(program);
  addDbCommand(program);
  addProjectCommands(program);
  addServerCommand(program);
  addUpgradeCommand(program);
  addSetupCommand(program);
  addUninstallCommand(program);
  addDoctorCommand(program);
  addWhyCommand(program);
  addCompletionCommand(program);
  addVersionCommand(program);
  addReferenceCommand(program);
  return program;
}
