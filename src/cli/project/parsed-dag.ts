import { join } from "node:path";
import type { ParsedDag } from "../../domain/parse-result.ts";
import { UserError } from "../../kit/user-error.ts";
import { systemClock } from "../../kit/clock.ts";
import type { Progress } from "../../lite/progress.ts";
import type { FileParser, ProjectParse } from "../../lite/workspace/project-parser.ts";
import type { Local } from "../remote/remote-command.ts";
import type { ProjectFolder } from "./project-folder.ts";

/** Beside what scripts read. */
const aside: Progress = {
  step: (title, work) => {
    process.stderr.write(`note: ${title} ...\n`);
    return work(() => undefined);
  },
  note: (text) => void process.stderr.write(`note: ${text}\n`),
};

/** Lets `work` parse projects here, in one Python for all. Throws UserError where Leoflow is not set up. */
export async function withParser<T>(local: Local, work: (parser: FileParser) => Promise<T>): Promise<T> {
  const { withFileParser } = await import("../../lite/workspace/project-parser.ts");
  const { createLogger } = await import("../../kit/logger.ts");
  const kit = { logger: createLogger({ level: "silent" }), clock: systemClock };
  return withFileParser(kit, { ...local, progress: aside }, local.paths.home, work);
}

/** What is wrong with the file as a whole, as Python says it; null where nothing is. */
export function parseProblem(result: ProjectParse): string | null {
  if (result.failure) return result.failure.message;
  return result.importErrors.map(({ stacktrace }) => stacktrace.trim()).join("\n\n") || null;
}

/** The project's one DAG. Throws UserError where the file cannot be imported, or has no DAG, or several. */
export async function parseOneDag(parser: FileParser, project: ProjectFolder): Promise<ParsedDag> {
  const result = await parser.parseProject(project.folder, project);
  const source = join(project.shown, project.dagSource);
  const problem = parseProblem(result);
  if (problem !== null) throw importFailure(source, problem, result);
  const ids = result.dags.map(({ dagId }) => dagId);
  const wanted = project.settings.dag_id;
  const dag = result.dags.find(({ dagId }) => dagId === wanted) ?? result.dags[0];
  if (!dag) throw new UserError(`no DAG found in ${source}`, { fix: "define one with DAG(...) or @dag" });
  if (wanted === undefined && ids.length > 1) {
    throw new UserError(`multiple DAGs in ${source} [${ids.join(" ")}]; set dag_id in leoflow.yaml`, {
      fix: `write \`dag_id: ${dag.dagId}\` for the first`,
    });
  }
  return dag;
}

function importFailure(source: string, problem: string, { asked }: ProjectParse): UserError {
  const lines = problem.split("\n");
  // A trace is for reading above the one line that says it.
  if (lines.length > 1) process.stderr.write(`${problem}\n`);
  const fix =
    asked.length > 0
      ? `it asks for ${asked.join(", ")} while it is imported, which only a server has; ask inside of tasks`
      : "correct it, then run the same command";
  return new UserError(lines.length > 1 ? `failed to import ${source}: ${lines.at(-1)}` : problem, { fix });
}
