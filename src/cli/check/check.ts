import type { Command } from "commander";
import { runCommandWork } from "../command-context.ts";

export interface CheckOptions {
  json?: boolean;
}

/** `leoflow check`. */
export function addCheckCommand(program: Command): void {
  program
    .command("check")
    .summary("say what a folder of DAGs needs to run here")
    .description(
      "Say for every DAG of an existing folder whether it can be imported, what it needs installed, which connections, variables and " +
        "pools it names that this home does not have, and what would behave differently. Changes nothing. Ends with 1 where a file " +
        "cannot be imported or something is missing.",
    )
    .argument("<folder>", "a DAGs folder, as Airflow has it")
    .option(
      "--json",
      "as JSON: {folder, files: [{file, error, install, removed, missing, dags: [{dag_id, missing: {connections, variables, pools}, different}]}], problems}",
    )
    .addHelpText(
      "after",
      `
Examples:
  leoflow check ~/airflow/dags
  leoflow check dags --json | jq -r '.files[].install[]' | sort -u
`,
    )
    .action((folder: string, options: CheckOptions) =>
      runCommandWork(async (context) => {
        const { checkFolder } = await import("./check-folder.ts");
        await checkFolder(context, folder, options);
      }),
    );
}
