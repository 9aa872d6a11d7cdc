import { randomBytes } from "node:crypto";
import { chmodSync, existsSync, realpathSync, statSync, utimesSync, type Stats } from "node:fs";
import { join, resolve } from "node:path";
import type { VerifiedArchive } from "../../backup/archive.ts";
import type { BackupManifest } from "../../backup/manifest.ts";
import { openArchive, type ArchiveToRestore } from "../../backup/open-archive.ts";
import {
  dropDatabase,
  holdsUserRows,
  REPLACED_DATABASE,
  STAGING_DATABASE,
  swapDatabases,
  withClient,
  withServer,
  type RestoredRows,
} from "../../backup/staging-database.ts";
import { expandHome, type Environment } from "../../kit/config.ts";
import { readConfigFile } from "../config-file.ts";
import {
  finishRestore,
  hasDatastore,
  startingPostgresAsItIs,
  withDatastore,
  withHomeToItself,
  type Datastore,
  type DatastoreOptions,
} from "../datastore.ts";
import { planCluster } from "../postgres/cluster-plan.ts";
import { silentProgress } from "../progress.ts";
import type { Finish } from "./finish-interrupted.ts";
import { isThere, makeFolders, missingFolders, removeEmptyFolders } from "./durable-files.ts";
import { writeJournal, removeJournal, type Journal } from "./journal.ts";
import { discard, exchange } from "./places.ts";
import { checkRestoreSpace, refuseForeignFolder, refuseOverwriting, withWayPast, type AtStake } from "./refusals.ts";
import { saveReplaced } from "./save-replaced.ts";
import { planExchange, stage, type Plan, type StagingFolders } from "./stage.ts";
import { movesOf, refuseDangerousWorkspace, refuseNoFolder, targetWorkspace, tildePath } from "./target-workspace.ts";
import { holdsUserFiles } from "./workspace-content.ts";

export interface RestoreOptions extends DatastoreOptions, ArchiveToRestore {
  environment: Pick<Environment, "userHome" | "workspace">;
  /** Instead of where the archive says. */
  workspace?: string | undefined;
  force: boolean;
  dryRun: boolean;
  /** Save what is replaced, where that is anybody's work. */
  snapshot: boolean;
  /** Tests end the process here. */
  onStep?: ((name: string) => Promise<void> | void) | undefined;
}

export interface RestoreResult {
  manifest: Omit<BackupManifest, "entries">;
  /** False for a dry run. */
  restored: boolean;
  workspace: { path: string; files: number } | undefined;
  /** What else the archive has. */
  parts: { config: boolean; setup: boolean; versions: boolean };
  /** The archive that holds what was replaced. */
  snapshot: string | undefined;
  /** undefined for a dry run. */
  rows: RestoredRows | undefined;
  /** What was there is replaced. */
  replaces: AtStake;
}

/**
 * Replaces an installation by what an archive holds: settings, database, workspace and the sources of DAG versions. Everything
 * is verified, then staged beside its place, then exchanged; the renaming of the database is the one moment that counts. Whatever
 * ends it before that moment, the installation is as it was, at the latest with the next command that works on it.
 */
export async function restoreInstallation(options: RestoreOptions): Promise<RestoreResult> {
  const { paths, progress } = options;
  const verified = await openArchive(options, (title, work) => progress.step(title, work));
  const plan = planOf(options, verified);
  if (plan.workspace !== undefined)
    refuseDangerousWorkspace(plan.workspace, [paths.home, options.environment.userHome]);

  if (options.dryRun) {
    if (existsSync(paths.restoreJournal)) await withHomeToItself(paths, () => finishRestore(options));
    return new Restore(options, plan).look();
  }
  const madeHome = missingFolders(paths.home);
  try {
    return await withHomeToItself(paths, async () => {
      await finishRestore(options);
      const restore = new Restore(options, plan);
      return restore.run();
    });
  } finally {
    removeEmptyFolders(madeHome);
  }
}

