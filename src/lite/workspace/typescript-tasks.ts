import type { BuildFailure, Message, Metafile } from "esbuild";
import { access, realpath } from "node:fs/promises";
import { join, posix, relative, resolve } from "node:path";
import { exportsFor, tasksFileOf, tasksModuleOf } from "../../domain/coordinator.ts";
import type { DagGraph, TaskNode } from "../../domain/dag-graph.ts";
import type { ParsedDag } from "../../domain/parse-result.ts";
import { parseSerializedDag } from "../../domain/serialized-dag.ts";
import { isObject, listOf, objectOf, textOr } from "../../domain/serialized-value.ts";
import { fromJsonText, type JsonValue } from "../../kit/json-text.ts";
import { parentOf } from "./discovery.ts";

export interface TypeScriptTasksConfig {
  queues: ReadonlySet<string>;
  /** What `@leoflow/task` stands for. */
  sdk: string;
}

/** A DAG file's tasks in TypeScript; paths are below the workspace. */
export interface TypeScriptTasks {
  /** What they are made of. A change of one of these parses the DAG file again. */
  files: string[];
  /** Folders that may get what was missing, ending in `/`. */
  reads: string[];
  /** What belongs to the version besides. */
  made: ReadonlyMap<string, Buffer>;
  /** Why the tasks cannot run, for the user. */
  problem: string | null;
}

/** null: no task of these DAGs is written in TypeScript. */
export type BuildTasks = (
  workspace: string,
  relPath: string,
  dags: readonly ParsedDag[],
) => Promise<TypeScriptTasks | null>;

/** What changes how a file is bundled without being imported. */
const SETTINGS = ["package.json", "package-lock.json", "tsconfig.json"];
/** CommonJS packages want `require`. */
const BANNER =
  'import { createRequire as leoflowRequire } from "node:module"; const require = leoflowRequire(import.meta.url);';

/**
 * Bundles `<DAG file>.tasks.ts` with the packages it imports, so that a version is whole without node_modules, and holds the
 * exports against the DAGs' tasks.
 */
export function typescriptTasks({ queues, sdk }: TypeScriptTasksConfig): BuildTasks {
  return async (workspace, relPath, dags) => {
    const ours = dags
      .filter(({ serialized }) => [...queues].some((queue) => serialized.includes(JSON.stringify(queue))))
      .map(({ serialized }) => ({ serialized, dag: parseSerializedDag(serialized) }))
      .map(({ serialized, dag }) => ({
        serialized,
        dag,
        tasks: [...dag.tasks.values()].filter(({ queue }) => queues.has(queue)),
      }))
      .filter(({ tasks }) => tasks.length > 0);
    if (ours.length === 0) return null;
    const file = tasksFileOf(relPath);
    const failed = (problem: string, files: string[] = []) => ({
      files: [file, ...files],
      reads: [`${parentOf(file) || "."}/`],
      made: new Map<string, Buffer>(),
      problem,
    });
    if (!(await exists(join(workspace, file)))) {
      return failed(
        missingFile(
          file,
          ours.flatMap(({ tasks }) => tasks),
        ),
      );
    }
    const module = tasksModuleOf(relPath);
    const bundled = await bundle(workspace, file, module, sdk);
    if ("errors" in bundled) {
      const elsewhere = bundled.errors.flatMap(({ location }) => location?.file ?? []).filter(isOwnSource);
      return failed(bundled.errors.map((error) => explain(error, file)).join("\n\n"), elsewhere);
    }
    const { code, metafile } = bundled;
    const files = [...(await sourcesOf(workspace, file, metafile)), ...(await settingsOf(workspace, file))];
    const exports = Object.values(metafile.outputs).flatMap(({ exports }) => exports);
    const missing = ours.flatMap(({ dag, tasks }) => tasks.map((task) => missingExport(file, exports, dag, task)));
    const problems = missing.filter((problem) => problem !== null);
    if (problems.length > 0) return { ...failed(problems.join("\n")), files };
    const about = { source: file, dags: Object.fromEntries(ours.map((one) => [one.dag.dagId, factsOf(one)])) };
    const made = new Map([
      [module, code],
      [`${module}.json`, Buffer.from(JSON.stringify(about))],
    ]);
    return { files, reads: [], made, problem: null };
  };
}

type Bundled = { code: Buffer; metafile: Metafile } | { errors: readonly Message[] };

let bundling = 0;

async function bundle(workspace: string, file: string, module: string, sdk: string): Promise<Bundled> {
  const { build, stop } = await import("esbuild");
  bundling++;
  try {
    const { outputFiles, metafile } = await build({
      absWorkingDir: workspace,
      entryPoints: [file],
      outfile: module,
      alias: { "@leoflow/task": sdk },
      banner: { js: BANNER },
      bundle: true,
      platform: "node",
      target: "node20",
      format: "esm",
      // The sources are in the version, beside the module.
      sourcemap: "inline",
      sourcesContent: false,
      metafile: true,
      write: false,
      logLevel: "silent",
    });
    return { code: Buffer.from(outputFiles[0]?.contents ?? []), metafile };
  } catch (error) {
    if (!isBuildFailure(error)) throw error;
    return { errors: error.errors };
  } finally {
    // Its process is worth 20 MB.
    if (--bundling === 0) await stop();
  }
}

