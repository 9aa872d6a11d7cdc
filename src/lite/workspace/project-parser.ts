import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { PythonRequest } from "../../agent/python-request.ts";
import { PythonRuntime } from "../../agent/python-runtime.ts";
import { typescriptQueues } from "../../domain/coordinator.ts";
import type { ParseResult } from "../../domain/parse-result.ts";
import type { TaskExecution, ToSupervisor } from "../../domain/task-execution.ts";
import { errorResponse } from "../../execution/answer.ts";
import { childEnvironment } from "../../kit/config.ts";
import type { Kit } from "../../kit/service.ts";
import { UserError } from "../../kit/user-error.ts";
import type { LeoflowPaths } from "../paths.ts";
import type { Progress } from "../progress.ts";
import { readBaseMarker } from "../python/base-python.ts";
import { Toolchain } from "../python/toolchain.ts";
import { uvEnvironment } from "../python/uv.ts";
import { overlayFor, withTasks } from "./dag-file-processor.ts";
import type { Project } from "./discovery.ts";
import { ProjectEnvironments } from "./project-environments.ts";
import type { ProjectFile } from "./project-file.ts";
import { typescriptTasks } from "./typescript-tasks.ts";

export interface ProjectParse extends ParseResult {
  /** Variables and connections the file asked for while it was imported: without a server it found none. */
  asked: string[];
}

/** Python that parses files as Leoflow Lite does, without a server. */
export interface FileParser {
  /**
   * `relPath` is below the folder, or below `root`; `project` is the file's own, where it has one. Throws UserError where its
   * dependencies cannot be installed.
   */
  parse(relPath: string, project: Project | null, root?: string): Promise<ProjectParse>;
  /** A project as a whole; its folder is a real path. */
  parseProject(folder: string, project: ProjectFile): Promise<ProjectParse>;
  /** Asks the base environment; see leoflow_runtime/requests.py. */
  request(request: PythonRequest): Promise<unknown>;
}

interface ParserPlace {
  paths: LeoflowPaths;
  progress: Progress;
  signal: AbortSignal;
}

/** Work with a parser of this folder, which is a real path. Throws UserError where Leoflow is not set up. */
export async function withFileParser<T>(
  kit: Kit,
  { paths, progress, signal }: ParserPlace,
  folder: string,
  work: (parser: FileParser) => Promise<T>,
): Promise<T> {
  const basePython = join(paths.venv, "bin/python");
  if (!readBaseMarker(paths) || !existsSync(basePython)) {
    throw new UserError(`Leoflow is not set up: there is no Python with Airflow in ${paths.venv}`, {
      fix: "run `leoflow setup` once, or start `leoflow lite`",
    });
  }
  let asked = new Set<string>();
  const answer = (message: ToSupervisor) => Promise.resolve({ body: nothing(message, asked) });
  const airflowHome = join(paths.home, "airflow");
  await mkdir(airflowHome, { recursive: true, mode: 0o700 });
  const toolchain = new Toolchain(paths, progress, signal);
  const environments = new ProjectEnvironments(kit, () => toolchain.uv(), {
    folder: paths.projectVenvs,
    basePython,
    lockFile: join(paths.program, "python/requirements.lock"),
    uvEnvironment,
  });
  const env = childEnvironment({ AIRFLOW_HOME: airflowHome });
  const buildTasks = typescriptTasks({ queues: typescriptQueues(env), sdk: paths.taskSdk });
  const runtime = new PythonRuntime(
    kit,
    { execution: NO_TASKS, parseHandler: answer },
    {
      runtimeDir: paths.runtime,
      socketDir: null,
      logsDir: paths.logs,
      workspace: folder,
      environments: (name) => (name === "default" ? basePython : join(paths.projectVenvs, name, "bin/python")),
      versionDir: () => folder,
      env,
      idleSeconds: 60,
      graceMs: 0,
      heartbeatMs: 60_000,
    },
  );
  await runtime.start();
  const stop = () => void runtime.stop();
  signal.addEventListener("abort", stop);
  try {
    return await work({
      parse,
      parseProject: (root, project) =>
        parse(project.dagSource, { folder: "", outcome: { kind: "read", project } }, root),
      request: (request) => runtime.request(request),
    });
  } finally {
    signal.removeEventListener("abort", stop);
    await runtime.stop();
  }

  async function parse(relPath: string, project: Project | null, root = folder): Promise<ProjectParse> {
    asked = new Set();
    const result = await runtime.parseFile({
      workspace: root,
      path: join(root, relPath),
      relPath,
      projectPath: project ? join(root, project.folder) : null,
      environment: await prepareEnvironment(
        project?.outcome.kind === "read" ? project.outcome.project.dependencies : [],
      ),
      timeoutSeconds: 30,
      memoryMb: 1024,
      overlay: overlayFor(relPath, project),
    });
    signal.throwIfAborted();
    const tasks = await buildTasks(root, relPath, result.dags);
    return { ...(tasks ? withTasks(result, tasks) : result), asked: [...asked].sort() };
  }

  async function prepareEnvironment(dependencies: readonly string[]): Promise<string> {
    const state = await environments.prepare(dependencies);
    if (state.kind === "building") await progress.step("Install dependencies", () => state.done);
    const ready = state.kind === "building" ? environments.known(dependencies) : state;
    if (ready?.kind === "ready") return ready.name;
    const reason = ready?.kind === "failed" ? ready.message : "called off";
    throw new UserError(`could not install the project's dependencies: ${reason}`, {
      fix: "correct dependencies in leoflow.yaml, or look at the network",
    });
  }
}

const NO_TASKS: TaskExecution = {
  start: () => Promise.reject(new Error("no tasks run here")),
  heartbeat: () => Promise.resolve("gone"),
  handle: () => Promise.reject(new Error("no tasks run here")),
  exited: () => Promise.resolve(),
};

function nothing(message: ToSupervisor, asked: Set<string>): Record<string, unknown> {
  if (message.type === "GetVariable") {
    asked.add(`variable ${String(message["key"])}`);
    return errorResponse("VARIABLE_NOT_FOUND", { key: message["key"] });
  }
  if (message.type === "GetConnection") {
    asked.add(`connection ${String(message["conn_id"])}`);
    return errorResponse("CONNECTION_NOT_FOUND", { conn_id: message["conn_id"] });
  }
  return errorResponse("GENERIC_ERROR", { message: "there is no server here" });
}
