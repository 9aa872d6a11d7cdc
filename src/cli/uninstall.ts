import type { Command } from "commander";
import { formatBytes } from "../kit/bytes.ts";
import { UserError } from "../kit/user-error.ts";
import type { Piece, Problem, UninstallPlan } from "../lite/uninstall.ts";
import { confirm } from "./ask.ts";
import { runCommandWork, type CommandContext } from "./command-context.ts";
import { paint } from "./terminal-progress.ts";

interface Options {
  purge?: boolean;
  yes?: boolean;
  dryRun?: boolean;
  json?: boolean;
}

/** `leoflow uninstall`. */
export function addUninstallCommand(program: Command): void {
  program
    .command("uninstall")
    .summary("remove Leoflow from this machine; your data stays")
    .description(
      "Remove the program, Python and PostgreSQL's programs. Your DAGs, database, settings, login and keys stay, so that a " +
        "reinstall goes on where you left off. With --purge they go too.",
    )
    .option(
      "--purge",
      "also remove the database, the settings and the workspace: all that is in ~/.leoflow, and your DAGs",
    )
    .option("--yes", "do not ask")
    .option("--dry-run", "only list what would go and what would stay")
    .option("--json", "as JSON; asks nothing, so it needs --yes or --dry-run")
    .addHelpText(
      "after",
      `
Examples:
  leoflow uninstall --dry-run
  leoflow uninstall
  leoflow lite backup && leoflow uninstall --purge
`,
    )
    .action((options: Options) => runCommandWork((context) => run(context, options)));
}

async function run({ paths, environment, terminal, signal }: CommandContext, options: Options): Promise<void> {
  if (options.json && !options.yes && !options.dryRun) {
    throw new UserError("--json asks nothing", { fix: "give --yes or --dry-run too", exitCode: 2 });
  }
  const { planUninstall, uninstall } = await import("../lite/uninstall.ts");
  const wanted = { paths, environment, purge: options.purge ?? false };
  const plan = await planUninstall(wanted);
  if (plan === undefined) {
    const text = `Nothing to remove: ${paths.home} does not exist.`;
    terminal.write(
      options.json ? `${JSON.stringify({ home: paths.home, goes: [], stays: [], problems: [] })}\n` : `${text}\n`,
    );
    return;
  }
  if (!options.json) terminal.write(planText(plan, (text) => paint(terminal, "1", text)));
  if (!options.dryRun && !options.yes && !(await confirm("Type 'yes' to confirm (or re-run with --yes): "))) {
    terminal.write("aborted.\n");
    return;
  }
  signal.throwIfAborted();
  const onStep = (text: string) => options.json || terminal.write(`  ${text} ...\n`);
  const problems = options.dryRun ? [] : await uninstall(wanted, plan, { onStep: (text) => void onStep(text) });
  if (options.json) terminal.write(`${JSON.stringify(jsonOf(plan, options, problems), null, 2)}\n`);
  else if (!options.dryRun) terminal.write(resultText(plan, problems));
  if (problems.some(({ isProgram }) => !isProgram)) {
    throw new UserError("not all could be removed", { fix: "look at the lines above, and run the same command again" });
  }
}

function planText(plan: UninstallPlan, bold: (text: string) => string): string {
  const sum = plan.goes.reduce((bytes, piece) => bytes + piece.bytes, 0);
  const lines = ["", `  ${bold("This goes")} (${formatBytes(sum)}):`, ...rows(plan.goes)];
  if (plan.stays.length > 0) lines.push("", `  ${bold("This stays")}:`, ...rows(plan.stays));
  if (plan.notes.length > 0 || plan.running) lines.push("");
  for (const note of plan.notes) lines.push(`  ! ${note}`);
  if (plan.running) lines.push(`  ! Leoflow runs (process ${plan.running.pid}); it is stopped first`);
  return `${lines.join("\n")}\n\n`;
}

function rows(pieces: readonly (Pick<Piece, "what" | "path"> & { bytes?: number })[]): string[] {
  return pieces.map(({ what, path, bytes }) => {
    const size = bytes ? formatBytes(bytes) : "";
    return `    ${what.padEnd(26)}${size.padStart(9)}  ${path}`;
  });
}

function resultText(plan: UninstallPlan, problems: readonly Problem[]): string {
  const lines = problems.map(({ path, problem }) => `! could not remove ${path}: ${problem}`);
  const ofProgram = problems.filter(({ isProgram }) => isProgram).map(({ path }) => path);
  if (ofProgram.length > 0)
    lines.push(`  someone with more rights can: sudo rm -rf ${ofProgram.map(quoted).join(" ")}`);
  const done = plan.purge
    ? "Done. Your database, settings and workspace are gone."
    : "Done. Your DAGs, database, settings and login are kept; install Leoflow again and it goes on where you left off.";
  if (!problems.some(({ isProgram }) => !isProgram)) lines.push(done);
  if (plan.program.kind === "installed" && plan.program.profiles.length > 0) {
    lines.push("The PATH line that install.sh had added is gone too; terminals that are open still have it.");
  }
  return `${lines.join("\n")}\n`;
}

function quoted(path: string): string {
  return /^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}

function jsonOf(plan: UninstallPlan, options: Options, problems: readonly Problem[]): object {
  const { home, purge, goes, stays, notes, running } = plan;
  return { home, purge, dry_run: options.dryRun ?? false, running: running?.pid ?? null, goes, stays, notes, problems };
}
