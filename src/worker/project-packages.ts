import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Kit } from "../kit/service.ts";
import type { LeoflowPaths } from "../lite/paths.ts";
import type { Toolchain } from "../lite/python/toolchain.ts";
import { uvEnvironment } from "../lite/python/uv.ts";
import type { ProjectEnvironments } from "../lite/workspace/project-environments.ts";
import type { VersionFiles } from "./version-files.ts";

export interface ProjectPackagesDeps {
  paths: LeoflowPaths;
  basePython: string;
  toolchain: Toolchain;
  versions: VersionFiles;
}

/** The virtual environments of projects, made on the agent from the leoflow.yaml of a DAG version as Lite makes them. */
export class ProjectPackages {
  readonly #kit: Kit;
  readonly #deps: ProjectPackagesDeps;
  #environments: Promise<ProjectEnvironments> | null = null;

  constructor(kit: Kit, deps: ProjectPackagesDeps) {
    this.#kit = kit;
    this.#deps = deps;
  }

  /** Resolves when the environment of a version that is here can be used. Throws with what pip would say. */
  async ensure(environment: string, archiveDigest: string): Promise<void> {
    if (environment === "default") return;
    // Loaded where a project needs it: most need no YAML and no installer.
    const [{ environmentName }, { parseProjectFile, PROJECT_FILE }] = await Promise.all([
      import("../lite/workspace/project-environments.ts"),
      import("../lite/workspace/project-file.ts"),
    ]);
    const { versions } = this.#deps;
    const { projectFolder } = await versions.manifest(archiveDigest);
    const relPath = join(projectFolder ?? "", PROJECT_FILE);
    const text = await readFile(join(versions.folderOf(archiveDigest), relPath), "utf8");
    const outcome = parseProjectFile(text, relPath);
    if (outcome.kind === "broken") throw new Error(outcome.message);
    const { dependencies } = outcome.project;
    if (environmentName(dependencies) !== environment) {
      throw new Error(`the packages of ${relPath} are not those that the task asks for (${environment})`);
    }
    const environments = await (this.#environments ??= this.#make());
    const state = await environments.prepare(dependencies);
    if (state.kind === "building") await state.done;
    const made = environments.known(dependencies);
    if (made?.kind !== "ready") {
      const why = made?.kind === "failed" ? made.message : "it is not there";
      throw new Error(`the packages of ${relPath} could not be installed on this agent: ${why}`);
    }
  }

  async stop(): Promise<void> {
    await (await this.#environments)?.stop();
  }

  async #make(): Promise<ProjectEnvironments> {
    const { ProjectEnvironments } = await import("../lite/workspace/project-environments.ts");
    const { paths, basePython, toolchain } = this.#deps;
    return new ProjectEnvironments(this.#kit, () => toolchain.uv(), {
      folder: paths.projectVenvs,
      basePython,
      lockFile: join(paths.program, "python/requirements.lock"),
      uvEnvironment,
    });
  }
}
