import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Environment } from "../kit/config.ts";
import { systemClock } from "../kit/clock.ts";
import { createLogger } from "../kit/logger.ts";
import type { Kit } from "../kit/service.ts";
import { UserError } from "../kit/user-error.ts";
import type { DatabaseConfig } from "../store/database.ts";
import { readBundleSettings, type BundleSettings } from "./bundles/bundle-settings.ts";
import { loadOrCreateConfig, type LeoflowConfig } from "./config-file.ts";
import { finishRestore, hasDatastore } from "./datastore.ts";
import { findVolumeToAdopt } from "./docker-volume.ts";
import { acquireHomeLock } from "./home-lock.ts";
import { rotateLog } from "./log-file.ts";
import { resolvePaths, type LeoflowPaths } from "./paths.ts";
import { openPostgres } from "./postgres/open-postgres.ts";
import { pause } from "./postgres/stale-server.ts";
import { checkDiskSpace, checkPort, checkWorkspace, portError } from "./preconditions.ts";
import type { Progress } from "./progress.ts";
import { ensurePython, type BasePython } from "./python/base-python.ts";
import { Toolchain } from "./python/toolchain.ts";
import { copyStarterInto } from "./starter.ts";
import { undoing, type Undo } from "./undoing.ts";
import { upgradeSchema } from "./upgrade/apply.ts";

/** Everything above the database and Python: scheduler, agent, API, workspace watcher. */
export interface ControlPlane {
  url: string;
  stop(): Promise<void>;
}

export interface ControlPlaneOptions {
  kit: Kit;
  config: LeoflowConfig;
  paths: LeoflowPaths;
  database: DatabaseConfig;
  python: BasePython;
  bundles: readonly BundleSettings[];
  /** The team of each bundle that has one. */
  bundleTeams: ReadonlyMap<string, string>;
  /** 0: any that is free. */
  port: number;
  host: string;
  /** For the run of one file, beside everything else that this home has: no metrics, nothing cleaned up. */
  isTrial?: boolean;
}

export type StartControlPlane = (options: ControlPlaneOptions) => Promise<ControlPlane>;

export interface LiteOptions {
  environment: Environment;
  /** What the command line says; each goes before environment and config.yaml. */
  port?: number | undefined;
  host?: string | undefined;
  workspace?: string | undefined;
  startControlPlane: StartControlPlane;
  progress: Progress;
  onWarning: (line: string) => void;
  /** Something below the control plane broke for good while running. */
  onFailure: (error: UserError) => void;
  signal: AbortSignal;
}

export interface RunningLite {
  url: string;
  config: LeoflowConfig;
  /** Only on the start that made it. */
  newPassword: string | undefined;
  /** Stops all in order: control plane and tasks, then PostgreSQL, then the lock. */
  stop(): Promise<void>;
}

/** All of it stops within five seconds; what the control plane does not manage in its part is ended. */
const CONTROL_PLANE_STOP_MS = 3_500;

/** The whole start of Leoflow Lite. Whatever fails, what was started before it is stopped again. */
export function startLite(options: LiteOptions): Promise<RunningLite> {
  return undoing((undo) => start(options, undo));
}