function isBuildFailure(error: unknown): error is BuildFailure {
  return error instanceof Error && "errors" in error && Array.isArray(error.errors);
}

/** The user's own sources; packages are in the module alone. A DAG folder may be a link: names are those it has in the workspace. */
async function sourcesOf(workspace: string, file: string, { inputs }: Metafile): Promise<string[]> {
  const folder = parentOf(file);
  const realFolder = await realpath(join(workspace, folder));
  const sources = [file];
  for (const input of Object.keys(inputs).filter(isOwnSource)) {
    const path = resolve(workspace, input);
    const name = posix.normalize(posix.join(folder, relative(realFolder, path)));
    if (name === file || name.startsWith("../")) continue;
    if ((await realpath(join(workspace, name)).catch(() => null)) === path) sources.push(name);
  }
  return sources;
}

function isOwnSource(input: string): boolean {
  return !input.split("/").includes("node_modules") && !input.includes(":");
}

async function settingsOf(workspace: string, file: string): Promise<string[]> {
  const names = SETTINGS.map((name) => posix.join(parentOf(file), name));
  const found = await Promise.all(names.map((name) => exists(join(workspace, name))));
  return names.filter((_, at) => found[at]);
}

function missingFile(file: string, tasks: readonly TaskNode[]): string {
  const ids = tasks.map(({ taskId }) => taskId).join(", ");
  const [{ queue = "", taskId = "" } = {}] = tasks;
  const name = exportsFor(taskId).at(-1);
  return `${file} is missing: tasks of the queue "${queue}" (${ids}) are written in TypeScript, there: \`export const ${name} = task(async ({ xcom, log }) => { ... })\`.`;
}

function missingExport(file: string, exports: readonly string[], dag: DagGraph, { taskId }: TaskNode): string | null {
  const names = exportsFor(taskId);
  if (names.some((name) => exports.includes(name))) return null;
  const others = exports.length === 0 ? "nothing" : [...exports].sort().join(", ");
  return `${file} has no export "${names.at(-1)}" for the task ${taskId} of the DAG ${dag.dagId}; it exports ${others}.`;
}

/** esbuild's words, apart from what it would have a programmer do about bundling. */
function explain({ text, location }: Message, file: string): string {
  const place = location ? `${location.file}:${location.line}:${location.column + 1}: ` : "";
  const line = location ? `\n    ${location.lineText.trim()}` : "";
  const [, name] = /^Could not resolve "([^".][^"]*)"$/.exec(text) ?? [];
  if (name !== undefined && !name.startsWith("/")) {
    const [wanted, folder] = [packageOf(name), parentOf(file) || "the workspace"];
    return `${place}the package "${wanted}" is not installed: run \`npm install ${wanted}\` in ${folder}${line}`;
  }
  if (/^No loader is configured for "\.node" files/.test(text)) {
    return `${place}a package with native code cannot be part of a DAG's version: use one that is JavaScript only${line}`;
  }
  return `${place}${text}${line}`;
}

function packageOf(name: string): string {
  return name
    .split("/")
    .slice(0, name.startsWith("@") ? 2 : 1)
    .join("/");
}

/** What Python's task runner reads from the DAG file, for that of TypeScript (sdk/typescript/src/context.ts). */
function factsOf({
  serialized,
  dag,
  tasks,
}: {
  serialized: ParsedDag["serialized"];
  dag: DagGraph;
  tasks: TaskNode[];
}) {
  const { params } = dag;
  const outlets = outletsOf(fromJsonText<JsonValue>(serialized));
  return {
    params: Object.fromEntries(params.filter(([, , hasValue]) => hasValue).map(([name, { value }]) => [name, value])),
    tasks: Object.fromEntries(
      tasks.map(({ taskId, executionTimeoutSeconds }) => [
        taskId,
        { timeoutSeconds: executionTimeoutSeconds, outlets: outlets.get(taskId) ?? [] },
      ]),
    ),
  };
}

function outletsOf(serialized: JsonValue): Map<string, { name: JsonValue; uri: JsonValue }[]> {
  const tasks = listOf(objectOf(objectOf(serialized)["dag"])["tasks"]).map((task) => objectOf(objectOf(task)["__var"]));
  return new Map(
    tasks.map((task) => [
      textOr(task["task_id"], ""),
      listOf(task["outlets"] ?? objectOf(task["partial_kwargs"])["outlets"])
        .filter((outlet) => isObject(outlet) && outlet["__type"] === "asset")
        .map((outlet) => objectOf(objectOf(outlet)["__var"]))
        .map(({ name = null, uri = null }) => ({ name, uri })),
    ]),
  );
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
