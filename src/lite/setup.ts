import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import type { Environment } from "../kit/config.ts";
import { UserError } from "../kit/user-error.ts";
import { programVersion } from "../kit/version.ts";
import { loadOrCreateConfig, readConfigFile, updateConfigFile, type LeoflowConfig } from "./config-file.ts";
import { finishRestore, type DatastoreOptions } from "./datastore.ts";
import { acquireHomeLock } from "./home-lock.ts";
import { findProgram } from "./installed-program.ts";
import type { LeoflowPaths } from "./paths.ts";
import { ensurePostgres } from "./postgres/install.ts";
import { checkDiskSpace, checkWorkspace } from "./preconditions.ts";
import { ensurePython } from "./python/base-python.ts";
import { Toolchain } from "./python/toolchain.ts";
import { below } from "./restore/target-workspace.ts";

/** What a user decides at setup; the rest of config.yaml is made. */
export interface Settings {
  /** Absolute. */
  workspace: string;
  port: number;
  email: string;
}

export interface PresentSettings extends Settings {
  /** The installation has a login: `leoflow setup` or a first start has ended well here. */
  configured: boolean;
}

/** What config.yaml says, with the defaults for what it does not say. Writes nothing. */
export function presentSettings(
  paths: LeoflowPaths,
  environment: Pick<Environment, "userHome" | "workspace" | "port">,
): PresentSettings {
  const config = readConfigFile(paths, environment);
  return {
    configured: config?.admin_password_hash !== undefined,
    workspace: config?.workspace ?? environment.workspace ?? `${environment.userHome}/leoflow`,
    port: config?.lite_port ?? environment.port ?? 8088,
    email: config?.admin_email ?? "admin@leoflow.local",
  };
}

/** Throws UserError for an address that nobody could type as a login. */
export function checkEmail(email: string): void {
  if (/^[^\s@]+@[^\s@]+$/.test(email)) return;
  throw new UserError(`${JSON.stringify(email)} is not an e-mail address`, {
    fix: "it need not exist, but it needs a name, an @ and a domain: admin@leoflow.local",
    exitCode: 2,
  });
}

/** Throws UserError for a folder whose every change would be Leoflow's own, or the whole machine's. */
export function checkNewWorkspace(workspace: string, paths: LeoflowPaths): void {
  if (below(workspace, paths.home) === undefined && below(paths.managedPostgres, workspace) === undefined) return;
  throw new UserError(
    `the workspace cannot be ${workspace}: ${paths.home} is in it, or it is in the database's folder`,
    {
      fix: "choose a folder for your DAGs alone, for example ~/leoflow",
      exitCode: 2,
    },
  );
}

export interface SetUpOptions extends DatastoreOptions {
  environment: Environment;
  /** What was asked for; the rest stays as it is, or becomes the default. */
  chosen: Partial<Settings>;
  /** Also install Python and PostgreSQL, where they are not there at all. */
  download: boolean;
  /** A password was made: it works from now on, and is never shown again. */
  onPassword: (password: string, settings: Settings) => void;
}

export interface SetUpResult {
  settings: Settings;
  wasConfigured: boolean;
  /** The Leoflow that runs has the old settings. */
  runningPid: number | undefined;
  /** What could not be prepared; the settings are whole all the same. */
  downloadError: unknown;
}

/**
 * Makes an installation's settings, or changes those that were asked for. What exists stays: the password, the keys, a
 * workspace's files, and environments that another release had made, which the next start brings up to date.
 */
export async function setUp(options: SetUpOptions): Promise<SetUpResult> {
  const { paths, environment } = options;
  const held = await acquireHomeLock(paths.lock);
  const runningPid = "heldBy" in held ? held.heldBy.pid : undefined;
  try {
    if (runningPid === undefined) await finishRestore(options);
    const present = presentSettings(paths, environment);
    if (runningPid !== undefined && !present.configured) {
      throw new UserError(`Leoflow is starting here for the first time (process ${runningPid})`, {
        fix: "it makes the settings itself; wait a moment and run the same command again to change them",
      });
    }
    const settings = { ...present, ...options.chosen };
    checkWorkspace(settings.workspace);
    const made = await loadOrCreateConfig(paths, environment, { later: true });
    const downloadError = options.download && runningPid === undefined ? await prepare(options) : undefined;
    made.save();
    writeSettings(paths, made.config, settings);
    writeSetupFile(paths, settings);
    if (made.newPassword !== undefined) {
      options.onPassword(made.newPassword, settings);
      made.keepPassword();
    }
    return { settings, wasConfigured: present.configured, runningPid, downloadError };
  } finally {
    if ("lock" in held) held.lock.release();
  }
}

/** Only what differs, so that a file a user has written stays as it is. */
function writeSettings(paths: LeoflowPaths, config: LeoflowConfig, settings: Settings): void {
  const changes: Partial<LeoflowConfig> = {};
  if (config.workspace !== settings.workspace) changes.workspace = settings.workspace;
  if (config.lite_port !== settings.port) changes.lite_port = settings.port;
  if (config.admin_email !== settings.email) changes.admin_email = settings.email;
  if (Object.keys(changes).length > 0) updateConfigFile(paths, changes);
}

/** setup.json: for people and for scripts that look after an installation. config.yaml is what counts. */
function writeSetupFile(paths: LeoflowPaths, { workspace, port, email }: Settings): void {
  const told = { workspace, port, admin_email: email };
  const before = readSetupFile(paths);
  if (before && JSON.stringify(before.settings) === JSON.stringify(told)) return;
  const now = `${new Date().toISOString().slice(0, 19)}Z`;
  const content = {
    set_up_at: before?.set_up_at ?? now,
    updated_at: now,
    leoflow_version: programVersion,
    installed_by: installedBy(paths),
    settings: told,
  };
  writeFileSync(`${paths.setup}.new`, `${JSON.stringify(content, null, 2)}\n`, { mode: 0o600, flush: true });
  renameSync(`${paths.setup}.new`, paths.setup);
}

function readSetupFile(paths: LeoflowPaths): { set_up_at?: string; settings?: unknown } | undefined {
  try {
    return JSON.parse(readFileSync(paths.setup, "utf8")) as { set_up_at?: string; settings?: unknown };
  } catch {
    return undefined;
  }
}

function installedBy(paths: LeoflowPaths): string {
  const program = findProgram(paths.program);
  if (program.kind === "installed") return "install.sh";
  if (program.kind === "homebrew") return "homebrew";
  return existsSync(`${program.folder}/.git`) ? "git" : "folder";
}

/** What the first start would otherwise install. Its error is returned: the settings are worth having without it. */
async function prepare(options: SetUpOptions): Promise<unknown> {
  const { paths, progress, signal } = options;
  const hasPython = existsSync(`${paths.venv}/.leoflow-deps`);
  try {
    checkDiskSpace(paths.home, !hasPython);
    const toolchain = new Toolchain(paths, progress, signal);
    // An environment that another release made is in use until that release has stopped: the next start refreshes it.
    const work: Promise<unknown>[] = [ensurePostgres(paths, progress, toolchain)];
    if (!hasPython) work.push(ensurePython(paths, progress, toolchain));
    const failed = (await Promise.allSettled(work)).find((result) => result.status === "rejected");
    signal?.throwIfAborted();
    return failed?.reason;
  } catch (error) {
    signal?.throwIfAborted();
    return error;
  }
}
