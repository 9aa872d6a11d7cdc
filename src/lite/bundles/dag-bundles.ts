import { existsSync } from "node:fs";
import { realpath } from "node:fs/promises";
import { join, posix } from "node:path";
import type { Kit, Service } from "../../kit/service.ts";
import { UserError } from "../../kit/user-error.ts";
import {
  DAGS_FOLDER,
  isWithin,
  type BundlesInWorkspace,
  type BundleVersion,
} from "../workspace/bundles-in-workspace.ts";
import { claimFolder, newMountName, removeMount, removeMounts, rootOf } from "./bundle-folder.ts";
import type { BundleSettings, GitBundle, LocalBundle } from "./bundle-settings.ts";
import { checkGit, GitMirror, withoutPasswords } from "./git-mirror.ts";

export interface DagBundlesDeps {
  /** Runs what changes the files of this folder of the workspace while nobody looks for files, then has its DAGs parsed. */
  changeFolder(folder: string, change: () => Promise<void>): Promise<void>;
}

export interface DagBundlesConfig {
  bundles: readonly BundleSettings[];
  workspace: string;
  /** `~/.leoflow/bundles`: a bare repository per git bundle. */
  mirrorsFolder: string;
}

interface Kept {
  settings: BundleSettings;
  version: BundleVersion;
  /** While files are being changed. */
  changing: Promise<void> | null;
  timer: NodeJS.Timeout | null;
  refreshing: Promise<void>;
  failing: boolean;
}

/**
 * Airflow's DAG bundles as folders of the workspace, where they are watched, parsed and kept as versions as everything there.
 * A git bundle's folder holds the files of one commit; a local bundle's is a link.
 */
export class DagBundles implements Service, BundlesInWorkspace {
  readonly roots: Map<string, string>;
  readonly #kit: Kit;
  readonly #deps: DagBundlesDeps;
  readonly #config: DagBundlesConfig;
  readonly #kept: Map<string, Kept>;
  readonly #stopped = new AbortController();

  constructor(kit: Kit, deps: DagBundlesDeps, config: DagBundlesConfig) {
    this.#kit = { ...kit, logger: kit.logger.child({ part: "bundles" }) };
    this.#deps = deps;
    this.#config = config;
    this.roots = new Map(config.bundles.map((bundle) => [bundle.name, rootOf(bundle)]));
    this.#kept = new Map(config.bundles.map((settings) => [settings.name, keptFor(settings)]));
  }

