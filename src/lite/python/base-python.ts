import { createHash } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { isAbsolute, join } from "node:path";
import { UserError } from "../../kit/user-error.ts";
import { commandError } from "../command.ts";
import type { LeoflowPaths } from "../paths.ts";
import { silentProgress, type Progress } from "../progress.ts";
import { airflowVersionOf, canServe, packagesIn, packagesOf } from "./installed-packages.ts";
import { newOf, oldOf, recoverSwap, swapIn } from "./swap-folder.ts";
import { Toolchain, type Interpreter } from "./toolchain.ts";
import { removeUnusedPythons } from "./unused-pythons.ts";

const MARKER = ".leoflow-deps";
/** What the environment was made from: tells packages that a user added. */
const LOCK_COPY = ".leoflow-lock";
const RETRY_MS = 86_400_000;

/** The Python that parses DAGs and runs tasks. */
export interface BasePython {
  executable: string;
  sitePackages: string;
}

/** `~/.leoflow/venv/.leoflow-deps`: what is installed. It is written last, so an interrupted install has none. */
export interface BaseMarker {
  lock: string;
  /** What was asked for; another release may pin another. */
  pinned_python?: string;
  /** What it runs on. */
  python: string;
  site_packages: string;
  /** A CPython that this release pins could not be had: it is asked for again after this time. */
  retry_after?: string;
}

/**
 * Makes `~/.leoflow/venv` what python/requirements.lock says, on the CPython that is pinned. Nothing happens while the marker
 * matches, so a later start needs neither uv nor a network. Another one is made beside and swapped in when it is whole: until
 * then, and where it cannot be made, the old one serves if it has the Airflow that is wanted and all that goes with it.
 */
export async function ensurePython(
  paths: LeoflowPaths,
  progress: Progress = silentProgress,
  toolchain = new Toolchain(paths, progress),
): Promise<BasePython> {
  recoverSwap(paths.venv, (fresh) => markerIn(fresh) !== undefined);
  const lockFile = lockFileOf(paths);
  const lock = lockDigest(paths);
  const executable = join(paths.venv, "bin/python");
  const marker = readBaseMarker(paths);
  const making: Making = { paths, progress, toolchain, lockFile, lock };
  // existsSync follows the link, so a system Python that went away is noticed.
  if (marker === undefined || !existsSync(executable)) {
    const interpreter = await toolchain.interpreter();
    return makeEnvironment(making, interpreter, { pinned_python: toolchain.pinned });
  }
  const ready = { executable, sitePackages: join(paths.venv, marker.site_packages) };
  const hasPin = (marker.pinned_python ?? toolchain.pinned) === toolchain.pinned;
  if (marker.lock === lock && (hasPin || isLater(marker.retry_after))) {
    removeUnusedPythons(paths);
    // Left by one that was killed right after its swap.
    rmSync(oldOf(paths.venv), { recursive: true, force: true });
    return ready;
  }
  const pinned = await toolchain.pinnedInterpreter();
  const pin: Pin = { pinned_python: toolchain.pinned };
  if (pinned === undefined && !hasPin) {
    progress.note(
      `CPython ${toolchain.pinned}, which this release pins, could not be downloaded; Python ${marker.python} goes on to serve`,
    );
    pin.pinned_python = marker.pinned_python;
    pin.retry_after = new Date(Date.now() + RETRY_MS).toISOString();
    if (marker.lock === lock) {
      writeMarker(paths.venv, { ...marker, ...pin });
      return ready;
    }
  }
  try {
    const below = interpreterBelow(executable);
    const own = { executable: below, version: marker.python, request: ["--python", below] };
    const interpreter = pinned ?? (toolchain.fits(own.version) ? own : await toolchain.interpreter());
    return await makeEnvironment(making, interpreter, pin);
  } catch (error) {
    if (!(error instanceof UserError) || !canServe(ready.sitePackages, lockFile)) throw error;
    progress.note(`${error.message.split("\n")[0]}; the environment of the release before goes on to serve`);
    return ready;
  }
}

interface Making {
  paths: LeoflowPaths;
  progress: Progress;
  toolchain: Toolchain;
  lockFile: string;
  lock: string;
}

type Pin = Pick<BaseMarker, "pinned_python" | "retry_after">;