async function start(options: LiteOptions, undo: Undo): Promise<Omit<RunningLite, "stop">> {
  const { environment, progress, signal } = options;
  const paths = resolvePaths(environment.home);
  const held = await acquireHomeLock(paths.lock);
  if ("heldBy" in held) {
    const { pid, url } = held.heldBy;
    throw new UserError(`Leoflow Lite already runs on ${paths.home} (process ${pid}${url ? `, ${url}` : ""})`, {
      fix: url ? `open ${url}, or stop it with \`kill ${pid}\`` : `it is starting; stop it with \`kill ${pid}\``,
    });
  }
  undo.push(() => held.lock.release());
  const quiet = createLogger({ level: "silent" });
  await finishRestore({ paths, logger: quiet, progress, runtimeDir: environment.runtimeDir, signal });

  // An older Leoflow must not change anything on its way to finding out that the database is newer.
  const isFirst = !hasDatastore(paths);
  const { config, created, newPassword, save, keepPassword } = await loadOrCreateConfig(paths, environment, {
    later: true,
  });
  const port = options.port ?? environment.port ?? config.lite_port;
  const host = options.host ?? environment.host ?? "127.0.0.1";
  config.workspace = options.workspace ?? environment.workspace ?? config.workspace;
  const multiTeam = environment.multiTeam ?? config.multi_team ?? false;
  config.multi_team = multiTeam;
  const { bundles, teams, warnings } = readBundleSettings(environment.dagBundles, environment.userHome, { multiTeam });
  await checkPort(port, host);
  checkDiskSpace(paths.home, isFirst);
  const prepare = () => {
    save();
    checkWorkspace(config.workspace);
  };
  if (isFirst) prepare();
  mkdirSync(paths.logs, { recursive: true, mode: 0o700 });
  const logFile = join(paths.logs, "leoflow.log");
  rotateLog(logFile);
  const rotation = setInterval(() => rotateLog(logFile), 60_000);
  rotation.unref();
  undo.push(() => clearInterval(rotation));
  const kit: Kit = {
    logger: createLogger({ level: environment.logLevel, file: logFile, onWarning: options.onWarning }),
    clock: systemClock,
  };

  for (const warning of warnings) kit.logger.warn(warning);

  const [database, python] = await sideBySide(signal, (either) => {
    const toolchain = new Toolchain(paths, progress, either);
    let onReadable = (): void => undefined;
    const readable = new Promise<void>((done) => (onReadable = done));
    const database = startPostgres(
      { ...options, signal: either },
      { paths, kit, toolchain, created, onReadable },
      undo,
    );
    // Without a database there is nothing to wait for; with one Python waits for the look at its schema.
    const mayWrite = isFirst ? Promise.resolve() : Promise.race([readable, database]).then(prepare);
    return [database, mayWrite.then(() => ensurePython(paths, progress, toolchain))];
  });
  signal.throwIfAborted();
  copyStarterInto(config.workspace, paths);
  const controlPlane = await progress.step("Start Leoflow", () =>
    options
      .startControlPlane({ kit, config, paths, database, python, bundles, bundleTeams: teams, port, host })
      .catch((error: NodeJS.ErrnoException) => {
        throw error.syscall === "listen" ? portError(port, host, error) : error;
      }),
  );
  undo.push(() => Promise.race([controlPlane.stop(), pause(CONTROL_PLANE_STOP_MS)]));
  signal.throwIfAborted();
  const url = `http://${["127.0.0.1", "::1", "0.0.0.0", "::"].includes(host) ? "localhost" : host}:${port}`;
  held.lock.announce(url);
  keepPassword();
  return { url, config, newPassword };
}

interface PostgresStart {
  paths: LeoflowPaths;
  kit: Kit;
  toolchain: Toolchain;
  /** config.yaml was made by this start. */
  created: boolean;
  /** The schema is one that this build may work on. */
  onReadable: () => void;
}

async function startPostgres(
  options: LiteOptions,
  { paths, kit, toolchain, created, onReadable }: PostgresStart,
  undo: Undo,
): Promise<DatabaseConfig> {
  const { environment, progress, signal } = options;
  const { logger } = kit;
  const adoption = await findVolumeToAdopt({ paths, environment, configured: !created, progress, logger, signal });
  if (adoption) undo.push(() => adoption.close());
  const { postgres, database, bin, settle } = await openPostgres({
    ...{ paths, logger, progress, toolchain, signal, runtimeDir: environment.runtimeDir, onFailure: options.onFailure },
    starting: (begin) => progress.step("Start PostgreSQL", begin),
  });
  undo.push(() => postgres.stop());
  await adoption?.adoptInto(database, bin);
  await upgradeSchema({ paths, database, bin, logger, progress, signal, onReadable });
  // What is removed may be large; nothing waits for that.
  settle().catch((error: unknown) => logger.warn({ err: error }, "could not remove what an older release left"));
  return database;
}

/** Where one fails the other is called off, and has ended before the error goes on. */
async function sideBySide<A, B>(
  signal: AbortSignal,
  begin: (either: AbortSignal) => [Promise<A>, Promise<B>],
): Promise<[A, B]> {
  const failed = new AbortController();
  const both = begin(AbortSignal.any([signal, failed.signal]));
  let first: { error: unknown } | undefined;
  await Promise.all(
    both.map((one: Promise<unknown>) =>
      one.catch((error: unknown) => {
        first ??= { error };
        failed.abort(error);
      }),
    ),
  );
  if (first) throw first.error;
  return Promise.all(both);
}
