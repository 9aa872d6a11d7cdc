import { join } from "node:path";
import type { DagGraph } from "../../domain/dag-graph.ts";
import { parseSerializedDag } from "../../domain/serialized-dag.ts";
import { UserError } from "../../kit/user-error.ts";
import { PROJECT_FILE } from "../../lite/workspace/project-file.ts";
import { printJson, type Local } from "../remote/remote-command.ts";
import { apiPath, connectServer, ServerAnswer, type Server, type ServerOptions } from "../remote/server.ts";
import { parseProblem, withParser } from "./parsed-dag.ts";
import { openProject, type ProjectFolder } from "./project-folder.ts";

export interface ValidateOptions extends ServerOptions {
  json?: boolean;
}

interface Validation {
  path: string;
  /** What the project is told by. */
  file: string;
  valid: boolean;
  errors: string[];
  warnings: string[];
  dags: { dag_id: string; tasks: number; schedule: string }[];
}

/** Checks a project and says what is wrong with it; throws UserError where something is. */
export async function validate(local: Local, path: string, options: ValidateOptions): Promise<void> {
  const found = await examine(local, path, options).catch((error: unknown): Validation => {
    if (options.json && error instanceof UserError) {
      return { path, file: path, valid: false, errors: [error.message], warnings: [], dags: [] };
    }
    throw error;
  });
  if (options.json) printJson(local.terminal, found);
  else for (const warning of found.warnings) process.stderr.write(`warning: ${warning}\n`);
  if (!found.valid) {
    const [first = "", ...more] = found.errors;
    if (more.length > 0 && !options.json) process.stderr.write(`${more.join("\n")}\n`);
    throw new UserError(first, { fix: "correct it, then validate again" });
  }
  if (options.json) return;
  const dags = found.dags.map(({ dag_id, tasks, schedule }) => `  ${dag_id}: ${tasks} tasks, schedule ${schedule}\n`);
  local.terminal.write(`${found.file} is valid\n${dags.join("")}`);
}

async function examine(local: Local, path: string, options: ValidateOptions): Promise<Validation> {
  const project = openProject(path);
  const result = await withParser(local, (parser) => parser.parseProject(project.folder, project));
  const source = join(path, project.dagSource);
  const errors: string[] = [];
  const problem = parseProblem(result);
  if (problem !== null) {
    const lines = problem.split("\n");
    errors.push(lines.length > 1 ? `failed to import ${source}: ${lines.at(-1)}` : problem);
    if (lines.length > 1) errors.push(problem);
    if (result.asked.length > 0) errors.push(`it asks for ${result.asked.join(", ")} while it is imported`);
  } else if (result.dags.length === 0) errors.push(`no DAG found in ${source}`);
  const graphs = result.dags.map(({ serialized }) => parseSerializedDag(serialized));
  // What packages warn of is not the project's to mend.
  const own = result.warnings.filter(({ dagId, message }) => dagId !== null || message.startsWith(project.folder));
  const warnings = own.map(({ message }) => message);
  if (project.settings.python_version === "3.10") {
    warnings.push("python_version 3.10 gets no security fixes any more; choose a newer one");
  }
  if (options.server !== undefined) {
    warnings.push(...(await missing(await connectServer(local, options), project, graphs)));
  }
  return {
    path,
    file: project.hasProjectFile ? join(path, PROJECT_FILE) : source,
    valid: errors.length === 0,
    errors,
    warnings,
    dags: result.dags.map(({ dagId, timetableSummary }, index) => ({
      dag_id: dagId,
      tasks: graphs[index]?.tasks.size ?? 0,
      schedule: timetableSummary,
    })),
  };
}

/** What the project names and the server does not have. */
async function missing(server: Server, { settings }: ProjectFolder, graphs: readonly DagGraph[]): Promise<string[]> {
  const tasks = Object.values(settings.tasks ?? {});
  const all = (own: readonly string[] | undefined, more: readonly (readonly string[] | undefined)[]) =>
    [...new Set([...(own ?? []), ...more.flatMap((names) => names ?? [])])].sort();
  const wanted = {
    connections: all(
      settings.connections,
      tasks.map(({ connections }) => connections),
    ),
    variables: all(
      settings.variables,
      tasks.map(({ variables }) => variables),
    ),
    pools: all(
      settings.pools,
      graphs.map(({ tasks }) => [...tasks.values()].map(({ pool }) => pool)),
    ),
  };
  const found: string[] = [];
  for (const [kind, names] of Object.entries(wanted)) {
    for (const name of names) {
      try {
        await server.get(`/api/v2/${kind}${apiPath`/${name}`}`);
      } catch (error) {
        if (!(error instanceof ServerAnswer) || error.status !== 404) throw error;
        found.push(`${server.url} has no ${kind.slice(0, -1)} "${name}"`);
      }
    }
  }
  return found;
}
