import { execFile } from "node:child_process";
import { rename, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { DagJson } from "../../domain/dag-json.ts";
import { newId } from "../../kit/ids.ts";
import { UserError } from "../../kit/user-error.ts";
import { packedFiles } from "../../lite/workspace/project-pack.ts";
import type { FileParser } from "../../lite/workspace/project-parser.ts";
import { note, type Local } from "../remote/remote-command.ts";
import { dagJsonText } from "./dag-json.ts";
import { parseOneDag, withParser } from "./parsed-dag.ts";
import { openProject, type ProjectFolder } from "./project-folder.ts";

export interface CompileOptions {
  output: string;
  image?: string;
  dagVersion?: string;
}

export interface Compiled {
  project: ProjectFolder;
  text: string;
  json: DagJson;
}

/** Writes a project's dag.json. */
export async function compile(local: Local, path: string, options: CompileOptions): Promise<void> {
  const { project, text, json } = await withParser(local, (parser) => compileProject(parser, path, options));
  if (options.output === "-") return local.terminal.write(text);
  await writeWhole(options.output, text);
  const source = join(project.shown, project.dagSource);
  if (json.image !== null && options.image !== undefined) {
    note(`recording image "${json.image}" without building it; \`leoflow build ${path}\` builds it`);
  }
  const image = json.image === null ? "no image" : `image ${json.image}`;
  local.terminal.write(`Compiled ${source} -> ${options.output} (${image}, version ${json.dag_version})\n`);
}

/** Parses and hashes a project. Throws UserError for whatever is wrong with it. */
export async function compileProject(
  parser: FileParser,
  path: string,
  options: { image?: string | undefined; dagVersion?: string | undefined },
): Promise<Compiled> {
  const project = openProject(path);
  const files = await packedFiles(project.folder, project.settings);
  if (!files.some((file) => file.path === project.dagSource)) {
    throw new UserError(`${project.dagSource} is left out by include_paths or exclude_paths`, {
      fix: "change them in leoflow.yaml so that the DAG's file is packed",
    });
  }
  const dag = await parseOneDag(parser, project);
  const dagVersion = options.dagVersion ?? (await git(project.folder, DESCRIBE)) ?? "dev";
  const image = options.image ?? (await imageName(project, dag.dagId, dagVersion));
  const text = dagJsonText(project, { dag, files, dagVersion, image });
  return { project, text, json: JSON.parse(text) as DagJson };
}

const DESCRIBE = ["describe", "--tags", "--always", "--dirty"];

/** The image's name as `registry` has it; null without one. */
export async function imageName(project: ProjectFolder, dagId: string, dagVersion: string): Promise<string | null> {
  const { registry } = project.settings;
  if (!registry || (registry.url === undefined && registry.image_name === undefined)) return null;
  const { url, image_name: name = dagId.toLowerCase(), tag_strategy: strategy = "version" } = registry;
  const tags: Record<string, () => Promise<string | undefined> | string> = {
    version: () => dagVersion,
    git_sha: () => git(project.folder, ["rev-parse", "--short=12", "HEAD"]),
    git_tag: () => git(project.folder, ["describe", "--tags", "--exact-match"]),
    custom: () => Promise.resolve(undefined),
  };
  const tag = await tags[strategy]?.();
  if (tag === undefined) {
    const why = strategy === "custom" ? "is custom" : `is ${strategy}, and git has none for ${project.shown}`;
    throw new UserError(`registry.tag_strategy ${why}`, { fix: "give the image's name with --image" });
  }
  return `${url === undefined ? "" : `${url.replace(/\/+$/, "")}/`}${name}:${tag.replaceAll(/[^\w.-]/g, "-")}`;
}

function git(folder: string, args: readonly string[]): Promise<string | undefined> {
  return new Promise((resolve) => {
    execFile("git", ["-C", folder, ...args], (error, stdout) =>
      resolve(error ? undefined : stdout.trim() || undefined),
    );
  });
}

/** Nobody sees half of it. */
export async function writeWhole(path: string, text: string): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${newId()}`);
  try {
    await writeFile(temporary, text, { flag: "wx" });
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}
