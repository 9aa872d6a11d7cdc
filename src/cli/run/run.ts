import type { Command } from "commander";
import type { StartControlPlane } from "../../lite/start.ts";
import { runCommandWork } from "../command-context.ts";

export interface RunOptions {
  dag?: string;
  conf?: string;
  confFile?: string;
  logicalDate?: string;
  logs?: boolean;
  json?: boolean;
}

type Load = () => Promise<StartControlPlane>;

/** `leoflow run`. */
export function addRunCommand(program: Command, loadControlPlane: Load): void {
  withRunOptions(program.command("run"))
    .summary("run a DAG file to its end, here")
    .description(
      "Run a DAG file to its end and show its tasks as they go on, with the logs of those that fail. Needs no server: where Leoflow runs " +
        "from this home it takes the run, else one is started for it that has this home's connections, variables and pools, and leaves " +
        "nothing behind. The DAG runs whether it is paused or not; nothing is scheduled. Ends with 1 where the run failed.",
    )
    .argument("<path>", "a DAG file, or a project's folder")
    .option("--dag <id>", "which of the file's DAGs, where it has several")
    .addHelpText(
      "after",
      `
Examples:
  leoflow run examples/map_reduce.py
  leoflow run ~/leoflow/sales_etl --conf '{"day": "2026-01-01"}'
  leoflow run dags/many.py --dag second --logs
  leoflow run etl.py --json | jq -r '.tasks[] | select(.state == "failed") | .task_id'
`,
    )
    .action((path: string, options: RunOptions) =>
      runCommandWork(async (context) => {
        const { runFile } = await import("./run-file.ts");
        await runFile(context, { path, options, loadControlPlane });
      }),
    );
}

/** `leoflow dags test`: the same for a DAG that this home knows. */
export function addDagsTestCommand(dags: Command, loadControlPlane: Load): void {
  withRunOptions(dags.command("test"))
    .summary("run a DAG to its end, here")
    .description("Run a DAG of this home to its end, as `leoflow run` does with its file, as the file is now.")
    .argument("<dag>", "id of the DAG")
    .addHelpText(
      "after",
      "\nExamples:\n  leoflow dags test my_dag\n  leoflow dags test my_dag --logical-date 2026-01-01T00:00:00Z\n",
    )
    .action((dag: string, options: RunOptions) =>
      runCommandWork(async (context) => {
        const { fileOfDag } = await import("./file-of-dag.ts");
        const { runFile } = await import("./run-file.ts");
        await runFile(context, { path: await fileOfDag(context, dag), options: { ...options, dag }, loadControlPlane });
      }),
    );
}

function withRunOptions(command: Command): Command {
  return command
    .option("--conf <json>", "the run's conf, a JSON object")
    .option("--conf-file <file>", "the same from a file; - is stdin")
    .option("--logical-date <date>", "its logical date, with its offset: 2026-01-01T00:00:00Z; none without it")
    .option("--logs", "print the logs of all tasks, not only of those that failed")
    .option("--json", "as JSON, at the end: {dag_id, dag_run_id, state, tasks: [{task_id, map_index, state, …}]}");
}
