import { join, posix } from "node:path";
import type { ParseFile, ParseRequest, ParseResult, ProjectOverlay } from "../../domain/parse-result.ts";
import type { Kit } from "../../kit/service.ts";
import { registerDagFile, type DagFileOutcome } from "../../store/dag-catalog.ts";
import type { Database } from "../../store/database.ts";
import type { BundlesInWorkspace, BundleVersion } from "./bundles-in-workspace.ts";
import { messageOf, type Project } from "./discovery.ts";
import type { FileDependencies } from "./file-dependencies.ts";
import type { Mutex } from "./mutex.ts";
import { DEFAULT_ENVIRONMENT, type ProjectEnvironments } from "./project-environments.ts";
import type { BuildTasks, TypeScriptTasks } from "./typescript-tasks.ts";
import type { VersionArchive } from "./version-archive.ts";

export interface DagFileProcessorConfig {
  /** Real path. */
  workspace: string;
  pausedAtCreation: boolean;
  parseTimeoutSeconds: number;
  parseMemoryMb: number;
  /** Identifies the Python side; another one parses everything again. */
  runtime: string;
}

export interface DagFileProcessorDeps {
  db: Database;
  parse: ParseFile;
  /** Of DAGs with tasks in TypeScript; left out where nothing runs. */
  buildTasks?: BuildTasks | undefined;
  environments: ProjectEnvironments;
  archive: VersionArchive;
  dependencies: FileDependencies;
  bundles: BundlesInWorkspace;
  /** Held while the catalog is written, so that a file's removal and its registration keep their order. */
  catalogWrites: Mutex;
  isPresent(relPath: string): boolean;
}

export type ProcessOutcome =
  /** `digest`: the archive of its DAGs, null without DAGs. */
  | ({ kind: "registered"; digest: string | null; dagIds: string[]; error: string | null } & DagFileOutcome)
  /** It or something it imports was saved while it was parsed: what came of it may be half of each. */
  | { kind: "changed-meanwhile"; relPath: string }
  /** Its environment is being installed; it comes again when that is done. */
  | { kind: "waiting" }
  /** It went while it was parsed, or we are stopping. */
  | { kind: "dropped" };

/** Takes one DAG file from disk to live: environment, parse, archive, registration, event. */
export class DagFileProcessor {
  readonly #kit: Kit;
  readonly #deps: DagFileProcessorDeps;
  readonly #config: DagFileProcessorConfig;

  constructor(kit: Kit, deps: DagFileProcessorDeps, config: DagFileProcessorConfig) {
    this.#kit = kit;
    this.#deps = deps;
    this.#config = config;
  }

  /** `acceptChanges`: take the result even when files changed meanwhile; something may write them on every import. */
  async process(relPath: string, project: Project | null, acceptChanges: boolean): Promise<ProcessOutcome> {
    const bundle = await this.#deps.bundles.of(relPath);
    if (project?.outcome.kind === "broken") return this.#reject(relPath, bundle, project.outcome.message);
    const environment = this.#deps.environments.known(project?.outcome.project.dependencies ?? []);
    if (environment === null || environment.kind === "building") return { kind: "waiting" };
    if (environment.kind === "failed") {
      return this.#reject(
        relPath,
        bundle,
        `could not install the dependencies of ${project?.folder || "."}\n\n${environment.message}`,
      );
    }

