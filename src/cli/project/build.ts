import { spawn } from "node:child_process";
import { copyFile, cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { UserError } from "../../kit/user-error.ts";
import { environmentName } from "../../lite/workspace/project-environments.ts";
import { usage, type Local } from "../remote/remote-command.ts";
import { compileProject, type Compiled } from "./compile.ts";
import { containerfile } from "./containerfile.ts";
import { withParser } from "./parsed-dag.ts";
import { openProject } from "./project-folder.ts";

export interface BuildOptions {
  image?: string;
  dagVersion?: string;
  builder?: string;
  printContainerfile?: boolean;
}

const BUILDERS = ["buildah", "docker"] as const;

/** Makes an image of a project: with buildah, which needs no daemon, else with docker. */
export async function build(local: Local, path: string, options: BuildOptions): Promise<void> {
  if (options.printContainerfile) {
    const { settings } = openProject(path);
    return local.terminal.write(containerfile(settings, {}));
  }
  // Said before the work, not after it.
  const { registry } = openProject(path).settings;
  if (options.image === undefined && registry?.url === undefined && registry?.image_name === undefined) throw unnamed();
  const builder = options.builder ?? (await findBuilder());
  const compiled = await withParser(local, (parser) => compileProject(parser, path, options));
  await buildCompiled(local, compiled, { ...options, builder });
}

/** The same, of what was compiled already. */
export async function buildCompiled(local: Local, compiled: Compiled, options: BuildOptions): Promise<void> {
  const { project, json } = compiled;
  if (json.image === null) throw unnamed();
  const builder = options.builder ?? (await findBuilder());
  const context = await mkdtemp(join(tmpdir(), "leoflow-build-"));
  try {
    const { dockerfile, context: below = ".", platforms } = project.settings.build ?? {};
    const [file, folder] = dockerfile
      ? [join(project.folder, dockerfile), join(project.folder, below)]
      : [join(context, "Containerfile"), context];
    if (!dockerfile) await fillContext(local, compiled, context);
    const args = ["build", "--file", file, "--tag", json.image];
    if (platforms) args.push("--platform", platforms.join(","));
    local.terminal.write(`Building ${json.image} with ${builder} ...\n`);
    await run(builder, [...args, folder]);
  } finally {
    await rm(context, { recursive: true, force: true });
  }
  local.terminal.write(`Built ${json.image} (dag_id "${json.dag_id}", version ${json.dag_version})\n`);
}

async function fillContext({ paths }: Local, { project, json }: Compiled, context: string): Promise<void> {
  const lock =
    project.dependencies.length === 0
      ? join(paths.program, "python/requirements.lock")
      : join(paths.projectVenvs, environmentName(project.dependencies), "requirements.txt");
  await copyFile(lock, join(context, "requirements.txt"));
  await cp(join(paths.runtime, "leoflow_runtime"), join(context, "runtime/leoflow_runtime"), {
    recursive: true,
    filter: (source) => !source.endsWith("__pycache__"),
  });
  for (const { path } of json.files) {
    const to = join(context, "project", path);
    await mkdir(dirname(to), { recursive: true });
    await copyFile(join(project.folder, path), to);
  }
  const labels = {
    "io.leoflow.dag-id": json.dag_id,
    "io.leoflow.dag-version": json.dag_version,
    "io.leoflow.files-hash": json.files_hash,
  };
  await writeFile(join(context, "Containerfile"), containerfile(project.settings, labels));
}

function unnamed(): UserError {
  return usage("the image has no name", "name it with --image, or with registry in leoflow.yaml");
}

async function findBuilder(): Promise<string> {
  for (const name of BUILDERS) if (await answers(name)) return name;
  throw new UserError("an image needs buildah or docker, and neither is there", {
    fix: "install buildah (`sudo apt install buildah`; it needs no daemon) or Docker; `leoflow build --print-containerfile` shows what would be built",
  });
}

function answers(program: string): Promise<boolean> {
  return new Promise((resolve) => {
    const child = spawn(program, ["--version"], { stdio: "ignore" });
    child.once("error", () => resolve(false));
    child.once("exit", (code) => resolve(code === 0));
  });
}

/** Its output is the user's to see. */
async function run(program: string, args: readonly string[]): Promise<void> {
  const code = await new Promise<number | null>((resolve, reject) => {
    const child = spawn(program, args, { stdio: ["ignore", "inherit", "inherit"] });
    child.once("error", (error: NodeJS.ErrnoException) => {
      reject(
        error.code === "ENOENT"
          ? new UserError(`there is no ${program}`, { fix: "install it, or choose another with --builder" })
          : error,
      );
    });
    child.once("exit", resolve);
  });
  if (code !== 0) throw new UserError(`${program} ended with ${code}`, { fix: "its last lines above say why" });
}
