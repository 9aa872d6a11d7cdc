import type { EventBus } from "../../domain/events.ts";
import type { Kit } from "../../kit/service.ts";
import { loadCatalogFiles, removeDagFiles, type CatalogFile } from "../../store/dag-catalog-files.ts";
import type { Database } from "../../store/database.ts";
import type { BundlesInWorkspace } from "./bundles-in-workspace.ts";
import type { DagFileProcessor, ProcessOutcome } from "./dag-file-processor.ts";
import { messageOf, parentOf, type Project } from "./discovery.ts";
import type { FileDependencies } from "./file-dependencies.ts";
import type { Mutex } from "./mutex.ts";
import { ParseQueue, type Lane } from "./parse-queue.ts";
import { environmentName, type ProjectEnvironments } from "./project-environments.ts";
import type { Listings, VersionArchive } from "./version-archive.ts";

/** Parses of a file that keeps changing, before what comes of it is taken. */
const ATTEMPTS = 3;
const IMPORT_FAILED = /\b(ImportError|ModuleNotFoundError)\b/;

export interface DagFilesDeps {
  db: Database;
  events: EventBus;
  processor: DagFileProcessor;
  environments: ProjectEnvironments;
  archive: VersionArchive;
  dependencies: FileDependencies;
  bundles: BundlesInWorkspace;
  /** Shared with the processor. */
  catalogWrites: Mutex;
  /** Something came to an end. */
  onProgress(): void;
}

export interface DagFileCounts {
  files: number;
  /** Files that were as the database knows them. */
  unchanged: number;
  /** Parses that came to an end. */
  parsed: number;
  waiting: number;
  parsing: number;
  /** Files that wait for their environment. */
  installing: number;
  errors: number;
}

interface Known {
  dagIds: readonly string[];
  digest: string | null;
  error: string | null;
  /** dag_ids it lost to a file that defined them first. */
  wants: readonly string[];
}

/** What a parse brought. */
export interface ParsedDagFile {
  /** Its DAGs; with an error those that are still live, too. */
  dagIds: readonly string[];
  error: string | null;
  /** DAGs that stay with the file that defined them first. */
  conflicts: readonly { dagId: string; owner: string }[];
}

/** The workspace's DAG files: which there are, what came of each, and which are to be parsed. */
export class DagFiles {
  readonly #kit: Kit;
  readonly #deps: DagFilesDeps;
  readonly #runtime: string;
  readonly #queue: ParseQueue;
  #present = new Map<string, Project | null>();
  readonly #known = new Map<string, Known>();
  readonly #attempts = new Map<string, number>();
  readonly #installing = new Set<string>();
  /** Who waits for a file's next parse. */
  readonly #waiting = new Map<string, ((parsed: ParsedDagFile | null) => void)[]>();
  #unchanged = 0;
  #parsed = 0;
  #publishing = false;
  #stopped = false;

