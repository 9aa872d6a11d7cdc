import { join } from "node:path";
import type { Logger } from "../kit/service.ts";
import { UserError } from "../kit/user-error.ts";
import type { DatabaseConfig } from "../store/database.ts";
import { acquireHomeLock, type HomeLock, type LockHolder } from "./home-lock.ts";
import type { LeoflowPaths } from "./paths.ts";
import { majorOfData, planCluster } from "./postgres/cluster-plan.ts";
import { ensurePostgres, programsOf } from "./postgres/install.ts";
import { databaseOf } from "./postgres/managed-postgres.ts";
import { openPostgres } from "./postgres/open-postgres.ts";
import { readPostmasterFile } from "./postgres/stale-server.ts";
import type { Progress } from "./progress.ts";
import { Toolchain } from "./python/toolchain.ts";
import { finishInterruptedRestore, type Finish } from "./restore/finish-interrupted.ts";

/** A home's database while a command works on it. */
export interface Datastore {
  database: DatabaseConfig;
  /** Where pg_dump, psql and the other programs of this PostgreSQL are. */
  bin: string;
  /** The Leoflow Lite that is up, where one is. */
  runningLite: LockHolder | undefined;
}

export interface DatastoreOptions {
  paths: LeoflowPaths;
  logger: Logger;
  progress: Progress;
  runtimeDir: string | undefined;
  signal?: AbortSignal | undefined;
  /** For a look: data of an older PostgreSQL stays that, and its own programs run it. */
  clusterAsItIs?: boolean;
}

/**
 * The home's database, whoever runs it: the Lite that is up, or a PostgreSQL started for this work and stopped after it.
 * Nothing is migrated. Throws UserError where there is no database yet (`what` completes "there is nothing to …").
 */
export async function withDatastore<T>(
  options: DatastoreOptions,
  what: string,
  work: (datastore: Datastore) => Promise<T>,
): Promise<T> {
  const { paths } = options;
  checkDatastore(paths, what);
  const held = await acquireHomeLock(paths.lock);
  if ("lock" in held) {
    return releasing(held.lock, async () => {
      // One that is undone may take away what it had made.
      if ((await finishRestore(options)) === "undone") checkDatastore(paths, what);
      return startingPostgres(options, work);
    });
  }
  const bin = await postgresPrograms(options);
  const running = readPostmasterFile(join(paths.managedPostgres, "data"));
  if (running?.status !== "ready") {
    throw new UserError(`Leoflow Lite (process ${held.heldBy.pid}) is starting or stopping`, {
      fix: "wait a moment and run the same command again",
    });
  }
  return work({ database: databaseOf(paths.managedPostgres, running.socketDir), bin, runningLite: held.heldBy });
}

/**
 * The same for work that must be alone: `run` gets the lock's home to itself, and no PostgreSQL runs unless it starts one.
 * Throws UserError naming the Lite that is up.
 */
export async function withHomeToItself<T>(paths: LeoflowPaths, run: () => Promise<T>): Promise<T> {
  const held = await acquireHomeLock(paths.lock);
  if ("heldBy" in held) {
    throw new UserError(`Leoflow Lite runs on ${paths.home} (process ${held.heldBy.pid})`, {
      fix: `stop it with Ctrl-C or \`kill ${held.heldBy.pid}\` and run the same command again`,
    });
  }
  return releasing(held.lock, run);
}

/** Starts the home's PostgreSQL (making its cluster where there is none) and stops it after the work. The caller holds the lock. */
export async function startingPostgres<T>(
  options: DatastoreOptions,
  work: (datastore: Datastore) => Promise<T>,
): Promise<T> {
  await finishRestore(options);
  return startingPostgresAsItIs(options, work);
}

/** Ends a restore that was cut short, where there is one. The caller holds the lock, and no PostgreSQL runs. */
export function finishRestore(options: DatastoreOptions): Promise<Finish> {
  return finishInterruptedRestore({
    paths: options.paths,
    progress: options.progress,
    withPostgres: (work) => startingPostgresAsItIs(options, ({ database }) => work(database)),
  });
}

/** For a restore itself: its own beginning is not one that was cut short. */
export async function startingPostgresAsItIs<T>(
  options: DatastoreOptions,
  work: (datastore: Datastore) => Promise<T>,
): Promise<T> {
  const { paths, logger, progress, runtimeDir, signal, clusterAsItIs = false } = options;
  const toolchain = new Toolchain(paths, progress, signal);
  const { postgres, database, bin } = await openPostgres({
    ...{ paths, logger, progress, toolchain, runtimeDir, signal, asItIs: clusterAsItIs },
  });
  try {
    return await work({ database, bin, runningLite: undefined });
  } finally {
    await postgres.stop();
  }
}

function checkDatastore(paths: LeoflowPaths, what: string): void {
  if (hasDatastore(paths)) return;
  const { problem } = planCluster(paths);
  if (problem) throw problem;
  throw new UserError(`there is nothing to ${what}: ${paths.home} has no database yet`, {
    fix: "start Leoflow once with `leoflow lite`, or set LEOFLOW_HOME to the installation you mean",
  });
}

/** Whether this home has a database. */
export function hasDatastore(paths: LeoflowPaths): boolean {
  return majorOfData(paths.managedPostgres) !== undefined;
}

/** Programs for a server that runs already; a look takes those that are here. */
function postgresPrograms({ paths, progress, signal, clusterAsItIs }: DatastoreOptions): Promise<string> {
  const { installed } = planCluster(paths);
  if (clusterAsItIs && installed !== undefined) return Promise.resolve(programsOf(paths, installed));
  return ensurePostgres(paths, progress, new Toolchain(paths, progress, signal));
}

async function releasing<T>(lock: HomeLock, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } finally {
    lock.release();
  }
}
