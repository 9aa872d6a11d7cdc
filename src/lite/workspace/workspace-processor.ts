import type { EventBus } from "../../domain/events.ts";
import type { ParseFile } from "../../domain/parse-result.ts";
import type { Kit, Service } from "../../kit/service.ts";
import { UserError } from "../../kit/user-error.ts";
import { dagExists, versionedArchives } from "../../store/dag-catalog-files.ts";
import type { Database } from "../../store/database.ts";
import { isWithin, NO_BUNDLES, type BundlesInWorkspace } from "./bundles-in-workspace.ts";
import { ChangePoller } from "./change-poller.ts";
import { DagFileProcessor } from "./dag-file-processor.ts";
import { DagFiles, type DagFileCounts, type ParsedDagFile } from "./dag-files.ts";
import { DagFileFinder, messageOf, parentOf, type Discovery, type Project } from "./discovery.ts";
import { FileDependencies } from "./file-dependencies.ts";
import { FolderWatcher } from "./folder-watcher.ts";
import type { IgnoreSyntax } from "./ignore-rules.ts";
import { Mutex } from "./mutex.ts";
import type { ProjectEnvironments } from "./project-environments.ts";
import { openWorkspace, type OpenWorkspace } from "./open-workspace.ts";
import { PathChanges } from "./path-changes.ts";
import { TaskOutputs } from "./task-outputs.ts";
import { TouchedPaths } from "./touched-paths.ts";
import type { BuildTasks } from "./typescript-tasks.ts";
import { VersionArchive } from "./version-archive.ts";

export interface WorkspaceProcessorConfig {
  workspace: string;
  /** `~/.leoflow/versions`. */
  versionsFolder: string;
  /** For new DAGs that do not say themselves. */
  pausedAtCreation: boolean;
  /** Identifies the Python side (its lock's hash): when it changes, everything is parsed again. */
  runtime: string;
  ignoreSyntax?: IgnoreSyntax;
  parseTimeoutSeconds?: number;
  parseMemoryMb?: number;
  concurrency?: number;
  /** Versions and environments that nothing refers to are left alone: another database may. */
  keepUnused?: boolean;
  /** Looks for changes this often, for file systems that tell nothing; by default only where the kernel has no watches left. */
  pollSeconds?: number | null;
}

export interface WorkspaceProcessorDeps {
  db: Database;
  events: EventBus;
  parse: ParseFile;
  /** Left out where nothing runs. */
  buildTasks?: BuildTasks;
  environments: ProjectEnvironments;
  bundles?: BundlesInWorkspace;
}

export interface WorkspaceStatus extends DagFileCounts {
  state: "stopped" | "starting" | "running" | "unreadable";
  /** Why the workspace cannot be read. */
  problem: string | null;
}

const FALLBACK_POLL_MS = 3_000;
const LOST_WORKSPACE_MS = 2_000;
const NO_FILES: DagFileCounts = { files: 0, unchanged: 0, parsed: 0, waiting: 0, parsing: 0, installing: 0, errors: 0 };

/** What lives from a start to a stop. */
interface Live extends OpenWorkspace {
  finder: DagFileFinder;
  files: DagFiles;
  dependencies: FileDependencies;
  archive: VersionArchive;
  changes: PathChanges;
  watcher: FolderWatcher;
  poller: ChangePoller;
  outputs: TaskOutputs;
}

/** Keeps the database's DAGs equal to the workspace's files. */
export class WorkspaceProcessor implements Service {
  readonly #kit: Kit;
  readonly #deps: WorkspaceProcessorDeps;
  readonly #config: WorkspaceProcessorConfig;
  readonly #touched: TouchedPaths;
  /** Changes are taken one after the other. */
  readonly #oneChange = new Mutex();
  readonly #catalogWrites = new Mutex();
  readonly #reported = new Set<string>();
  #live: Live | null = null;
  #state: WorkspaceStatus["state"] = "stopped";
  #problem: string | null = null;
  #folders = new Set<string>();
  #changing = 0;
  #lostTimer: NodeJS.Timeout | null = null;
  #unsubscribe: (() => void) | null = null;
  #idleWaiters: (() => void)[] = [];

