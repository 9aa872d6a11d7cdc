import type { Command } from "commander";
import { UserError } from "../kit/user-error.ts";
import { programVersion } from "../kit/version.ts";
import { silentProgress } from "../lite/progress.ts";
import type { Preflight } from "../lite/upgrade/preflight.ts";
import { canAsk, confirm } from "./ask.ts";
import { runCommandWork, type CommandContext } from "./command-context.ts";
import { inspectionFacts, inspectionText, preflightText } from "./preflight-text.ts";
import { paint } from "./terminal-progress.ts";

interface Options {
  check?: boolean;
  json?: boolean;
  yes?: boolean;
  snapshot: boolean;
  forceVersion?: string;
}

/** How to get the newest release. It touches neither database nor workspace. */
export const INSTALL_NEWEST = "curl -fsSL https://github.com/leoflow/leoflow/releases/latest/download/install.sh | sh";

/** `leoflow upgrade`. */
export function addUpgradeCommand(program: Command): void {
  program
    .command("upgrade")
    .summary("bring the database to this release, or look at what that takes")
    .description(
      "Bring this installation's database to this release: look, make a snapshot, migrate. `leoflow lite` does the same when it starts.",
    )
    .option("--check", "only look: what is pending, how long it takes, how much disk; works while Leoflow runs")
    .option("--json", "as JSON")
    .option("--yes", "do not ask")
    .option("--no-snapshot", "make no snapshot before (you have a backup elsewhere)")
    .option("--force-version <number>", "say that a schema marked dirty was brought to this version by hand")
    .addHelpText(
      "after",
      `
The newest release itself comes with the installer; it touches neither database nor workspace:
  ${INSTALL_NEWEST}

Examples:
  leoflow upgrade --check           what would the next start do?
  leoflow upgrade --check --json    the same for a program
  leoflow upgrade --yes             do it now, without starting Leoflow
`,
    )
    .action((options: Options) => runCommandWork((context) => run(context, options)));
}

async function run(context: CommandContext, options: Options): Promise<void> {
  if (options.forceVersion !== undefined) await forceVersion(context, options.forceVersion, options);
  else if (options.check) await checkUpgrade(context, options);
  else await upgradeDatabase(context, options);
}

/** `upgrade --check`, and `db status`. */
export async function checkUpgrade(context: CommandContext, options: Options): Promise<void> {
  const { inspect } = await import("../lite/upgrade/inspect.ts");
  const found = await inspect(forJson(context, options), { snapshot: options.snapshot });
  if (options.json) print(context, inspectionFacts(found));
  else context.terminal.write(inspectionText(found, context.paths.home));
  if (found.problem) throw found.problem;
}

/** `upgrade`, and `db migrate`. */
export async function upgradeDatabase(context: CommandContext, options: Options): Promise<void> {
  const { upgradeHome } = await import("../lite/upgrade/upgrade-home.ts");
  const onPreflight = async (found: Preflight) => {
    if (!options.json) context.terminal.write(preflightText(found));
    if (!options.yes) await ask(options);
  };
  const done = await upgradeHome(forJson(context, options), { snapshot: options.snapshot, onPreflight });
  const applied = done?.applied ?? [];
  if (options.json) {
    const status = done === undefined ? "empty" : applied.length > 0 ? "upgraded" : "current";
    const facts = {
      status,
      from: done?.from ?? null,
      current: done?.to ?? null,
      applied,
      snapshot: done?.snapshot ?? null,
    };
    print(context, { leoflow_version: programVersion, ...facts });
    return;
  }
  const what = applied.length > 0 ? "Upgraded" : "Nothing to do";
  const now = done
    ? `the database is at schema version ${done.to}, as Leoflow ${programVersion} needs it`
    : `${context.paths.home} has no database yet; \`leoflow lite\` makes one`;
  context.terminal.write(`  ${paint(context.terminal, "32", "✓")} ${what}: ${now}\n`);
}

async function ask(options: Options): Promise<void> {
  if (options.json && !canAsk()) throw new UserError("--json asks nothing", { fix: "add --yes", exitCode: 2 });
  if (await confirm("  Upgrade the database now? [yes/no] ")) return;
  throw new UserError("not upgraded: that needs a yes", {
    fix: "run it again and answer yes, or add --yes; nothing was changed",
  });
}

async function forceVersion(context: CommandContext, given: string, options: Options): Promise<void> {
  if (!/^\d+$/.test(given)) {
    throw new UserError(`--force-version is ${JSON.stringify(given)}, not a version`, {
      fix: "use the schema version that you brought the database to",
      exitCode: 2,
    });
  }
  const question = `  Mark the schema as being, whole, at version ${given}? Nothing else is changed. [yes/no] `;
  if (!options.yes && !(await confirm(question))) throw new UserError("not marked: that needs a yes");
  const { forceHomeVersion } = await import("../lite/upgrade/upgrade-home.ts");
  await forceHomeVersion(forJson(context, options), Number(given));
  if (options.json) print(context, { status: "marked", current: Number(given) });
  else
    context.terminal.write(`  ${paint(context.terminal, "32", "✓")} The schema counts as being at version ${given}\n`);
}

/** Progress lines are not for a program. */
function forJson(context: CommandContext, { json }: Options) {
  return json ? { ...context, progress: silentProgress } : context;
}

function print(context: CommandContext, facts: object): void {
  context.terminal.write(`${JSON.stringify(facts, null, 2)}\n`);
}
