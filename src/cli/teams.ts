import type { Command } from "commander";
import { runCommandWork, type CommandContext } from "./command-context.ts";

interface Options {
  json?: boolean;
}

/** `leoflow teams`. */
export function addTeamsCommand(program: Command): void {
  const teams = program
    .command("teams")
    .summary("the teams of Airflow's multi-team mode")
    .description(
      "The teams of Airflow's multi-team mode: bundles, pools, variables and connections belong to one, users are in some. Works " +
        "while Leoflow runs and while it is stopped. The mode itself is AIRFLOW__CORE__MULTI_TEAM=True, or `multi_team: true` in config.yaml.",
    )
    .addHelpText("after", "\nExamples:\n  leoflow teams create team_a\n  leoflow teams list\n  leoflow teams sync\n");

  teams
    .command("create <name>")
    .description("Make a team. Its name has 3 to 50 letters, digits, hyphens and underscores.")
    .option("--json", "as JSON")
    .addHelpText("after", "\nExamples:\n  leoflow teams create team_a\n")
    .action((name: string, options: Options) =>
      runCommandWork(async (context) => {
        const team = await (await work()).create(context, name);
        answer(context, options, { created: [team] }, `  ✓ Team ${team} made\n`);
      }),
    );

  teams
    .command("list")
    .description("Show the teams there are.")
    .option("--json", "as JSON")
    .addHelpText("after", "\nExamples:\n  leoflow teams list\n  leoflow teams list --json | jq '.teams[].name'\n")
    .action((options: Options) =>
      runCommandWork(async (context) => {
        const names = await (await work()).list(context);
        const text = names.length === 0 ? "  No teams.\n" : names.map((name) => `  ${name}\n`).join("");
        answer(context, options, { teams: names.map((name) => ({ name })), total_entries: names.length }, text);
      }),
    );

  teams
    .command("delete <name>")
    .description(
      "Remove a team that no bundle, connection, variable and pool belongs to. Users who are in it stay, without the team.",
    )
    .option("--json", "as JSON")
    .addHelpText("after", "\nExamples:\n  leoflow teams delete team_a\n")
    .action((name: string, options: Options) =>
      runCommandWork(async (context) => {
        const team = await (await work()).remove(context, name);
        answer(context, options, { deleted: team }, `  ✓ Team ${team} removed\n`);
      }),
    );

  teams
    .command("sync")
    .description("Make the teams that AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST names, where they are missing.")
    .option("--json", "as JSON")
    .addHelpText("after", "\nExamples:\n  leoflow teams sync\n  leoflow teams sync --json\n")
    .action((options: Options) =>
      runCommandWork(async (context) => {
        const created = await (await work()).sync(context);
        const text = created.length === 0 ? "  No team was missing.\n" : `  ✓ Made: ${created.join(", ")}\n`;
        answer(context, options, { created }, text);
      }),
    );
}

// The work is imported late: `leoflow version` needs no database.
const work = () => import("./teams-work.ts");

function answer({ terminal }: CommandContext, { json }: Options, data: object, text: string): void {
  terminal.write(json ? `${JSON.stringify(data, null, 2)}\n` : text);
}