async function makeEnvironment(making: Making, interpreter: Interpreter, pin: Pin): Promise<BasePython> {
  const { paths, progress, toolchain, lockFile, lock } = making;
  return progress.step("Install Airflow's Python packages", async (detail) => {
    mkdirSync(paths.home, { recursive: true, mode: 0o700 });
    const fresh = newOf(paths.venv);
    try {
      // Not left to uv: it keeps a folder that does not look like an environment yet.
      rmSync(fresh, { recursive: true, force: true });
      // Relocatable, because it is moved into place.
      const made = await toolchain.run(["venv", "--relocatable", ...interpreter.request, fresh], detail);
      if (made.code !== 0) throw commandError({ doing: `make the virtual environment ${paths.venv}` }, made);
      const result = await toolchain.run(
        [
          ...["pip", "install", "--python", join(fresh, "bin/python"), "--require-hashes", "--no-deps"],
          ...["--compile-bytecode", "--only-binary", ":all:", "-r", lockFile],
        ],
        detail,
      );
      if (result.code !== 0) {
        const fetching = `apache-airflow-core ${airflowVersionOf(lockFile) ?? ""} and what it needs from PyPI (about 80 MB)`;
        throw commandError({ doing: "install Airflow's Python packages", fetching }, result);
      }
      await bringAdded(making, fresh, detail);
      copyFileSync(lockFile, join(fresh, LOCK_COPY));
      const site_packages = await sitePackagesOf(toolchain, join(fresh, "bin/python"));
      writeMarker(fresh, { lock, ...pin, python: interpreter.version, site_packages });
      swapIn(paths.venv);
      rmSync(oldOf(paths.venv), { recursive: true, force: true });
      return { executable: join(paths.venv, "bin/python"), sitePackages: join(paths.venv, site_packages) };
    } catch (error) {
      rmSync(fresh, { recursive: true, force: true });
      throw error;
    }
  });
}

/** What a user installed into the environment comes along where it can be had. */
async function bringAdded(
  { paths, progress, toolchain, lockFile }: Making,
  fresh: string,
  detail: (text: string) => void,
) {
  const before = markerIn(paths.venv);
  if (before === undefined) return;
  const earlierLock = join(paths.venv, LOCK_COPY);
  const ours = new Set([...packagesOf(lockFile), ...(existsSync(earlierLock) ? packagesOf(earlierLock) : [])]);
  const added = packagesIn(join(paths.venv, before.site_packages)).filter(({ name }) => !ours.has(name));
  if (added.length === 0) return;
  const install = ["pip", "install", "--python", join(fresh, "bin/python"), "--no-deps", "--compile-bytecode"];
  const wanted = added.map(({ name, version }) => `${name}==${version}`);
  if ((await toolchain.run([...install, ...wanted], detail)).code === 0) return;
  const failed: string[] = [];
  for (const one of wanted) if ((await toolchain.run([...install, one], detail)).code !== 0) failed.push(one);
  if (failed.length === 0) return;
  progress.note(
    `not in the new ${paths.venv}, because they cannot be installed: ${failed.join(", ")}; list what a project needs in its leoflow.yaml`,
  );
}

const lockFileOf = (paths: LeoflowPaths): string => join(paths.program, "python/requirements.lock");

/** What the program's lock is known by. */
export function lockDigest(paths: LeoflowPaths): string {
  return `sha256:${createHash("sha256")
    .update(readFileSync(lockFileOf(paths)))
    .digest("hex")}`;
}

/** What the base environment is; undefined where it is not whole. */
export function readBaseMarker(paths: LeoflowPaths): BaseMarker | undefined {
  return markerIn(paths.venv);
}

function markerIn(venv: string): BaseMarker | undefined {
  try {
    const value = JSON.parse(readFileSync(join(venv, MARKER), "utf8")) as Partial<BaseMarker>;
    return value.lock && value.python && value.site_packages ? (value as BaseMarker) : undefined;
  } catch {
    return undefined;
  }
}

function writeMarker(venv: string, marker: BaseMarker): void {
  const file = join(venv, MARKER);
  writeFileSync(`${file}.new`, `${JSON.stringify(marker, null, 2)}\n`, { flush: true });
  renameSync(`${file}.new`, file);
}

/** Where its link leads and no further: that may be a link of Homebrew's, which stays when the patch it leads to goes. */
function interpreterBelow(executable: string): string {
  const target = lstatSync(executable).isSymbolicLink() ? readlinkSync(executable) : "";
  return isAbsolute(target) ? target : realpathSync(executable);
}

function isLater(time: string | undefined): boolean {
  return time !== undefined && Date.parse(time) > Date.now();
}

async function sitePackagesOf(toolchain: Toolchain, executable: string): Promise<string> {
  const result = await toolchain.run(["python", "find", "--show-version", executable]);
  const minor = /^(\d+\.\d+)\./.exec(result.stdout.trim())?.[1];
  if (minor === undefined) throw commandError({ doing: `run ${executable}` }, result);
  return `lib/python${minor}/site-packages`;
}
