import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { PythonRuntime } from "../../agent/python-runtime.ts";
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
import { ProjectEnvironments } from "./project-environments.ts";
import type { ProjectFile } from "./project-file.ts";

export interface ProjectParse extends ParseResult {
  /** Variables and connections the file asked for while it was imported: without a server it found none. */
  asked: string[];
}

/**
 * Parses a project's DAG file as Leoflow Lite does, in the managed Python and the project's own environment, without a server.
 * `folder` is a real path. Throws UserError where Leoflow is not set up or the dependencies cannot be installed.
 */
export async function parseProject(
  kit: Kit,
  { paths, progress, signal }: { paths: LeoflowPaths; progress: Progress; signal: AbortSignal },
  folder: string,
  project: ProjectFile,
): Promise<ProjectParse> {
  const basePython = join(paths.venv, "bin/python");
  if (!readBaseMarker(paths) || !existsSync(basePython)) {
    throw new UserError(`Leoflow is not set up: there is no Python with Airflow in ${paths.venv}`, {
      fix: "run `leoflow setup` once, or start `leoflow lite`",
    });
  }
  const environment = await prepareEnvironment();
  const asked = new Set<string>();
  const answer = (message: ToSupervisor) => Promise.resolve({ body: nothing(message, asked) });
  const airflowHome = join(paths.home, "airflow");
  await mkdir(airflowHome, { recursive: true, mode: 0o700 });
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
      env: defined(childEnvironment({ AIRFLOW_HOME: airflowHome, LEOFLOW_ADMIN_PASSWORD: undefined })),
      idleSeconds: 60,
      graceMs: 0,
      heartbeatMs: 60_000,
    },
  );
  await runtime.start();
  const stop = () => void runtime.stop();
  signal.addEventListener("abort", stop);
  try {
    const result = await runtime.parseFile({
      workspace: folder,
      path: join(folder, project.dagSource),
      relPath: project.dagSource,
      projectPath: folder,
      environment,
      timeoutSeconds: 30,
      memoryMb: 1024,
      overlay: project.overlay,
    });
    signal.throwIfAborted();
    return { ...result, asked: [...asked].sort() };
  } finally {
    signal.removeEventListener("abort", stop);
    await runtime.stop();
  }

  async function prepareEnvironment(): Promise<string> {
    const toolchain = new Toolchain(paths, progress, signal);
    const environments = new ProjectEnvironments(kit, () => toolchain.uv(), {
      folder: paths.projectVenvs,
      basePython,
      lockFile: join(paths.program, "python/requirements.lock"),
      uvEnvironment,
    });
    const state = await environments.prepare(project.dependencies);
    const ready = state.kind === "building" ? await installed(environments, state.done) : state;
    if (ready?.kind === "ready") return ready.name;
    const reason = ready?.kind === "failed" ? ready.message : "called off";
    throw new UserError(`could not install the project's dependencies: ${reason}`, {
      fix: "correct dependencies in leoflow.yaml, or look at the network",
    });
  }

  async function installed(environments: ProjectEnvironments, done: Promise<void>) {
    await progress.step("Install dependencies", () => done);
    return environments.known(project.dependencies);
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

function defined(env: Record<string, string | undefined>): Record<string, string> {
  return Object.fromEntries(Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined));
}
