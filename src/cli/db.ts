import type { Command } from "commander";
import { UserError } from "../kit/user-error.ts";
import { runCommandWork, type CommandContext } from "./command-context.ts";
import { addGroup } from "./remote/remote-command.ts";
import { checkUpgrade, upgradeDatabase } from "./upgrade.ts";

interface Options {
  json?: boolean;
  snapshot: boolean;
}

/** `leoflow db`: this home's database. */
export function addDbCommand(program: Command): void {
  const db = addGroup(program, "db", "Look at, migrate and reset the database of this home.", [
    "leoflow db status",
    "leoflow db migrate",
    "leoflow db reset --yes",
  ]);
  db.command("status")
    .description(
      "Show the schema's version and what is pending, as `leoflow upgrade --check` does. Works while Leoflow runs and while it is stopped.",
    )
    .option("--json", "as JSON")
    .addHelpText("after", "\nExamples:\n  leoflow db status\n  leoflow db status --json | jq .status\n")
    .action((options: { json?: boolean }) =>
      runCommandWork((context) => checkUpgrade(context, { ...options, snapshot: true })),
    );
  db.command("migrate")
    .description("Bring the database to this release's schema, as `leoflow upgrade --yes` and every start do.")
    .option("--no-snapshot", "make no snapshot before (you have a backup elsewhere)")
    .option("--json", "as JSON")
    .addHelpText("after", "\nExamples:\n  leoflow db migrate\n")
    .action((options: Options) => runCommandWork((context) => upgradeDatabase(context, { ...options, yes: true })));
  db.command("reset")
    .description(
      "Replace the database by an empty one: DAGs come back from their files, runs, variables and connections do not. All of it is " +
        "saved among the snapshots before. Leoflow must be stopped.",
    )
    .option("-y, --yes", "really do it")
    .addHelpText("after", "\nExamples:\n  leoflow db reset --yes\n")
    .action((options: { yes?: boolean }) => runCommandWork((context) => reset(context, options)));
}

async function reset(context: CommandContext, { yes }: { yes?: boolean }): Promise<void> {
  const { hasDatastore } = await import("../lite/datastore.ts");
  if (!hasDatastore(context.paths)) {
    throw new UserError(`there is nothing to reset: ${context.paths.home} has no database yet`, {
      fix: "`leoflow lite` makes one",
    });
  }
  if (!yes) {
    throw new UserError("refusing to reset without --yes (this drops the database of this home)", {
      fix: "run `leoflow db reset --yes`; a snapshot is made first",
      exitCode: 2,
    });
  }
  const { resetDatabase } = await import("../lite/reset-database.ts");
  const snapshot = await resetDatabase(context);
  context.terminal.write(
    `  The database is empty. \`leoflow lite restore -i ${snapshot} --force\` brings back what was there\n`,
  );
}