  /** The folders as they were left, before the workspace is looked through. Throws UserError for what only the user can mend. */
  async prepare(): Promise<void> {
    const git = this.#config.bundles.find(({ kind }) => kind === "git");
    if (git) await checkGit(git.name);
    await removeMounts(this.#config.workspace);
    for (const kept of this.#kept.values()) {
      const { settings } = kept;
      if (settings.kind === "local") await this.#checkLocal(settings);
      await claimFolder(this.#config.workspace, settings);
      if (settings.kind === "git") await this.#restore(kept, settings);
    }
  }

  /** Brings every git bundle up to date, now and at its interval. Does not wait for the network. */
  start(): Promise<void> {
    for (const kept of this.#kept.values()) if (kept.settings.kind === "git") this.#refresh(kept, kept.settings);
    return Promise.resolve();
  }

  async stop(): Promise<void> {
    this.#stopped.abort(new Error("stopping"));
    for (const { timer } of this.#kept.values()) if (timer) clearTimeout(timer);
    await Promise.all([...this.#kept.values()].map(({ refreshing }) => refreshing));
  }

  /**
   * Brings one DAG file in from wherever it is, until it is unmounted: `file` is its path below `folder`, where its modules are.
   * Returns its path below the workspace. Throws what the file system says.
   */
  async mount(folder: string, file: string): Promise<string> {
    const name = newMountName();
    const settings: LocalBundle = { kind: "local", name, path: folder };
    const relPath = posix.join(rootOf(settings), file);
    this.roots.set(name, relPath);
    this.#kept.set(name, { ...keptFor(settings), version: { name, version: null, isTried: true } });
    try {
      await claimFolder(this.#config.workspace, settings);
    } catch (error) {
      await this.unmount(relPath);
      throw error;
    }
    await this.#deps.changeFolder(name, () => Promise.resolve());
    return relPath;
  }

  /** Its DAGs leave with it; their runs stay in the history. */
  async unmount(relPath: string): Promise<void> {
    const name = relPath.split("/")[0] as string;
    this.roots.delete(name);
    this.#kept.delete(name);
    await removeMount(this.#config.workspace, name);
    await this.#deps.changeFolder(name, () => Promise.resolve());
  }

  async of(relPath: string): Promise<BundleVersion> {
    const kept = this.#kept.get(relPath.split("/")[0] as string);
    if (!kept || !relPath.includes("/")) return DAGS_FOLDER;
    while (kept.changing) await kept.changing;
    return kept.version;
  }

  async #checkLocal({ name, path }: LocalBundle): Promise<void> {
    const [workspace, real] = await Promise.all([realpath(this.#config.workspace), realpath(path).catch(() => null)]);
    if (real === null) this.#kit.logger.warn(`the DAG bundle ${name}: there is no ${path}`);
    else if (isWithin(real, workspace) || isWithin(workspace, real)) {
      throw new UserError(`the DAG bundle ${name}: ${path} and the workspace ${workspace} lie in one another`, {
        fix: "what lies in the workspace needs no bundle; choose a folder outside of it, or another workspace",
      });
    }
  }

  /** A checkout that was cut short is finished; without a network that would be the only way to whole files. */
  async #restore(kept: Kept, { name }: GitBundle): Promise<void> {
    const mirror = this.#mirror(name);
    const commit = await mirror.head();
    if (commit === null) return;
    await mirror.checkOut(commit, join(this.#config.workspace, name));
    kept.version = { name, version: commit };
  }

  #refresh(kept: Kept, settings: GitBundle): void {
    kept.refreshing = this.#update(kept, settings)
      .then(() => {
        if (kept.failing) this.#kit.logger.info(`the DAG bundle ${settings.name} can be reached again`);
        kept.failing = false;
      })
      .catch((error: unknown) => this.#report(kept, settings, error))
      .finally(() => {
        if (this.#stopped.signal.aborted) return;
        kept.timer = setTimeout(() => this.#refresh(kept, settings), settings.refreshSeconds * 1000);
      });
  }

  async #update(kept: Kept, { name, repoUrl, trackingRef }: GitBundle): Promise<void> {
    const mirror = this.#mirror(name);
    await mirror.fetch(repoUrl);
    const commit = await mirror.resolve(trackingRef);
    if (commit === null) throw new Error(`${trackingRef} is neither a branch, nor a tag, nor a commit there`);
    if (commit === kept.version.version) return;
    let failure: { error: unknown } | null = null;
    await this.#deps.changeFolder(name, async () => {
      const change = mirror.checkOut(commit, join(this.#config.workspace, name)).then(
        () => void (kept.version = { name, version: commit }),
        (error: unknown) => void (failure = { error }),
      );
      kept.changing = change;
      await change;
      kept.changing = null;
    });
    if (failure) throw (failure as { error: unknown }).error;
    // The workspace was away, or we are stopping: the next time.
    if (this.#kept.get(name)?.version.version !== commit) return;
    this.#kit.logger.info({ bundle: name, commit }, "a DAG bundle has a new version");
    const root = this.roots.get(name) as string;
    if (!existsSync(join(this.#config.workspace, root))) {
      this.#kit.logger.warn(`the DAG bundle ${name} has no DAGs: there is no folder ${root} at ${commit}`);
    }
  }

  /** Said once, not at every interval: what was there stays as it is. */
  #report(kept: Kept, { name, repoUrl }: GitBundle, error: unknown): void {
    if (this.#stopped.signal.aborted) return;
    const reason = error instanceof Error ? error.message : String(error);
    const left = kept.version.version === null ? "it has no DAGs yet" : "its DAGs stay as they are";
    const line = `could not update the DAG bundle ${name} from ${withoutPasswords(repoUrl)} (${left}): ${reason}`;
    if (kept.failing) this.#kit.logger.debug(line);
    else this.#kit.logger.warn(line);
    kept.failing = true;
  }

  #mirror(name: string): GitMirror {
    return new GitMirror(join(this.#config.mirrorsFolder, `${name}.git`), this.#stopped.signal);
  }
}

function keptFor(settings: BundleSettings): Kept {
  const version = { name: settings.name, version: null };
  return { settings, version, changing: null, timer: null, refreshing: Promise.resolve(), failing: false };
}
