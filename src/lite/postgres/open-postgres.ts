import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "../../kit/service.ts";
import { UserError } from "../../kit/user-error.ts";
import type { DatabaseConfig } from "../../store/database.ts";
import type { LeoflowPaths } from "../paths.ts";
import type { Progress } from "../progress.ts";
import type { Toolchain } from "../python/toolchain.ts";
import { planCluster } from "./cluster-plan.ts";
import { finishSwap, oldMajors, removeNote, removeOldClusters, swapBack, unprovenFrom } from "./cluster-swap.ts";
import { ensurePostgres, installedVersions, majorOf, programsOf } from "./install.ts";
import { upgradeCluster } from "./major-upgrade.ts";
import { ManagedPostgres } from "./managed-postgres.ts";
import { programsForMajor } from "./old-programs.ts";

export interface OpenPostgresOptions {
  paths: LeoflowPaths;
  logger: Logger;
  progress: Progress;
  toolchain: Toolchain;
  runtimeDir: string | undefined;
  signal?: AbortSignal | undefined;
  onFailure?: (error: UserError) => void;
  /** Around the server's start; tells a person what is done. */
  starting?: (start: () => Promise<DatabaseConfig>) => Promise<DatabaseConfig>;
  /** Data of an older major is run by its own programs for a look, and not brought to this release's. */
  asItIs?: boolean;
  /** False only in tests. */
  sync?: boolean;
}

export interface OpenPostgres {
  postgres: ManagedPostgres;
  database: DatabaseConfig;
  /** Where pg_dump and the other programs of this server are. */
  bin: string;
  /** This release works with the data: what only the one before it needed is removed. */
  settle: () => Promise<void>;
}

/**
 * The home's PostgreSQL, started: programs installed where they are missing, data of an older major version brought to this
 * release's. The caller holds the home's lock.
 */
export async function openPostgres(options: OpenPostgresOptions): Promise<OpenPostgres> {
  const { paths, logger, progress, toolchain, runtimeDir, signal } = options;
  const folder = paths.managedPostgres;
  finishSwap(folder);
  const plan = planCluster(paths);
  if (plan.problem) throw plan.problem;
  const isOlder = plan.kind === "upgrade";
  const oldBin = isOlder ? await programsForMajor(options, plan.dataMajor as string) : undefined;
  let bin = options.asItIs ? oldBin : undefined;
  if (bin === undefined) {
    bin = await ensurePostgres(paths, progress, toolchain);
    signal?.throwIfAborted();
    if (oldBin !== undefined) {
      const [oldMajor, newMajor] = [plan.dataMajor as string, majorOf(plan.programs)];
      const sync = options.sync ?? true;
      await upgradeCluster({
        logger,
        progress,
        folder,
        runtimeDir,
        signal,
        sync,
        oldMajor,
        oldBin,
        newMajor,
        newBin: bin,
      });
    }
  }
  const isFirstStart = unprovenFrom(folder) !== undefined;
  const postgres = new ManagedPostgres({
    ...{ logger, bin, folder, runtimeDir },
    ...(signal ? { signal } : {}),
    ...(options.onFailure ? { onFailure: options.onFailure } : {}),
    ...(options.asItIs && isOlder ? { asItIs: true } : {}),
  });
  const start = () => postgres.start();
  const database = await (options.starting ? options.starting(start) : start()).catch((error: unknown) => {
    throw signal?.aborted ? error : takeBack(folder, error);
  });
  removeNote(folder);
  return { postgres, database, bin, settle: () => removeWhatIsOver(paths, bin, isFirstStart) };
}

/** A cluster that was just upgraded and does not start gives its place back to the one before. */
function takeBack(folder: string, error: unknown): unknown {
  const from = unprovenFrom(folder);
  if (from === undefined || !(error instanceof UserError)) return error;
  swapBack(folder, from);
  return new UserError(`${error.message}\nThe data was put back as PostgreSQL ${from} left it`, {
    fix: "go on with the previous release of Leoflow, and please report this",
    cause: error,
  });
}

/** The replaced cluster is kept until its successor has started twice; programs as long as a cluster needs them. */
async function removeWhatIsOver(paths: LeoflowPaths, bin: string, isFirstStart: boolean): Promise<void> {
  if (!isFirstStart) await removeOldClusters(paths.managedPostgres);
  const kept = oldMajors(paths.managedPostgres);
  for (const version of installedVersions(paths)) {
    if (programsOf(paths, version) === bin || kept.includes(majorOf(version))) continue;
    await rm(join(paths.managedPostgres, `postgres-${version}`), { recursive: true, force: true, maxRetries: 3 });
  }
}
