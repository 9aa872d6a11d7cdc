import { execFile, spawn } from "node:child_process";
import { copyFile, cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { UserError } from "../../kit/user-error.ts";
import { environmentName } from "../../lite/workspace/project-environments.ts";
import { note, usage, type Local } from "../remote/remote-command.ts";
import { compileProject, type Compiled } from "./compile.ts";
import { containerfile } from "./containerfile.ts";
import { withParser } from "./parsed-dag.ts";
import { openProject } from "./project-folder.ts";

export interface BuildOptions {
  image?: string;
  dagVersion?: string;
  builder?: string;
  push?: boolean;
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
  local.terminal.write(`${await buildCompiled(local, compiled, { ...options, builder })}\n`);
}

/** The same, of what was compiled already; its progress goes to stderr. Says what was made. */
export async function buildCompiled(local: Local, compiled: Compiled, options: BuildOptions): Promise<string> {
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
    note(`building ${json.image} with ${builder} ...`);
    await run(builder, [...args, folder]);
    const what = `(dag_id "${json.dag_id}", version ${json.dag_version})`;
    if (!options.push) return `Built ${json.image} ${what}`;
    note(`pushing ${json.image} ...`);
    const digest = await pushImage(builder, json.image, join(context, "digest"));
    return `Built and pushed ${json.image}@${digest} ${what}`;
  } finally {
    await rm(context, { recursive: true, force: true });
  }
}

/** Sends it to its registry, with the login that the builder has. Gives the digest under which it is there. */
async function pushImage(builder: string, image: string, digestFile: string): Promise<string> {
  if (builder === "buildah") {
    await run(builder, ["push", "--digestfile", digestFile, image]);
    return (await readFile(digestFile, "utf8")).trim();
  }
  await run(builder, ["push", image]);
  const pushed = await promisify(execFile)(builder, [
    "image",
    "inspect",
    "--format",
    '{{join .RepoDigests "\\n"}}',
    image,
  ]);
  const digest = /@(sha256:[0-9a-f]{64})$/m.exec(pushed.stdout)?.[1];
  if (digest === undefined) throw new UserError(`${builder} does not tell under which digest ${image} was pushed`);
  return digest;
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

/** Its output is the user's to see, and none of the command's own. */
async function run(program: string, args: readonly string[]): Promise<void> {
  const code = await new Promise<number | null>((resolve, reject) => {
    const child = spawn(program, args, { stdio: ["ignore", process.stderr, process.stderr] });
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
