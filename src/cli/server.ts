import type { Command } from "commander";
import { UserError } from "../kit/user-error.ts";

/** `leoflow server`: where somebody looks for the server who has only met `leoflow`. */
export function addServerCommand(program: Command): void {
  program
    .command("server")
    .description("Say where the server is: it is a program of its own, leoflow-server.")
    .allowUnknownOption()
    .allowExcessArguments()
    .addHelpText(
      "after",
      "\nExamples:\n  leoflow-server --help\n  leoflow lite            everything on this machine\n",
    )
    .action(() => {
      throw new UserError("the server is a program of its own, leoflow-server, installed beside this one", {
        fix: "`leoflow-server --help` shows what it can do; `leoflow lite` runs everything on this machine",
        exitCode: 2,
      });
    });
}
