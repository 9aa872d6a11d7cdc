import type { Command } from "commander";
import { addRemoteCommand, examplesText, runLocal, runRemote } from "../remote/remote-command.ts";
import type { BuildOptions } from "./build.ts";
import type { CompileOptions } from "./compile.ts";
import type { DeployOptions } from "./deploy.ts";
import type { InitOptions } from "./init.ts";
import type { PushOptions } from "./push.ts";
import { TEMPLATES } from "./templates.ts";
import type { ValidateOptions } from "./validate.ts";

/** The commands that work on a project: a folder with dag.py and leoflow.yaml. What they need is loaded when they run. */
export function addProjectCommands(program: Command): void {
  addInitCommand(program);
  addValidateCommand(program);
  addCompileCommand(program);
  addBuildCommand(program);
  addPushCommand(program);
  addDeployCommand(program);
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

const BUILDERS = ["buildah", "docker"];

function addBuildCommand(program: Command): void {
  const command = program.command("build [path]");
  command
    .summary("make a project's image")
    .description(
      "Make an image of a project: its Python, system packages, dependencies and files. With buildah, which needs no daemon, else with docker.",
    )
    .option("--image <name>", "name of the image (default: made of registry in leoflow.yaml)")
    .option("--dag-version <text>", "name of this version (default: what git describes, else dev)")
    .addOption(command.createOption("--builder <name>", "what to build with").choices(BUILDERS))
    .option("--push", "then push it to its registry, with the builder's own login")
    .option("--print-containerfile", "print what would be built, and build nothing")
    .addHelpText(
      "after",
      examplesText([
        "leoflow build sales --image ghcr.io/acme/sales:1.4.0",
        "leoflow build sales --push",
        "leoflow build --print-containerfile",
      ]),
    )
    .action((path: string | undefined, options: BuildOptions) =>
      runLocal(async (local) => {
        const { build } = await import("./build.ts");
        await build(local, path ?? ".", options);
      }),
    );
}

function addPushCommand(program: Command): void {
  addRemoteCommand(program, "push [what]", {
    description:
      "Register a version of a project with a server: its files are sent, parsed there and served from then on. WHAT is the project's folder, or a dag.json that was compiled of it. What cannot be parsed changes nothing.",
    json: "{state, created, dag_id, files_hash, version_id, version_number}",
    examples: [
      "leoflow push sales",
      "leoflow push sales/dag.json",
      "leoflow push out/sales.json --project sales --json",
    ],
  })
    .option("--project <folder>", "where the files of a dag.json are (default: beside it)")
    .option("--dag-version <text>", "name of this version (default: what git describes, else dev)")
    .action((what: string | undefined, options: PushOptions) =>
      runRemote(options, async (remote) => {
        const { push } = await import("./push.ts");
        await push(remote, what ?? ".", options);
      }),
    );
}

function addDeployCommand(program: Command): void {
  const command = addRemoteCommand(program, "deploy [what]", {
    description:
      "Compile a project, build its image where it names one, and register it with a server. WHAT is the project's folder, or the dag_id of one below this folder.",
    json: "[{state, created, dag_id, files_hash, version_id, version_number, run_id}]",
    examples: [
      "leoflow deploy sales --yes",
      "leoflow deploy sales --yes --trigger",
      "leoflow deploy . --all --yes --json",
    ],
  });
  command
    .option("--all", "all projects below the folder")
    .option("--trigger", "then unpause the DAG and start a run")
    .option("-y, --yes", "ask nothing")
    .option("--skip-build", "build no image")
    .option("--push", "push the image to its registry, with the builder's own login")
    .option("--image <name>", "name of the image (default: made of registry in leoflow.yaml)")
    .option("--dag-version <text>", "name of this version (default: what git describes, else dev)")
    .addOption(command.createOption("--builder <name>", "what to build with").choices(BUILDERS))
    .action((what: string | undefined, options: DeployOptions) =>
      runRemote(options, async (remote) => {
        const { deploy } = await import("./deploy.ts");
        await deploy(remote, what ?? ".", options);
      }),
    );
}
