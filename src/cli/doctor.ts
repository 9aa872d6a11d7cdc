import type { Command } from "commander";
import { readEnvironment } from "../kit/config.ts";
import type { Check } from "../lite/doctor/check.ts";
import { resolvePaths } from "../lite/paths.ts";
import { paint, processTerminal, type Terminal } from "./terminal-progress.ts";

interface Options {
  json?: boolean;
  network?: boolean;
}

const MARKS: Record<Check["status"], { mark: string; colour: string }> = {
  ok: { mark: "✓", colour: "32" },
  warning: { mark: "!", colour: "33" },
  problem: { mark: "✗", colour: "31" },
};

/** `leoflow doctor`. */
export function addDoctorCommand(program: Command): void {
  program
    .command("doctor")
    .summary("look at this machine and installation, and say what is not well")
    .description(
      "Look at this machine and installation, and say what is not well and the way out. It changes nothing, starts nothing, " +
        "and works while Leoflow runs and while it is stopped. Exit code 0: healthy (warnings allowed), 1: not.",
    )
    .option("--json", "as JSON: {healthy, checks: [{name, status, detail, fix}]}")
    .option("--network", "also ask PyPI for an answer")
    .addHelpText(
      "after",
      "\nExamples:\n  leoflow doctor\n  leoflow doctor --json | jq '.checks[] | select(.status != \"ok\")'\n",
    )
    .action(run);
}

async function run(options: Options): Promise<void> {
  const environment = readEnvironment();
  const terminal = processTerminal(environment.noColor);
  const { examine } = await import("../lite/doctor/doctor.ts");
  const report = await examine(resolvePaths(environment.home), environment, { network: options.network ?? false });
  if (options.json) terminal.write(`${JSON.stringify(report, null, 2)}\n`);
  else terminal.write(reportText(report.checks, terminal));
  process.exitCode = report.healthy ? 0 : 1;
}

function reportText(checks: Check[], terminal: Terminal): string {
  const width = Math.max(...checks.map(({ name }) => name.length)) + 2;
  const lines = checks.flatMap(({ name, status, detail, fix }) => {
    const { mark, colour } = MARKS[status];
    const line = `  ${paint(terminal, colour, mark)} ${name.padEnd(width)}${detail}`;
    return fix === undefined ? [line] : [line, `    ${" ".repeat(width)}fix: ${fix}`];
  });
  const count = (status: Check["status"]) => checks.filter((check) => check.status === status).length;
  const [problems, warnings] = [count("problem"), count("warning")];
  const plural = (number: number, one: string) => `${number} ${one}${number === 1 ? "" : "s"}`;
  const summary =
    problems > 0
      ? `Not healthy: ${plural(problems, "problem")}, ${plural(warnings, "warning")}`
      : `Healthy, ${plural(warnings, "warning")}`;
  return `${lines.join("\n")}\n\n  ${summary}\n`;
}
