import type { Command } from "commander";
import { runLocal } from "./remote/remote-command.ts";

const WIDTH = 100;

/** `leoflow gen-docs`, which makes docs/cli.md. */
export function addReferenceCommand(program: Command): void {
  program
    .command("gen-docs", { hidden: true })
    .description("Print the reference of all commands, as Markdown.")
    .action(() => runLocal(async ({ terminal }) => terminal.write(referenceText(program))));
}

function referenceText(program: Command): string {
  return `# The command line

Every command with its options, as \`--help\` prints them. This page is made by \`npm run docs:cli\`.

Commands that talk to a server take the first of: \`--server\` and \`--token\`; \`LEOFLOW_SERVER\` (or \`LEOFLOW_SERVER_URL\`) and
\`LEOFLOW_TOKEN\`; what \`leoflow auth login\` left in \`config.yaml\`; the Leoflow that runs from this home. A saved token goes to no
other server than its own. On a terminal tables are cut to its width and coloured (not with \`NO_COLOR\`); in a pipe they are whole.
\`--json\` prints the objects of the REST API. Lists say on stderr where \`--limit\` has cut them. The
exit code is 0 for well done, 1 for failed, 2 for wrongly used, 130 for Ctrl-C.

${sections(program, program.name()).join("\n")}`;
}

function sections(command: Command, path: string): string[] {
  const { commands } = command;
  const below = command
    .createHelp()
    .visibleCommands(command)
    .filter((each) => commands.includes(each));
  const own = `## ${path}\n\n\`\`\`text\n${helpOf(command)}\n\`\`\`\n`;
  return [own, ...below.flatMap((each) => sections(each, `${path} ${each.name()}`))];
}

function helpOf(command: Command): string {
  let text = "";
  command.configureOutput({
    writeOut: (part) => (text += part),
    getOutHelpWidth: () => WIDTH,
    getOutHasColors: () => false,
  });
  command.outputHelp();
  return text.trimEnd();
}