function planOf(options: RestoreOptions, verified: VerifiedArchive): Plan {
  const { paths, environment, progress } = options;
  const archive = resolve(options.archive);
  const move = movesOf(verified.manifest, paths.home, environment.userHome);
  const plan = { archive, passphrase: options.passphrase, verified, paths, move };
  if (!verified.has.workspace) return { ...plan, workspace: undefined, workspaceWasChosen: false };
  const chosen = options.workspace ?? environment.workspace;
  if (chosen !== undefined) {
    const workspace = resolve(expandHome(chosen, environment.userHome));
    refuseNoFolder(workspace);
    return { ...plan, workspace, workspaceWasChosen: true };
  }
  const { workspace, note } = targetWorkspace(verified.manifest, move);
  if (note !== undefined) progress.note(note);
  return { ...plan, workspace, workspaceWasChosen: false };
}

class Restore {
  readonly #options: RestoreOptions;
  readonly #plan: Plan;
  readonly #step: (name: string) => Promise<void> | void;
  readonly #journal: Journal;
  readonly #folders: StagingFolders;
  #snapshot: string | undefined;
  #rows: RestoredRows | undefined;

  constructor(options: RestoreOptions, plan: Plan) {
    this.#options = options;
    this.#plan = plan;
    this.#step = options.onStep ?? (() => undefined);
    const id = randomBytes(4).toString("hex");
    const real = plan.workspace && realPath(plan.workspace);
    this.#folders = {
      home: join(plan.paths.home, `restore-${id}`),
      workspace: real === undefined ? undefined : join(real, `.leoflow-restore-${id}`),
    };
    this.#journal = {
      version: 1,
      archive: plan.archive,
      phase: "staging",
      madeCluster: !hasDatastore(plan.paths),
      madeFolders: real === undefined ? [] : missingFolders(real),
      places: [this.#folders.home, this.#folders.workspace]
        .filter((folder) => folder !== undefined)
        .map((staging) => ({ staging, moves: [], files: [] })),
      stagedOid: null,
    };
  }

  /** What a restore would meet here, also while Lite runs. */
  async look(): Promise<RestoreResult> {
    const atStake = this.#filesAtStake();
    if (!this.#journal.madeCluster) {
      atStake.rows = await withDatastore(
        { ...this.#options, clusterAsItIs: true },
        "restore over",
        ({ database }: Datastore) => withClient(database, holdsUserRows),
      );
    }
    this.#check(atStake);
    return this.#result(atStake);
  }

  async run(): Promise<RestoreResult> {
    const { paths, signal } = this.#options;
    const atStake = this.#filesAtStake();
    if (this.#journal.madeCluster) {
      this.#check(atStake);
      this.#begin();
    }
    let started = this.#journal.madeCluster;
    try {
      await startingPostgresAsItIs(this.#options, async (datastore) => {
        started = true;
        if (!this.#journal.madeCluster) {
          atStake.rows = await withClient(datastore.database, holdsUserRows);
          this.#check(atStake);
        }
        if (this.#options.snapshot && (atStake.rows || atStake.files)) await this.#saveReplaced(datastore);
        await this.#replace(datastore);
      });
    } catch (error) {
      // What fails once the restore has happened is only the cleaning up.
      if (!existsSync(paths.restoreJournal) || (await this.#undo()) !== "completed") {
        throw started || signal?.aborted ? error : withWayPast(error, paths);
      }
    }
    return this.#result(atStake);
  }

  #filesAtStake(): AtStake {
    const { paths } = this.#options;
    const { workspace } = this.#plan;
    const files = workspace !== undefined && holdsUserFiles(workspace, join(paths.program, "examples/starter"));
    return { rows: false, files };
  }

  #check(atStake: AtStake): void {
    const { paths, force, environment } = this.#options;
    const { verified, workspace } = this.#plan;
    const { problem } = planCluster(paths);
    if (problem) throw problem;
    if (workspace !== undefined && atStake.files && !this.#plan.workspaceWasChosen) {
      const fallback = join(environment.userHome, "leoflow");
      refuseForeignFolder(workspace, [currentWorkspace(this.#options), fallback]);
    }
    if (!force) refuseOverwriting(atStake, tildePath(paths.home, environment.userHome), workspace);
    checkRestoreSpace(verified, { home: paths.home, workspace, newCluster: this.#journal.madeCluster });
  }

  #begin(): void {
    writeJournal(this.#plan.paths.restoreJournal, this.#journal);
  }

  /** By the same way as after a sudden end, so that there is only one. */
  async #undo(): Promise<Finish | undefined> {
    const { progress, ...options } = this.#options;
    try {
      return await progress.step("Put everything back", () =>
        finishRestore({ ...options, progress: silentProgress, signal: undefined }),
      );
    } catch (error) {
      progress.note(`that is not done yet (${(error as Error).message}); the next \`leoflow\` command does it`);
      return undefined;
    }
  }

  async #saveReplaced({ database, bin }: Datastore): Promise<void> {
    const { paths, progress, signal } = this.#options;
    const workspace = this.#plan.workspace ?? currentWorkspace(this.#options);
    this.#snapshot = await progress.step("Save what is replaced", (detail) =>
      saveReplaced({ paths, database, bin, workspace, restoring: this.#plan.archive, detail, signal }),
    );
  }

  async #replace(datastore: Datastore): Promise<void> {
    const { paths, progress, signal, say } = this.#options;
    const step = this.#step;
    this.#begin();
    await step("begun");
    makeFolders(this.#journal.madeFolders);
    say("▸ replaying datastore via psql …");
    const { oid, rows } = await progress.step("Restore beside what is there", (detail) =>
      stage(this.#plan, this.#folders, datastore, { signal, detail, onStep: step }),
    );
    this.#rows = rows;
    const madeWorkspace = this.#freshWorkspace();
    const places = await planExchange(this.#plan, this.#folders);
    await step("exchange planned");
    signal?.throwIfAborted();
    writeJournal(paths.restoreJournal, { ...this.#journal, phase: "swapping", places, stagedOid: oid });
    await step("exchange begun");
    await progress.step("Exchange old and new", async () => {
      for (const place of places) await exchange(place, () => step("exchange"));
      await step("files exchanged");
      signal?.throwIfAborted();
      await withServer(datastore.database, async (client) => {
        const names = { staged: STAGING_DATABASE, live: datastore.database.database, replaced: REPLACED_DATABASE };
        await dropDatabase(client, REPLACED_DATABASE);
        await step("about to commit");
        await swapDatabases(client, names);
        // From here on the restore has happened; only what it replaced is left to be cleaned away.
        await step("committed");
        await dropDatabase(client, REPLACED_DATABASE);
      });
    });
    await step("old database dropped");
    for (const place of places) {
      discard(place);
      await step("cleaned up");
    }
    if (madeWorkspace && this.#plan.workspace !== undefined) {
      chmodSync(this.#plan.workspace, madeWorkspace.mode & 0o1777);
      utimesSync(this.#plan.workspace, madeWorkspace.atimeMs / 1000, madeWorkspace.mtimeMs / 1000);
    }
    removeJournal(paths.restoreJournal);
    await step("done");
  }

  /** What the archive says of the workspace's own folder; only one that the restore makes is made like it. */
  #freshWorkspace(): Stats | undefined {
    const { workspace } = this.#folders;
    const isNew = this.#journal.madeFolders.length > 0 && workspace !== undefined;
    const fresh = isNew ? join(workspace, "workspace") : undefined;
    return fresh !== undefined && isThere(fresh) ? statSync(fresh) : undefined;
  }

  #result(atStake: AtStake): RestoreResult {
    const { verified, workspace } = this.#plan;
    const manifest: Partial<BackupManifest> = { ...verified.manifest };
    delete manifest.entries;
    return {
      manifest: manifest as Omit<BackupManifest, "entries">,
      restored: this.#rows !== undefined,
      workspace: workspace === undefined ? undefined : { path: workspace, files: verified.workspaceFiles },
      parts: { config: verified.has.config, setup: verified.has.setup, versions: verified.has.versions },
      snapshot: this.#snapshot,
      rows: this.#rows,
      replaces: atStake,
    };
  }
}

/** A workspace may be a link, and its real folder may be the only one on its disk that can be written. */
function realPath(path: string): string {
  return existsSync(path) ? realpathSync(path) : path;
}

/** A config.yaml that cannot be read is no reason not to replace it. */
function currentWorkspace({ paths, environment }: RestoreOptions): string {
  const fallback = join(environment.userHome, "leoflow");
  try {
    return readConfigFile(paths, environment)?.workspace ?? fallback;
  } catch {
    return fallback;
  }
}
