import type { Command } from "commander";
import { examplesText, runLocal } from "../remote/remote-command.ts";
import type { CompileOptions } from "./compile.ts";
import type { InitOptions } from "./init.ts";
import { TEMPLATES } from "./templates.ts";
import type { ValidateOptions } from "./validate.ts";

/** The commands that work on a project: a folder with dag.py and leoflow.yaml. What they need is loaded when they run. */
export function addProjectCommands(program: Command): void {
  addInitCommand(program);
  addValidateCommand(program);
  addCompileCommand(program);
}

function addInitCommand(program: Command): void {
  const command = program.command("init <path>");
  const templates = Object.entries(TEMPLATES).map(([name, { about }]) => `  ${name.padEnd(9)} ${about}\n`);
  command
    .summary("make a new project")
    .description("Make a new project: a folder with a DAG and its leoflow.yaml. Nothing that is there is overwritten.")
    .addOption(
      command.createOption("--template <name>", "what it starts as").choices(Object.keys(TEMPLATES)).default("minimal"),
    )
    .option("--dag-id <id>", "id of its DAG (default: the folder's name)")
    .addHelpText("after", `\nTemplates:\n${templates.join("")}`)
    .addHelpText("after", examplesText(["leoflow init ~/leoflow/sales", "leoflow init sales --template taskflow"]))
    .action((path: string, options: InitOptions) =>
      runLocal(async ({ terminal }) => {
        const { init } = await import("./init.ts");
        await init(path, options, (line) => terminal.write(line));
      }),
    );
}

function addValidateCommand(program: Command): void {
  program
    .command("validate [path]")
    .summary("check a project")
    .description(
      "Check a project: leoflow.yaml, the syntax of its DAG file, its imports, and the DAG as Airflow reads it. Needs no server; ends with 1 where something is wrong.",
    )
    .option("--server <url>", "also ask this Leoflow for the connections, variables and pools that are declared")
    .option("--token <token>", "a user's token for it")
    .option("--json", "as JSON: {path, file, valid, errors, warnings, dags: [{dag_id, tasks, schedule}]}")
    .addHelpText(
      "after",
      examplesText(["leoflow validate", "leoflow validate sales --server http://localhost:8088 --json"]),
    )
    .action((path: string | undefined, options: ValidateOptions) =>
      runLocal(async (local) => {
        const { validate } = await import("./validate.ts");
        await validate(local, path ?? ".", options);
      }),
    );
}

function addCompileCommand(program: Command): void {
  program
    .command("compile [path]")
    .summary("write a project's dag.json")
    .description(
      "Write dag.json: one version of the project's DAG, Leoflow's settings and Airflow's serialized DAG, with the hashes of its files. The same project gives the same bytes everywhere. Needs no server.",
    )
    .option("-o, --output <file>", "where to; - is stdout", "dag.json")
    .option("--dag-version <text>", "name of this version (default: what git describes, else dev)")
    .option("--image <name>", "image that tasks run in where they are pods (default: made of registry in leoflow.yaml)")
    .addHelpText(
      "after",
      examplesText(["leoflow compile", "leoflow compile sales -o out/sales.json --dag-version 1.4.0"]),
    )
    .action((path: string | undefined, options: CompileOptions) =>
      runLocal(async (local) => {
        const { compile } = await import("./compile.ts");
        await compile(local, path ?? ".", options);
      }),
    );
}
