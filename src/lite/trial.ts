import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../kit/clock.ts";
import type { Environment } from "../kit/config.ts";
import type { Logger } from "../kit/service.ts";
import type { UserError } from "../kit/user-error.ts";
import { dropTrialDatabases, makeTrialDatabase } from "../store/trial-database.ts";
import { loadOrCreateConfig, type LeoflowConfig } from "./config-file.ts";
import { finishRestore } from "./datastore.ts";
import { acquireHomeLock } from "./home-lock.ts";
import type { LeoflowPaths } from "./paths.ts";
import { openPostgres } from "./postgres/open-postgres.ts";
import { pause } from "./postgres/stale-server.ts";
import type { Progress } from "./progress.ts";
import { ensurePython } from "./python/base-python.ts";
import { Toolchain } from "./python/toolchain.ts";
import type { StartControlPlane } from "./start.ts";
import { undoing, type Undo } from "./undoing.ts";

const LOOK_MS = 200;

export interface TrialOptions {
  environment: Environment;
  paths: LeoflowPaths;
  logger: Logger;
  progress: Progress;
  startControlPlane: StartControlPlane;
  signal: AbortSignal;
}

export interface Trial {
  url: string;
  config: LeoflowConfig;
  stop(): Promise<void>;
}

/**
 * A Leoflow for one run: on an empty database with the home's pools, variables and connections, on a free port, without the
 * workspace's DAGs. It leaves nothing behind. Returns null where a Leoflow runs from this home that can take the run instead. The
 * home must have been set up.
 */
export async function startTrial(options: TrialOptions): Promise<Trial | null> {
  const lock = await homeLock(options);
  if (lock === null) return null;
  return await undoing((undo) => {
    undo.push(() => lock.release());
    return start(options, undo);
  });
}

async function start(
  { environment, paths, logger, progress, startControlPlane, signal }: TrialOptions,
  undo: Undo,
): Promise<Omit<Trial, "stop">> {
  const { runtimeDir } = environment;
  await finishRestore({ paths, logger, progress, runtimeDir, signal });
  const { config } = await loadOrCreateConfig(paths, environment, { later: true });
  const toolchain = new Toolchain(paths, progress, signal);
  const folder = join(paths.home, "trial");
  rmSync(folder, { recursive: true, force: true });
  undo.push(() => rmSync(folder, { recursive: true, force: true }));
  const own = {
    versions: join(folder, "versions"),
    logs: join(folder, "logs"),
    bundles: join(folder, "bundles"),
    staging: join(folder, "staging"),
  };
  const workspace = join(folder, "workspace");
  for (const each of [...Object.values(own), workspace]) mkdirSync(each, { recursive: true, mode: 0o700 });

  const python = ensurePython(paths, progress, toolchain);
  python.catch(() => undefined);
  const onFailure = (error: UserError) => logger.error({ err: error }, "the database failed");
  const { postgres, database } = await openPostgres({
    ...{ paths, logger, progress, toolchain, signal, runtimeDir, onFailure },
  });
  undo.push(() => postgres.stop());
  const { trial, taken } = await makeTrialDatabase(database);
  undo.push(() => dropTrialDatabases(database));
  if (taken === "other-schema") {
    progress.note(
      "Without this home's connections and variables: `leoflow lite` must bring its database up to date first",
    );
  }
  const controlPlane = await startControlPlane({
    kit: { logger, clock: systemClock },
    config: { ...config, workspace },
    paths: { ...paths, ...own },
    database: trial,
    python: await python,
    bundles: [],
    bundleTeams: new Map(),
    port: 0,
    host: "127.0.0.1",
    isTrial: true,
  });
  undo.push(() => controlPlane.stop());
  signal.throwIfAborted();
  return { url: controlPlane.url, config };
}

/** Waits while another command is at work or a Leoflow starts; null: one is up. */
async function homeLock({ paths, progress, signal }: TrialOptions): Promise<{ release(): void } | null> {
  for (let told = false; ; told = true) {
    const held = await acquireHomeLock(paths.lock);
    if ("lock" in held) return held.lock;
    const { pid, url } = held.heldBy;
    if (url !== undefined) return null;
    if (!told) progress.note(`Waiting for another Leoflow of ${paths.home} (process ${pid})`);
    await pause(LOOK_MS);
    signal.throwIfAborted();
  }
}
