import { existsSync, lstatSync, mkdirSync, readdirSync, realpathSync, renameSync, rmdirSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import type { Environment } from "../kit/config.ts";
import { UserError } from "../kit/user-error.ts";
import { readConfigFile } from "./config-file.ts";
import { removeVolume, volumesOf } from "./docker-volume.ts";
import { refuseDangerousPurge, unsavedWork } from "./doomed-workspace.ts";
import { acquireHomeLock, type HomeLock, type LockHolder } from "./home-lock.ts";
import { findProgram, removePathLine, type InstalledProgram } from "./installed-program.ts";
import type { LeoflowPaths } from "./paths.ts";
import { isAlive, pause, recoverStaleServer } from "./postgres/stale-server.ts";

/** Lite ends within five seconds; a backup or an upgrade that holds the home needs a little more to undo what it began. */
const STOP_WAIT_MS = 20_000;
/** Folders are renamed into it before they are deleted: half of a folder is never taken for the whole. */
const TRASH = ".removing";
/** What the next start makes again. Everything else in the home stays on a plain uninstall. */
const MADE_AGAIN = /^(python|venv|venvs|cache|airflow)(\.(new|old).*)?$/;
const POSTGRES_PROGRAMS = /^postgres-\d/;

export interface Piece {
  what: string;
  path: string;
  bytes: number;
}

export interface UninstallPlan {
  home: string;
  purge: boolean;
  goes: Piece[];
  stays: Pick<Piece, "what" | "path">[];
  /** What the user should know before saying yes. */
  notes: string[];
  /** The Leoflow that is stopped first. */
  running: LockHolder | undefined;
  program: InstalledProgram;
  /** Only on a purge, and only where it is there. */
  workspace: string | undefined;
  volumes: string[];
}

export interface Problem {
  path: string;
  problem: string;
  /** The program's own files may belong to root: told, but not a failure. */
  isProgram: boolean;
}

export interface UninstallOptions {
  paths: LeoflowPaths;
  environment: Pick<Environment, "userHome">;
  purge: boolean;
}

/** What an uninstall would remove and keep; undefined where there is nothing. Throws UserError for what it must not purge. */
export async function planUninstall({
  paths,
  environment,
  purge,
}: UninstallOptions): Promise<UninstallPlan | undefined> {
  const program = findProgram(paths.program);
  if (!existsSync(paths.home) && program.kind !== "installed") return undefined;
  const notes: string[] = [];
  const configured = configuredWorkspace(paths, environment, purge ? notes : []);
  const workspace = configured !== undefined && existsSync(configured) ? configured : undefined;
  if (purge && workspace !== undefined) {
    refuseDangerousPurge(workspace, { home: paths.home, userHome: environment.userHome, program: paths.program });
    notes.push(...(await unsavedWork(workspace)));
  }
  const goes = programPieces(program);
  const stays: UninstallPlan["stays"] = [];
  for (const { what, path, isMadeAgain } of homePieces(paths, program)) {
    if (purge || isMadeAgain) goes.push(piece(what, path));
    else stays.push({ what, path });
  }
  if (workspace !== undefined && purge) goes.push(piece("your workspace", workspace));
  else if (workspace !== undefined) stays.push({ what: "your workspace", path: workspace });
  const volumes = purge ? await volumesOf(paths) : [];
  goes.push(...volumes.map((volume) => ({ what: "Docker volume", path: volume, bytes: 0 })));
  if (program.kind === "folder")
    notes.push(`Leoflow itself is in ${program.folder}, a folder of yours; it is left alone`);
  if (program.kind === "homebrew") notes.push("Leoflow itself came with Homebrew: `brew uninstall leoflow` removes it");
  return { home: paths.home, purge, goes, stays, notes, running: await holderOf(paths), program, workspace, volumes };
}

function configuredWorkspace(paths: LeoflowPaths, environment: Pick<Environment, "userHome">, notes: string[]) {
  try {
    const config = readConfigFile(paths, environment);
    // Without its config.yaml an installation's workspace is not known, and a folder of the usual name may be another's.
    if (config) return config.workspace ?? join(environment.userHome, "leoflow");
    notes.push(`${paths.config} is not there, so no workspace is known to remove`);
  } catch (error) {
    notes.push(`the workspace stays, because it is not known: ${(error as Error).message}`);
  }
  return undefined;
}

function programPieces(program: InstalledProgram): Piece[] {
  if (program.kind !== "installed") return [];
  return [
    ...program.commands.map((path) => piece("command", path)),
    piece("program", program.lib),
    ...program.profiles.map((path) => ({ what: "PATH line in", path, bytes: 0 })),
  ];
}

function* homePieces(paths: LeoflowPaths, program: InstalledProgram) {
  const names: Record<string, string> = {
    "config.yaml": "settings, login, keys",
    "setup.json": "what setup was told",
    versions: "code of DAG versions",
    snapshots: "snapshots before upgrades",
    logs: "logs",
    python: "Python",
    venv: "Airflow's packages",
    venvs: "your projects' packages",
    cache: "caches",
    airflow: "Airflow's own files",
    [TRASH]: "rest of an uninstall",
  };
  for (const name of namesIn(paths.home).filter((each) => !each.startsWith(basename(paths.lock)))) {
    const path = join(paths.home, name);
    if (program.kind === "installed" && holdsProgram(path, program)) continue;
    if (path !== paths.managedPostgres) {
      yield { what: names[name] ?? "other", path, isMadeAgain: MADE_AGAIN.test(name) || name === TRASH };
      continue;
    }
    for (const part of namesIn(path)) {
      const isMadeAgain = POSTGRES_PROGRAMS.test(part);
      const what = part === "data" ? "database" : isMadeAgain ? "PostgreSQL's programs" : "part of the database";
      yield { what, path: join(path, part), isMadeAgain };
    }
  }
}

/** `bin` and `lib` in the home, where Leoflow was installed into it. */
function holdsProgram(path: string, { lib, commands }: { lib: string; commands: string[] }): boolean {
  return [lib, ...commands].some((file) => file.startsWith(`${existsSync(path) ? realpathSync(path) : path}/`));
}

/** Removes what the plan says, each step so that a kill after it leaves something that starts, or can be uninstalled again. */
export async function uninstall(
  { paths, purge }: UninstallOptions,
  plan: UninstallPlan,
  tell: { onStep: (text: string) => void },
): Promise<Problem[]> {
  const problems: Problem[] = [];
  const attempt = (path: string, isProgram: boolean, work: () => void): void => {
    try {
      work();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
      problems.push({ path, problem: reasonOf(error), isProgram });
    }
  };
  const lock = existsSync(paths.home) ? await stopAll(paths, tell.onStep) : undefined;
  try {
    const trash = join(paths.home, TRASH);
    attempt(trash, false, () => rmSync(trash, { recursive: true, force: true }));
    // What is made again first, then the database, its keys last: they are needed as long as it is there.
    const order = (path: string) => (path === paths.config ? 2 : path === paths.setup ? 1 : 0);
    const inHome = plan.goes.filter(
      ({ path }) => path.startsWith(`${paths.home}/`) && !isOfProgram(path, plan.program),
    );
    const [last, first] = [
      inHome.filter(({ path }) => order(path) > 0),
      inHome.filter(({ path }) => order(path) === 0),
    ];
    if (purge) {
      for (const { volume, problem } of await removeVolume(paths)) {
        if (problem !== undefined) problems.push({ path: `Docker volume ${volume}`, problem, isProgram: false });
      }
    }
    for (const { path } of first) attempt(path, false, () => removeWhole(path, trash));
    if (purge && plan.workspace !== undefined) {
      const { workspace } = plan;
      attempt(workspace, false, () => removeFolder(workspace));
    }
    // While something of the database or the workspace is left, their key and their path stay.
    if (problems.length === 0) {
      for (const { path } of last.sort((a, b) => order(a.path) - order(b.path)))
        attempt(path, false, () => rmSync(path));
    }
    attempt(trash, false, () => rmSync(trash, { recursive: true, force: true }));
    const freshLock = new RegExp(`^${basename(paths.lock)}\\.(\\d+)`);
    for (const name of namesIn(paths.home)) {
      const pid = freshLock.exec(name)?.[1];
      const path = join(paths.home, name);
      if (pid !== undefined && !isAlive(Number(pid))) attempt(path, false, () => rmSync(path));
    }
  } finally {
    lock?.release();
  }
  removeProgram(plan.program, attempt);
  if (purge && problems.every(({ isProgram }) => isProgram))
    attempt(paths.home, false, () => removeFolderIfEmpty(paths));
  return problems;
}

function isOfProgram(path: string, program: InstalledProgram): boolean {
  return program.kind === "installed" && [program.lib, ...program.commands].includes(path);
}

/** The command `leoflow` goes last, so that an uninstall that was killed can be run again. */
function removeProgram(
  program: InstalledProgram,
  attempt: (path: string, isProgram: boolean, work: () => void) => void,
) {
  if (program.kind !== "installed") return;
  const { lib, commands, profiles } = program;
  for (const file of profiles) attempt(file, true, () => removePathLine(file, commands));
  const [own, others] = [
    commands.filter((file) => basename(file) === "leoflow"),
    commands.filter((file) => basename(file) !== "leoflow"),
  ];
  for (const file of others) attempt(file, true, () => rmSync(file));
  // One rename, and no half of a program can be started.
  const doomed = join(dirname(lib), `.leoflow-removing-${process.pid}`);
  attempt(lib, true, () => {
    renameSync(lib, doomed);
    rmSync(doomed, { recursive: true });
  });
  for (const file of own) attempt(file, true, () => rmSync(file));
}

/** The home's lock, once nothing runs on it any more. */
async function stopAll(paths: LeoflowPaths, onStep: (text: string) => void): Promise<HomeLock> {
  let held = await acquireHomeLock(paths.lock);
  if ("heldBy" in held) {
    const { pid } = held.heldBy;
    onStep(`Stopping Leoflow (process ${pid})`);
    try {
      process.kill(pid, "SIGTERM");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EPERM") {
        throw new UserError(`Leoflow runs as another user (process ${pid})`, {
          fix: "stop it there, or run this as that user; nothing was removed",
        });
      }
    }
    const deadline = Date.now() + STOP_WAIT_MS;
    while ("heldBy" in (held = await acquireHomeLock(paths.lock))) {
      if (Date.now() > deadline) {
        throw new UserError(`Leoflow (process ${pid}) does not end`, {
          fix: `end it with \`kill -9 ${pid}\` and run the same command again; nothing was removed`,
        });
      }
      await pause(50);
    }
  }
  try {
    const left = await recoverStaleServer(join(paths.managedPostgres, "data"));
    if (left === "stopped") onStep("Stopped a PostgreSQL that an earlier Leoflow had left");
  } catch (error) {
    held.lock.release();
    throw error;
  }
  return held.lock;
}

