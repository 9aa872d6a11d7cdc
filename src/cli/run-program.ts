import { Command, CommanderError } from "commander";
import { programVersion } from "../kit/version.ts";
import { exitCodeOf, printError } from "./errors.ts";

const WRONG_USE = 2;

/** A program of ours before its commands are added. */
export function newProgram(name: string, description: string): Command {
  return (
    new Command(name)
      .description(description)
      .version(programVersion, "-V, --version", "print the version")
      .helpOption("-h, --help", "print this help")
      .showSuggestionAfterError()
      .showHelpAfterError(false)
      .exitOverride()
      // An option after a subcommand is the subcommand's: `lite backup --workspace` is not `lite --workspace`.
      .enablePositionalOptions()
      .configureOutput({ outputError: () => undefined })
  );
}

/** Runs one command line and returns the exit code: 0 well, 1 failed, 2 wrongly used. */
export async function runProgram(program: Command, args: readonly string[]): Promise<number> {
  inheritSettings(program);
  try {
    await program.parseAsync(args, { from: "user" });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return 0;
      const [what, hint] = error.message.replace(/^error: /, "").split("\n");
      process.stderr.write(`error: ${what}\n  fix: ${suggestion(program.name(), hint)}\n`);
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
function suggestion(program: string, hint: string | undefined): string {
  const meant = /Did you mean (?:one of )?(.+?)\?/.exec(hint ?? "")?.[1];
  return meant
    ? `did you mean ${meant}? \`${program} --help\` lists what there is`
    : `\`${program} --help\` lists what there is`;
}