  constructor(kit: Kit, deps: WorkspaceProcessorDeps, config: WorkspaceProcessorConfig) {
    this.#kit = { ...kit, logger: kit.logger.child({ part: "workspace" }) };
    this.#deps = deps;
    this.#config = config;
    this.#touched = new TouchedPaths((relPaths) => void this.#change((live) => this.#settle(live, relPaths)));
  }

  /** Looks through the workspace and starts to parse what changed; `whenIdle` tells when that is done. */
  async start(): Promise<void> {
    if (this.#state !== "stopped") return;
    this.#state = "starting";
    try {
      await this.#goLive(await this.#open());
    } catch (error) {
      this.#closeLive();
      this.#state = "stopped";
      throw error;
    }
    this.#unsubscribe = this.#deps.events.on("dag", ({ dagId }) => {
      const { files } = this.#live ?? {};
      if (files?.publishing === false) void this.#change((live) => this.#restoreDeleted(live, dagId));
    });
    void this.whenIdle().then(() => this.#cleanUp());
  }

  async stop(): Promise<void> {
    if (this.#state === "stopped") return;
    this.#state = "stopped";
    this.#unsubscribe?.();
    if (this.#lostTimer) clearTimeout(this.#lostTimer);
    this.#closeLive();
    await this.#deps.environments.stop();
    // Parses may go on in Python for a while; what they bring is dropped.
    await this.#oneChange.settled();
    await this.#catalogWrites.settled();
    for (const waiter of this.#idleWaiters.splice(0)) waiter();
  }

  /** Parses a file, or an archive by one of its modules, again though it did not change. false: the workspace has no such DAG file. */
  reparse(relativeFileloc: string): boolean {
    const relPath = this.#live?.files.at(relativeFileloc) ?? null;
    if (relPath === null) return false;
    this.#live?.files.enqueue(relPath, true);
    return true;
  }

  /** Parses a file as it is now. null: the workspace has no such DAG file, or cannot be read. */
  async parseNow(relPath: string): Promise<ParsedDagFile | null> {
    if (!this.#live?.files.has(relPath)) await this.#change((live) => this.#rescan(live));
    return (await this.#live?.files.parseNow(relPath)) ?? null;
  }

  /** Parses all files again: something outside of the workspace that they use has changed. */
  reparseAll(): void {
    for (const relPath of [...(this.#live?.files.paths() ?? [])]) this.#live?.files.enqueue(relPath, false);
  }

  /** Runs what changes the files of a folder while nobody looks for files, then parses all DAG files in it. */
  changeFolder(folder: string, change: () => Promise<void>): Promise<void> {
    return this.#change(async (live) => {
      await change();
      await this.#rescan(live);
      for (const relPath of [...live.files.paths()]) if (isWithin(relPath, folder)) live.files.enqueue(relPath, false);
    });
  }

  status(): WorkspaceStatus {
    return { state: this.#state, problem: this.#problem, ...(this.#live?.files.counts ?? NO_FILES) };
  }

  /** When everything that was seen is parsed and registered, or the processor stopped. */
  whenIdle(): Promise<void> {
    return new Promise((resolve) => {
      this.#idleWaiters.push(resolve);
      this.#checkIdle();
    });
  }

  async #open(): Promise<Live> {
    return this.#makeLive(await openWorkspace(this.#config.workspace));
  }

  async #goLive(live: Live): Promise<void> {
    this.#live = live;
    await this.#oneChange.run(() => this.#adopt(live));
    this.#state = "running";
    this.#problem = null;
    this.#watchByTime(live);
  }

  #makeLive({ workspace, inode }: OpenWorkspace): Live {
    const config = this.#config;
    const archive = new VersionArchive(config.versionsFolder, workspace, (relPath) => files.has(relPath));
    const dependencies = new FileDependencies(workspace);
    const { db, events, parse, buildTasks, environments } = this.#deps;
    const catalogWrites = this.#catalogWrites;
    const bundles = this.#deps.bundles ?? NO_BUNDLES;
    const shared = { db, environments, archive, dependencies, bundles, catalogWrites };
    const processor = new DagFileProcessor(
      this.#kit,
      { ...shared, parse, buildTasks, isPresent: (relPath) => files.has(relPath) },
      {
        workspace,
        pausedAtCreation: config.pausedAtCreation,
        parseTimeoutSeconds: config.parseTimeoutSeconds ?? 30,
        parseMemoryMb: config.parseMemoryMb ?? 1024,
        runtime: config.runtime,
      },
    );
    const files: DagFiles = new DagFiles(
      this.#kit,
      { ...shared, events, processor, onProgress: () => this.#progress() },
      { concurrency: config.concurrency ?? 2, runtime: config.runtime },
    );
    const finder = new DagFileFinder(workspace, config.ignoreSyntax ?? "glob", bundles.roots);
    const touch = (relPath: string, quietMs?: number) => this.#touched.touch(relPath, quietMs);
    return {
      workspace,
      inode,
      finder,
      files,
      dependencies,
      archive,
      changes: new PathChanges(workspace, { finder, files, dependencies, archive, touchLater: touch }),
      outputs: new TaskOutputs(this.#kit, { db, events, archive }),
      watcher: new FolderWatcher(this.#kit.logger, workspace, touch),
      poller: new ChangePoller(
        workspace,
        () => new Set([...files.paths(), ...dependencies.paths()]),
        (changed) =>
          this.#change(async (live) => {
            await this.#rescan(live);
            if (changed.length > 0) await this.#settle(live, changed);
          }),
      ),
    };
  }

  #closeLive(): void {
    this.#touched.clear();
    this.#live?.watcher.close();
    this.#live?.poller.stop();
    this.#live?.files.stop();
    this.#live?.outputs.stop();
    this.#live = null;
  }

  async #adopt(live: Live): Promise<void> {
    const found = await this.#scan(live);
    await live.files.adopt(found.dagFiles, (relPath) => isBelow(relPath, found.unreadable));
  }

  async #rescan(live: Live): Promise<void> {
    const before = this.#folders;
    const found = await this.#scan(live);
    this.#touchModulesOf(live, before);
    const dagFiles = new Map(found.dagFiles);
    for (const relPath of live.files.paths()) {
      // Its folder cannot be read at the moment: that does not mean it is gone.
      if (isBelow(relPath, found.unreadable) && !dagFiles.has(relPath))
        dagFiles.set(relPath, live.files.projectOf(relPath));
    }
    await live.files.replace(dagFiles);
    this.#watchByTime(live);
  }

  /** Nobody told of the files in folders that came or went as a whole. */
  #touchModulesOf(live: Live, before: ReadonlySet<string>): void {
    const moved = (folder: string) => before.has(folder) !== this.#folders.has(folder);
    for (const path of live.dependencies.paths()) if (moved(parentOf(path))) this.#touched.touch(path);
    if ([...this.#folders].some((folder) => !before.has(folder))) live.files.retryFailedImports();
  }

  /** Watches what it finds, then looks again: something may have come between the look and the watch. */
  async #scan(live: Live): Promise<Discovery> {
    let found = await live.finder.scan();
    for (let round = 0; round < 3; round++) {
      this.#folders = found.folders;
      if (this.#watch(live).length === 0) break;
      found = await live.finder.scan();
    }
    const problems = [...found.problems, ...found.unreadable.map(({ relPath, message }) => `${relPath}: ${message}`)];
    for (const problem of problems) if (!this.#reported.has(problem)) this.#kit.logger.warn(problem);
    for (const project of found.projects) this.#reportUnused(project);
    this.#reported.clear();
    for (const problem of problems) this.#reported.add(problem);
    return found;
  }

  /** Also folders that are not scanned but hold something a DAG file depends on. */
  #watch(live: Live): string[] {
    return live.watcher.watchOnly(new Set([...this.#folders, ...live.dependencies.folders()]));
  }

  #reportUnused(project: Project): void {
    if (project.outcome.kind !== "read" || project.outcome.project.unused.length === 0) return;
    const note = `${project.folder || "."}/leoflow.yaml: kept for images and Pro, without effect in Lite: ${project.outcome.project.unused.join(", ")}`;
    if (!this.#reported.has(note)) this.#kit.logger.info(note);
    this.#reported.add(note);
  }

  async #settle(live: Live, relPaths: readonly string[]): Promise<void> {
    if (!(await this.#isThere(live))) return;
    if (await live.changes.take(relPaths, this.#folders)) await this.#rescan(live);
  }

  /** A DAG that was deleted through the API comes back while its file is there, as in Airflow. */
  async #restoreDeleted(live: Live, dagId: string): Promise<void> {
    const relPath = live.files.fileOf(dagId);
    if (relPath !== null && !(await dagExists(this.#deps.db, dagId))) live.files.enqueue(relPath, true);
  }

  /** Runs one change of what is known. Nothing may reject: nobody waits for it. */
  async #change(work: (live: Live) => Promise<void>): Promise<void> {
    this.#changing++;
    await this.#oneChange.run(async () => {
      const live = this.#live;
      if (!live || this.#state === "stopped") return;
      try {
        await work(live);
      } catch (error) {
        if (await this.#isThere(live))
          this.#kit.logger.error({ err: error }, "could not take a change of the workspace");
      }
    });
    this.#changing--;
    this.#checkIdle();
  }

  async #isThere(live: Live): Promise<boolean> {
    try {
      const { workspace, inode } = await openWorkspace(this.#config.workspace);
      if (workspace === live.workspace && inode === live.inode) return true;
      // The old watches look at what was there before.
      this.#lose(live, new UserError(`the workspace ${this.#config.workspace} is another folder now`));
    } catch (error) {
      this.#lose(live, error);
    }
    return false;
  }

  /** Everything stays live as it was; the workspace is looked for until it is back. */
  #lose(live: Live, error: unknown): void {
    if (this.#state !== "running" || this.#live !== live) return;
    this.#state = "unreadable";
    this.#problem = messageOf(error);
    this.#kit.logger.error(`${this.#problem}; DAGs stay as they are until it is back`);
    this.#closeLive();
    this.#lookForIt();
  }

  #lookForIt(): void {
    this.#lostTimer = setTimeout(() => {
      void (async () => {
        let live: Live | null = null;
        try {
          const back = await this.#open();
          if (this.#state !== "unreadable") return;
          live = back;
          await this.#goLive(back);
          this.#kit.logger.info("the workspace is back");
        } catch {
          if (live) this.#closeLive();
          if (this.#state === "unreadable") this.#lookForIt();
        }
      })();
    }, LOST_WORKSPACE_MS);
  }

  #watchByTime(live: Live): void {
    const seconds = this.#config.pollSeconds;
    if (seconds) live.poller.start(seconds * 1000);
    else if (live.watcher.limitReached) live.poller.start(FALLBACK_POLL_MS);
    else live.poller.stop();
  }

  async #cleanUp(): Promise<void> {
    try {
      if (this.#state !== "running" || !this.#live || this.#config.keepUnused) return;
      const { digests, environments } = await versionedArchives(this.#deps.db);
      await this.#deps.environments.refreshOutdated(environments);
      for (const name of this.#live?.files.environments() ?? []) environments.add(name);
      await this.#live?.archive.collectGarbage(digests, Date.now());
      await this.#deps.environments.collectGarbage(environments, Date.now());
    } catch (error) {
      this.#kit.logger.warn({ err: error }, "could not clean up versions nothing refers to");
    }
  }

  #progress(): void {
    if (this.#live && [...this.#live.dependencies.folders()].some((folder) => !this.#folders.has(folder))) {
      this.#watch(this.#live);
    }
    this.#checkIdle();
  }

  #checkIdle(): void {
    const idle = this.#state === "stopped" || (this.#changing === 0 && (this.#live?.files.idle ?? true));
    if (idle) for (const waiter of this.#idleWaiters.splice(0)) waiter();
  }
}

function isBelow(relPath: string, folders: readonly { relPath: string }[]): boolean {
  return folders.some((folder) => isWithin(relPath, folder.relPath));
}