async function holderOf(paths: LeoflowPaths): Promise<LockHolder | undefined> {
  if (!existsSync(paths.lock)) return undefined;
  const held = await acquireHomeLock(paths.lock);
  if ("heldBy" in held) return held.heldBy;
  held.lock.release();
  return undefined;
}

function removeWhole(path: string, trash: string): void {
  if (path === trash) return;
  if (!lstatSync(path).isDirectory()) {
    rmSync(path);
    return;
  }
  mkdirSync(trash, { recursive: true, mode: 0o700 });
  const doomed = join(trash, basename(path));
  renameSync(path, doomed);
  rmSync(doomed, { recursive: true });
}

/** A workspace may be a link to a folder elsewhere, or the place where a container mounts one. */
function removeFolder(folder: string): void {
  const target = realpathSync(folder);
  for (const name of namesIn(target)) rmSync(join(target, name), { recursive: true });
  try {
    rmdirSync(target);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EBUSY") throw error;
  }
  if (lstatSync(folder, { throwIfNoEntry: false })?.isSymbolicLink()) rmSync(folder);
}

/** Only empty folders are left by now: of PostgreSQL, and of a program that was installed into the home. */
function removeFolderIfEmpty(paths: LeoflowPaths): void {
  const target = realpathSync(paths.home);
  for (const name of ["managed-postgres", "bin", "lib"]) {
    const folder = join(target, name);
    if (existsSync(folder) && namesIn(folder).length === 0) rmdirSync(folder);
  }
  try {
    rmdirSync(target);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EBUSY") throw error;
  }
  if (lstatSync(paths.home, { throwIfNoEntry: false })?.isSymbolicLink()) rmSync(paths.home);
}

function piece(what: string, path: string): Piece {
  return { what, path, bytes: sizeOf(path) };
}

/** Of what cannot be looked into, what can be seen. */
function sizeOf(path: string): number {
  try {
    const stats = lstatSync(path);
    if (!stats.isDirectory()) return stats.size;
    return namesIn(path).reduce((sum, name) => sum + sizeOf(join(path, name)), 0);
  } catch {
    return 0;
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) return [];
    throw error;
  }
}

function reasonOf(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === "EACCES" || code === "EPERM") return "permission denied";
  if (code === "EROFS") return "the disk is read-only";
  return error instanceof Error ? error.message : String(error);
}