    const overlay = overlayFor(relPath, project);
    // The clock of file times: see FileDependencies.changedSince.
    const startedMs = Date.now();
    const parsed = await this.#parse({
      workspace: this.#config.workspace,
      path: join(this.#config.workspace, relPath),
      relPath,
      projectPath: project ? join(this.#config.workspace, project.folder) : null,
      environment: environment.name,
      timeoutSeconds: this.#config.parseTimeoutSeconds,
      memoryMb: this.#config.parseMemoryMb,
      overlay,
    });
    const { dependencies, archive, buildTasks } = this.#deps;
    const tasks = (await buildTasks?.(this.#config.workspace, relPath, parsed.dags)) ?? null;
    const result = tasks ? withTasks(parsed, tasks) : parsed;
    if (!this.#deps.isPresent(relPath)) return { kind: "dropped" };
    // A module that failed to import was only read.
    const modulesRead = result.reads.filter((read) => read.endsWith(".py"));
    const sources = [...new Set([relPath, ...result.files, ...result.templates, ...modulesRead])];
    if (!acceptChanges) {
      const changed = await dependencies.changedSince([...sources, ...result.reads], startedMs);
      if (changed !== null) return { kind: "changed-meanwhile", relPath: changed };
    }
    // A child that was killed told nothing: what the file imported before is the best guess.
    if (result.failure === null || !dependencies.isKnown(relPath)) {
      await dependencies.record(relPath, { sources, reads: result.reads });
    }

    let digest: string | null = null;
    if (result.dags.length > 0) {
      const { files, templates, reads } = result;
      const kept = await archive.keep(
        {
          relPath,
          projectFolder: project?.folder ?? null,
          overlay,
          files,
          templates,
          reads,
          runtime: this.#config.runtime,
        },
        acceptChanges ? Infinity : startedMs,
        tasks?.made,
      );
      if (kept.kind === "changed-meanwhile") return kept;
      digest = kept.digest;
    }
    // The files may be those of another version by now, whatever their times say.
    if ((await this.#deps.bundles.of(relPath)) !== bundle) return { kind: "changed-meanwhile", relPath };
    return this.#register(relPath, bundle, digest, environment.name, result, errorsOf(relPath, result));
  }

  async #parse(request: ParseRequest): Promise<ParseResult> {
    try {
      return await this.#deps.parse(request);
    } catch (error) {
      this.#kit.logger.error({ err: error, file: request.relPath }, "the parser itself failed");
      return emptyResult({ kind: "crash", message: `the parser failed: ${messageOf(error)}` });
    }
  }

  /** An error found before parsing. */
  #reject(relPath: string, bundle: BundleVersion, message: string): Promise<ProcessOutcome> {
    return this.#register(relPath, bundle, null, DEFAULT_ENVIRONMENT, emptyResult(null), new Map([[relPath, message]]));
  }

  #register(
    relPath: string,
    bundle: BundleVersion,
    digest: string | null,
    environment: string,
    result: ParseResult,
    importErrors: ReadonlyMap<string, string>,
  ): Promise<ProcessOutcome> {
    return this.#deps.catalogWrites.run(async () => {
      if (!this.#deps.isPresent(relPath)) return { kind: "dropped" };
      const outcome = await registerDagFile(this.#deps.db, {
        relPath,
        bundle,
        fileloc: join(this.#config.workspace, relPath),
        archiveDigest: digest ?? "",
        environment,
        dags: result.dags,
        warnings: result.warnings.flatMap(({ dagId, ...rest }) => (dagId === null ? [] : [{ dagId, ...rest }])),
        importErrors,
        parsedAt: this.#kit.clock.now(),
        durationSeconds: result.durationSeconds,
        pausedAtCreation: this.#config.pausedAtCreation,
        isPresent: (owner) => this.#deps.isPresent(owner),
      });
      const lost = new Set(outcome.conflicts.map(({ dagId }) => dagId));
      const dagIds = result.dags.map(({ dagId }) => dagId).filter((dagId) => !lost.has(dagId));
      const error = importErrors.size === 0 ? null : [...importErrors.values()].join("\n\n");
      return { kind: "registered", digest, dagIds, error, ...outcome };
    });
  }
}

/** leoflow.yaml is about the DAG of one file; others of the project share its environment. */
export function overlayFor(relPath: string, project: Project | null): ProjectOverlay | null {
  if (project?.outcome.kind !== "read") return null;
  const { overlay, dagSource } = project.outcome.project;
  return relPath === posix.join(project.folder, dagSource) ? overlay : null;
}

/** A DAG is of no use while a task of it cannot run: the version before stays live. */
export function withTasks(parsed: ParseResult, { files, reads, problem }: TypeScriptTasks): ParseResult {
  const all = { ...parsed, files: [...parsed.files, ...files], reads: [...parsed.reads, ...reads] };
  if (problem === null) return all;
  const [filename = ""] = files;
  return { ...all, dags: [], importErrors: [...parsed.importErrors, { filename, stacktrace: problem }] };
}

/** Errors as the UI shows them, tracebacks or why the child was ended: of the file, or of modules of an archive. */
function errorsOf(relPath: string, { failure, importErrors }: ParseResult): ReadonlyMap<string, string> {
  if (failure !== null) return new Map([[relPath, failure.message]]);
  const errors = new Map<string, string>();
  for (const { filename, stacktrace } of importErrors) {
    const place = filename.startsWith(`${relPath}/`) ? filename : relPath;
    errors.set(place, [errors.get(place) ?? [], stacktrace].flat().join("\n\n"));
  }
  return errors;
}

function emptyResult(failure: ParseResult["failure"]): ParseResult {
  return {
    dags: [],
    importErrors: [],
    warnings: [],
    files: [],
    templates: [],
    reads: [],
    durationSeconds: 0,
    failure,
  };
}
