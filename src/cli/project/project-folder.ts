import { existsSync, readFileSync, realpathSync, statSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../../kit/user-error.ts";
import { parseProjectFile, PROJECT_FILE, type ProjectFile } from "../../lite/workspace/project-file.ts";

/** A project on this machine. */
export interface ProjectFolder extends ProjectFile {
  /** As it was written, for messages. */
  shown: string;
  /** Real path. */
  folder: string;
  /** false: a dag.py without a leoflow.yaml. */
  hasProjectFile: boolean;
}

/** Reads the project of a folder. Throws UserError where there is none, or where its leoflow.yaml is wrong. */
export function openProject(path: string): ProjectFolder {
  if (!existsSync(path)) {
    throw new UserError(`there is no folder ${path}`, { fix: `make a project there with \`leoflow init ${path}\`` });
  }
  const file = join(path, PROJECT_FILE);
  const hasProjectFile = existsSync(file);
  if (!statSync(path).isDirectory() || (!hasProjectFile && !existsSync(join(path, "dag.py")))) {
    throw new UserError(`no Leoflow project at ${JSON.stringify(path)} (no leoflow.yaml)`, {
      fix: "name the folder that holds leoflow.yaml or dag.py; `leoflow init` makes one",
    });
  }
  const outcome = parseProjectFile(hasProjectFile ? readFileSync(file, "utf8") : "", file);
  if (outcome.kind === "broken") throw new UserError(outcome.message, { fix: "docs/authoring.md lists every key" });
  const { project } = outcome;
  if (!existsSync(join(path, project.dagSource))) {
    throw new UserError(`there is no ${project.dagSource} in ${path}`, {
      fix: "write the DAG there, or set dag_source in leoflow.yaml",
    });
  }
  return { ...project, shown: path, folder: realpathSync(path), hasProjectFile };
}
