import { existsSync, readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { UserError } from "../../kit/user-error.ts";
import { isSkippedFolder } from "../../lite/workspace/discovery.ts";
import { PROJECT_FILE } from "../../lite/workspace/project-file.ts";
import { canAsk } from "../ask.ts";
import { confirmed, printJson, type Remote, type RemoteOptions } from "../remote/remote-command.ts";
import { apiPath } from "../remote/server.ts";
import { buildCompiled } from "./build.ts";
import { compileProject, type Compiled } from "./compile.ts";
import { withParser } from "./parsed-dag.ts";
import { openProject } from "./project-folder.ts";
import { register, registrationText, versionOf, type Registration } from "./push.ts";

export interface DeployOptions extends RemoteOptions {
  all?: boolean;
  trigger?: boolean;
  yes?: boolean;
  skipBuild?: boolean;
  dagVersion?: string;
  image?: string;
  builder?: string;
  push?: boolean;
}

const DEEPEST = 5;

/** Compiles, builds where an image is named, pushes and registers; one project or all below a folder. */
export async function deploy(remote: Remote, what: string, options: DeployOptions): Promise<void> {
  const { server, terminal, ...local } = remote;
  const paths = options.all ? projectsBelow(what) : [existsSync(what) ? what : projectNamed(what)];
  if (paths.length === 0) throw new UserError(`there is no project in ${what}`, { fix: "`leoflow init` makes one" });
  // Where nobody can be asked that is said before the work, not after it.
  if (!canAsk()) await confirmed(options, `deploy ${what} to ${server.url}`);
  // All are compiled before anything is sent: a mistake in the last leaves the server as it was.
  const compiled = await withParser({ ...local, terminal }, async (parser) => {
    const all: Compiled[] = [];
    for (const path of paths) all.push(await compileProject(parser, path, options));
    return all;
  });
  const names = compiled.map(({ json }) => `"${json.dag_id}" (version ${json.dag_version})`).join(", ");
  await confirmed(options, `deploy ${names} to ${server.url}`);
  const done: (Registration & { run_id?: string })[] = [];
  for (const one of compiled) {
    const { image } = one.json;
    if (image !== null && !options.skipBuild) {
      const built = await buildCompiled({ ...local, terminal }, one, options);
      if (!options.json) terminal.write(`${built}\n`);
    }
    const registered: Registration & { run_id?: string } = await register(server, versionOf(one));
    if (!options.json) terminal.write(registrationText(server, registered));
    if (options.trigger) {
      const dag = apiPath`/api/v2/dags/${one.json.dag_id}`;
      await server.send("PATCH", dag, { query: { update_mask: "is_paused" }, body: { is_paused: false } });
      const run = await server.send<{ dag_run_id: string; state: string }>("POST", `${dag}/dagRuns`, {
        body: { logical_date: null },
      });
      registered.run_id = run.dag_run_id;
      if (!options.json) {
        terminal.write(`Triggered run ${run.dag_run_id} for "${one.json.dag_id}" (state ${run.state})\n`);
      }
    }
    done.push(registered);
  }
  if (options.json) printJson(terminal, done);
}

/** Folders with a leoflow.yaml or a dag.py, not those inside of another project. */
export function projectsBelow(folder: string, depth = 0): string[] {
  if (existsSync(join(folder, PROJECT_FILE)) || existsSync(join(folder, "dag.py"))) return [folder];
  if (depth >= DEEPEST || !existsSync(folder)) return [];
  const folders = readdirSync(folder, { withFileTypes: true }).filter(
    (entry) => entry.isDirectory() && !isSkippedFolder(entry.name),
  );
  return folders
    .map(({ name }) => name)
    .sort()
    .flatMap((name) => projectsBelow(join(folder, name), depth + 1));
}

function projectNamed(dagId: string): string {
  const found = projectsBelow(".").filter((path) => basename(path) === dagId || dagIdIn(path) === dagId);
  if (found.length === 1) return found[0] as string;
  const why =
    found.length === 0
      ? "is neither a folder nor the dag_id of a project below this one"
      : `is in ${found.join(" and ")}`;
  throw new UserError(`${dagId} ${why}`, { fix: "name the project's folder" });
}

/** What is wrong with a project that is not meant is of no interest. */
function dagIdIn(path: string): string | undefined {
  try {
    return openProject(path).settings.dag_id;
  } catch (error) {
    if (error instanceof UserError) return undefined;
    throw error;
  }
}
