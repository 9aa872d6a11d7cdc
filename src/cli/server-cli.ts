import { addServerRestoreCommand } from "./server-restore.ts";
import { newProgram, runProgram } from "./run-program.ts";

/** The program `leoflow-server`: what can be done to a server's installation. */
export async function runServerCli(args: readonly string[]): Promise<number> {
  const program = newProgram("leoflow-server", "Leoflow's control plane on a PostgreSQL of its own.").addHelpText(
    "after",
    "\nThis release has no server to start yet: `leoflow lite` holds everything on one machine.\n\n" +
      "Examples:\n  leoflow-server restore -i leoflow-backup.tar.gz --database-url postgres://leoflow@db/leoflow\n",
  );
  addServerRestoreCommand(program);
  if (args.length > 0) return runProgram(program, args);
  program.outputHelp();
  const names = program.commands.map((command) => command.name()).join(", ");
  process.stderr.write(`error: leoflow-server needs a command\n  fix: this release has: ${names}\n`);
  return 2;
}