  constructor(kit: Kit, deps: DagFilesDeps, config: { concurrency: number; runtime: string }) {
    this.#kit = kit;
    this.#deps = deps;
    this.#runtime = config.runtime;
    const base: Lane = { name: "base", limit: config.concurrency };
    // Warming another environment's Python takes seconds; the files that need none must not wait for it.
    const projects: Lane = { name: "projects", limit: 1 };
    this.#queue = new ParseQueue(
      (relPath) => (dependenciesOf(this.projectOf(relPath)).length > 0 ? projects : base),
      (relPath) => this.#process(relPath),
    );
  }

  has(relPath: string): boolean {
    return !this.#stopped && this.#present.has(relPath);
  }

  /** The DAG file of what Airflow calls `relative_fileloc`, which may be a module of an archive. */
  at(relativeFileloc: string): string | null {
    return [relativeFileloc, parentOf(relativeFileloc)].find((relPath) => this.has(relPath)) ?? null;
  }

  projectOf(relPath: string): Project | null {
    return this.#present.get(relPath) ?? null;
  }

  paths(): Iterable<string> {
    return this.#present.keys();
  }

  /** Archives of the versions that are live. */
  archives(): Set<string> {
    return new Set([...this.#known.values()].flatMap(({ digest }) => digest ?? []));
  }

  /** Environments the present projects want. */
  environments(): Set<string> {
    const wanted = [...this.#present.values()].map((project) => environmentName(dependenciesOf(project)));
    return new Set(wanted);
  }

  /** true while listeners hear of our own changes. */
  get publishing(): boolean {
    return this.#publishing;
  }

  fileOf(dagId: string): string | null {
    return [...this.#known].find(([, { dagIds }]) => dagIds.includes(dagId))?.[0] ?? null;
  }

  get counts(): DagFileCounts {
    return {
      files: this.#present.size,
      unchanged: this.#unchanged,
      parsed: this.#parsed,
      waiting: this.#queue.waiting,
      parsing: this.#queue.running,
      installing: this.#installing.size,
      errors: [...this.#known.values()].filter(({ error }) => error !== null).length,
    };
  }

  get idle(): boolean {
    return this.#queue.waiting + this.#queue.running + this.#installing.size === 0;
  }

  /** Takes the workspace as it is found at the start: parses only what is not as the database knows it. */
  async adopt(found: ReadonlyMap<string, Project | null>, mayBePresent: (relPath: string) => boolean): Promise<void> {
    this.#present = new Map(found);
    const catalog = await loadCatalogFiles(this.#deps.db);
    await this.#remove(catalog.map(({ relPath }) => relPath).filter((path) => !found.has(path) && !mayBePresent(path)));
    const byPath = new Map(catalog.map((file) => [file.relPath, file]));
    const listings: Listings = new Map();
    const unknown: string[] = [];
    const broken: string[] = [];
    for (const [relPath, project] of found) {
      const file = byPath.get(relPath);
      if (file && (await this.#adoptUnchanged(file, project, listings))) this.#unchanged++;
      else (file?.hasError ? broken : unknown).push(relPath);
    }
    // What is new first; what failed before most likely fails again.
    for (const relPath of [...unknown, ...broken]) this.enqueue(relPath, false);
  }

  /** Takes a later scan: parses what is new or whose project changed, removes what went. */
  async replace(found: ReadonlyMap<string, Project | null>): Promise<void> {
    const before = this.#present;
    this.#present = new Map(found);
    await this.#remove([...before.keys()].filter((relPath) => !found.has(relPath)));
    for (const [relPath, project] of found) {
      const earlier = before.get(relPath);
      if (earlier === undefined || JSON.stringify(earlier) !== JSON.stringify(project)) this.enqueue(relPath, true);
    }
  }

  enqueue(relPath: string, urgent: boolean): void {
    const project = this.#present.get(relPath);
    if (project === undefined || this.#stopped) return;
    const dependencies = dependenciesOf(project);
    const environment = this.#deps.environments.known(dependencies);
    if (environment?.kind === "ready") this.#queue.add(relPath, urgent);
    else if (!this.#installing.has(relPath)) {
      this.#installing.add(relPath);
      void this.#whenInstalled(relPath, dependencies);
    }
  }

  /** Parses a file again, before all others. null: there is no such DAG file, or it went, or we are stopping. */
  parseNow(relPath: string): Promise<ParsedDagFile | null> {
    if (!this.has(relPath)) return Promise.resolve(null);
    return new Promise((resolve) => {
      const waiting = this.#waiting.get(relPath);
      if (waiting) waiting.push(resolve);
      else this.#waiting.set(relPath, [resolve]);
      this.enqueue(relPath, true);
    });
  }

  /** A module came or changed: what failed to import something may now find it. */
  retryFailedImports(): void {
    for (const [relPath, { error }] of this.#known) {
      if (error !== null && IMPORT_FAILED.test(error)) this.enqueue(relPath, true);
    }
  }

  stop(): void {
    this.#stopped = true;
    this.#queue.clear();
    for (const relPath of [...this.#waiting.keys()]) this.#tell(relPath, null);
  }

  #tell(relPath: string, parsed: ParsedDagFile | null): void {
    const waiting = this.#waiting.get(relPath) ?? [];
    this.#waiting.delete(relPath);
    for (const tell of waiting) tell(parsed);
  }

  async #whenInstalled(relPath: string, dependencies: readonly string[]): Promise<void> {
    try {
      const state = await this.#deps.environments.prepare(dependencies);
      if (state.kind === "building") await state.done;
    } finally {
      this.#installing.delete(relPath);
      if (this.has(relPath)) this.#queue.add(relPath, true);
      this.#deps.onProgress();
    }
  }

  async #adoptUnchanged(file: CatalogFile, project: Project | null, listings: Listings): Promise<boolean> {
    const [first] = file.dags;
    if (file.hasError || !first || project?.outcome.kind === "broken") return false;
    const dependencies = dependenciesOf(project);
    const bundle = await this.#deps.bundles.of(file.relPath);
    const same = file.dags.every(
      ({ archiveDigest, environment, bundleName, bundleVersion }) =>
        archiveDigest === first.archiveDigest &&
        environment === environmentName(dependencies) &&
        bundleName === bundle.name &&
        bundleVersion === bundle.version,
    );
    if (!same || (await this.#deps.environments.prepare(dependencies)).kind !== "ready") return false;
    const sources = await this.#deps.archive.unchangedSources(first.archiveDigest, file.relPath, this.#runtime);
    if (!sources) return false;
    await this.#deps.dependencies.record(file.relPath, {
      sources: [file.relPath, ...sources.files, ...sources.templates],
      reads: sources.reads,
    });
    const dagIds = file.dags.map(({ dagId }) => dagId);
    this.#known.set(file.relPath, { dagIds, digest: first.archiveDigest, error: null, wants: [] });
    await this.#deps.archive.refreshLinks(first.archiveDigest, listings);
    return true;
  }

  async #process(relPath: string): Promise<void> {
    const project = this.#present.get(relPath);
    if (project === undefined || this.#stopped) return;
    const attempt = (this.#attempts.get(relPath) ?? 0) + 1;
    let outcome: ProcessOutcome;
    try {
      outcome = await this.#deps.processor.process(relPath, project, attempt >= ATTEMPTS);
    } catch (error) {
      // Disk full, database away: the file stays as it was; saving it or the next start tries again.
      this.#kit.logger.error({ err: error, file: relPath }, "could not register a DAG file");
      outcome = { kind: "dropped" };
    }
    this.#attempts.delete(relPath);
    if (outcome.kind === "changed-meanwhile") {
      this.#attempts.set(relPath, attempt);
      this.enqueue(relPath, true);
    } else if (outcome.kind === "waiting") this.enqueue(relPath, false);
    else if (outcome.kind === "registered") this.#take(relPath, outcome);
    else this.#tell(relPath, null);
    // The queue counts this file as running until we return.
    setImmediate(() => this.#deps.onProgress());
  }

  #take(relPath: string, outcome: Extract<ProcessOutcome, { kind: "registered" }>): void {
    this.#parsed++;
    const before = this.#known.get(relPath);
    const failed = outcome.error !== null;
    this.#known.set(relPath, {
      // With an error, what it defined before is still live.
      dagIds: failed ? [...new Set([...(before?.dagIds ?? []), ...outcome.dagIds])] : outcome.dagIds,
      digest: outcome.digest ?? (failed ? (before?.digest ?? null) : null),
      error: outcome.error,
      wants: outcome.conflicts.map(({ dagId }) => dagId),
    });
    const { changed, released } = outcome;
    this.#kit.logger.debug({ file: relPath, dags: outcome.dagIds, changed, failed }, "parsed");
    if (failed && before?.error !== outcome.error) {
      this.#kit.logger.warn({ file: relPath }, `import error: ${outcome.error?.trim().split("\n").at(-1) ?? ""}`);
    }
    this.#publish(changed);
    this.#tell(relPath, { dagIds: outcome.dagIds, error: outcome.error, conflicts: outcome.conflicts });
    this.#offer(released);
  }

  async #remove(relPaths: readonly string[]): Promise<void> {
    if (relPaths.length === 0) return;
    for (const relPath of relPaths) {
      this.#queue.remove(relPath);
      this.#known.delete(relPath);
      this.#attempts.delete(relPath);
      this.#deps.dependencies.forget(relPath);
      this.#tell(relPath, null);
    }
    const dagIds = await this.#deps.catalogWrites.run(() => removeDagFiles(this.#deps.db, relPaths));
    this.#kit.logger.info({ files: relPaths, dags: dagIds }, "DAG files removed");
    this.#publish(dagIds);
    this.#offer(dagIds);
  }

  /** These dag_ids are free: a file that also defines one may have it. */
  #offer(dagIds: readonly string[]): void {
    if (dagIds.length === 0) return;
    for (const [relPath, { wants }] of this.#known) {
      if (wants.some((dagId) => dagIds.includes(dagId))) this.enqueue(relPath, true);
    }
  }

  #publish(dagIds: readonly string[]): void {
    this.#publishing = true;
    try {
      for (const dagId of dagIds) this.#deps.events.publish({ kind: "dag", dagId });
    } catch (error) {
      this.#kit.logger.error({ err: error }, `a listener failed: ${messageOf(error)}`);
    } finally {
      this.#publishing = false;
    }
  }
}

function dependenciesOf(project: Project | null): readonly string[] {
  return project?.outcome.kind === "read" ? project.outcome.project.dependencies : [];
}
