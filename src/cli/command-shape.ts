import type { Command } from "commander";

/** A command as completions and the reference see it. */
export interface CommandShape {
  /** "leoflow dags list". */
  path: string;
  description: string;
  subcommands: string[];
  arguments: { name: string; choices: readonly string[] }[];
  options: { names: string[]; takesValue: boolean; choices: readonly string[]; description: string }[];
}

/** A program and all its commands but hidden ones, each before those below it. */
export function commandShapes(command: Command, path = command.name()): CommandShape[] {
  const help = command.createHelp();
  const subcommands = help.visibleCommands(command).filter((each) => each.name() !== "help");
  const shape: CommandShape = {
    path,
    description: command.summary() || command.description(),
    subcommands: subcommands.map((each) => each.name()),
    arguments: command.registeredArguments.map((argument) => ({
      name: argument.name(),
      choices: argument.argChoices ?? [],
    })),
    options: help.visibleOptions(command).map((option) => ({
      names: [option.short, option.long].filter((name) => name !== undefined),
      takesValue: option.required || option.optional,
      choices: option.argChoices ?? [],
      description: option.description,
    })),
  };
  return [shape, ...subcommands.flatMap((each) => commandShapes(each, `${path} ${each.name()}`))];
}
