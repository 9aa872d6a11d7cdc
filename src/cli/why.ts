import type { Command } from "commander";
import type { Why } from "../api/leoflow/why-contract.ts";
import { UserError } from "../kit/user-error.ts";
import { runCommandWork, type CommandContext } from "./command-context.ts";
import { paint, type Terminal } from "./terminal-progress.ts";
import type { ServerOptions } from "./remote/server.ts";

interface Options extends ServerOptions {
  mapIndex?: string;
  json?: boolean;
}

/** `leoflow why`. */
export function addWhyCommand(program: Command): void {
  program
    .command("why")
    .summary("say why a DAG, a run or a task is not running")
    .description(
      "Say why a DAG, a run or a task is not running: the rule that holds it, what it waits for and until when.",
    )
    .argument("<dag>", "id of the DAG")
    .argument("[run]", "id of one of its runs")
    .argument("[task]", "id of a task in that run")
    .option("--map-index <number>", "one instance of a mapped task; all of them without it")
    .option("--json", "as JSON: {dag_id, reasons: [{code, message, …}]}")
    .option("--server <url>", "the Leoflow to ask, instead of the one that was signed in to or runs from this home")
    .option("--token <token>", "a user's token for it")
    .addHelpText(
      "after",
      `
Examples:
  leoflow why my_dag
  leoflow why my_dag manual__2026-01-01T00:00:00+00:00
  leoflow why my_dag manual__2026-01-01T00:00:00+00:00 load --map-index 3
  leoflow why my_dag --json | jq -r '.reasons[].code'
`,
    )
    .action((dag: string, run: string | undefined, task: string | undefined, options: Options) =>
      runCommandWork((context) => tell(context, [dag, run, task], options)),
    );
}

async function tell(context: CommandContext, asked: readonly (string | undefined)[], options: Options): Promise<void> {
  const ids = asked.filter((id) => id !== undefined);
  const mapIndex = options.mapIndex === undefined ? undefined : mapIndexOf(options.mapIndex, ids.length === 3);
  const { connectServer } = await import("./remote/server.ts");
  const server = await connectServer(context, options);
  const why = await server.get<Why>(`/api/leoflow/why/${ids.map(encodeURIComponent).join("/")}`, {
    map_index: mapIndex,
  });
  context.terminal.write(options.json ? `${JSON.stringify(why, null, 2)}\n` : whyText(why, context.terminal));
}

function mapIndexOf(text: string, hasTask: boolean): number {
  const usage = (what: string, fix: string) => new UserError(what, { fix, exitCode: 2 });
  if (!hasTask) throw usage("--map-index needs a task", "`leoflow why DAG RUN TASK --map-index 3`");
  if (!/^\d+$/.test(text)) throw usage(`--map-index is ${JSON.stringify(text)}`, "use a whole number from 0 on");
  return Number(text);
}

function whyText({ dag_id, run_id, task_id, map_index, state, staging, reasons }: Why, terminal: Terminal): string {
  const index = map_index === undefined ? "" : `[${map_index}]`;
  const place = [dag_id, run_id, task_id].filter((id) => id !== undefined).join(" · ") + index;
  const shown = state === undefined ? "" : ` ${paint(terminal, "2", `(${state ?? "not started"})`)}`;
  const lines = reasons.map(
    ({ code, message }) => `  ${paint(terminal, "33", "•")} ${message} ${paint(terminal, "2", code)}`,
  );
  if (staging !== undefined) lines.push(`  ${paint(terminal, "2", `Its tasks share the files in ${staging}`)}`);
  return `\n  ${paint(terminal, "1", place)}${shown}\n\n${lines.join("\n")}\n\n`;
}
