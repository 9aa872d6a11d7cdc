import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { readEnvironment } from "../../kit/config.ts";
import { UserError } from "../../kit/user-error.ts";
import { commandError, isDiskFull, runCommand } from "../command.ts";
import type { LeoflowPaths } from "../paths.ts";
import type { Progress } from "../progress.ts";

/** The uv that was tested with this release; a newer one on PATH serves too. */
export function pinnedUvVersion(paths: LeoflowPaths): string {
  const found = /^uv==(\S+)/m.exec(readFileSync(join(paths.program, "python/uv.lock"), "utf8"));
  if (!found?.[1]) throw new Error("python/uv.lock does not name a version");
  return found[1];
}

/**
 * The uv to use: the one a release bundle carries, the one installed here earlier, a fitting one on PATH, its wheel
 * through the pip of any Python, its official installer; in this order.
 */
export async function ensureUv(paths: LeoflowPaths, progress: Progress, signal?: AbortSignal): Promise<string> {
  const pinned = pinnedUvVersion(paths);
  const own = join(paths.python, "uv/bin/uv");
  for (const candidate of [join(paths.program, "vendor/uv"), own, "uv"]) {
    const version = await uvVersion(candidate);
    if (version !== undefined && compareVersions(version, pinned) >= 0) return candidate;
  }
  return progress.step(`Install uv ${pinned}`, async (detail) => {
    const folder = join(paths.python, "uv");
    const fresh = `${folder}.new`;
    rmSync(fresh, { recursive: true, force: true });
    mkdirSync(fresh, { recursive: true });
    const failures: string[] = [];
    for (const install of [fromWheel, fromInstaller]) {
      const failure = await install({ paths, folder: fresh, version: pinned, detail, signal });
      if (failure === undefined && (await uvVersion(join(fresh, "bin/uv"))) !== undefined) {
        rmSync(folder, { recursive: true, force: true });
        renameSync(fresh, folder);
        return own;
      }
      if (failure) failures.push(failure);
      if (failure && isDiskFull(failure)) break;
    }
    rmSync(fresh, { recursive: true, force: true });
    throw commandError(
      { doing: `install uv ${pinned}`, fetching: `uv ${pinned} from PyPI and astral.sh` },
      { code: 1, stdout: "", output: failures.join("\n") },
    );
  });
}

async function uvVersion(program: string): Promise<string | undefined> {
  const result = await runCommand([program, "--version"]);
  return result.code === 0 ? /^uv (\d+\.\d+\.\d+)/.exec(result.stdout)?.[1] : undefined;
}

interface UvInstall {
  paths: LeoflowPaths;
  folder: string;
  version: string;
  detail: (text: string) => void;
  signal: AbortSignal | undefined;
}

async function fromWheel({ paths, folder, detail, signal }: UvInstall): Promise<string | undefined> {
  const failures: string[] = [];
  for (const python of pythonsOnPath()) {
    detail(`wheel through ${python}`);
    const result = await runCommand(
      [
        ...[python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"],
        ...["--only-binary", ":all:", "--target", folder, "-r", join(paths.program, "python/uv.lock")],
      ],
      { env: { PIP_USER: undefined, PIP_REQUIRE_VIRTUALENV: undefined }, signal },
    );
    if (result.code === 0) return undefined;
    // A Python without pip is common; the next one may have it.
    if (!result.output.includes("No module named pip")) failures.push(result.output);
  }
  return failures.join("\n") || "no Python with pip was found";
}

function pythonsOnPath(): string[] {
  const folders = readEnvironment().path.split(delimiter).filter(Boolean);
  return folders.length === 0 ? [] : ["python3", "python3.13", "python3.12", "python3.11", "python3.10", "python"];
}

async function fromInstaller({ folder, version, detail, signal }: UvInstall): Promise<string | undefined> {
  detail("official installer");
  const url = `https://astral.sh/uv/${version}/install.sh`;
  let script: string;
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(20_000) });
    if (!response.ok) return `${url}: HTTP ${response.status}`;
    script = await response.text();
  } catch (error) {
    const reason = error instanceof Error ? `${error.message} ${causeOf(error)}` : String(error);
    return `${url}: ${reason}`;
  }
  const file = join(folder, "install.sh");
  writeFileSync(file, script);
  const result = await runCommand(["sh", file, "--quiet"], {
    signal,
    env: { UV_INSTALL_DIR: join(folder, "bin"), UV_UNMANAGED_INSTALL: join(folder, "bin"), UV_NO_MODIFY_PATH: "1" },
  });
  return result.code === 0 ? undefined : result.output;
}

function causeOf(error: Error): string {
  return error.cause instanceof Error ? error.cause.message : "";
}

/** Negative, zero or positive, by the numbers. */
export function compareVersions(left: string, right: string): number {
  const numbers = (version: string) => version.split(".").map(Number);
  const [a, b] = [numbers(left), numbers(right)];
  for (let place = 0; place < Math.max(a.length, b.length); place++) {
    const difference = (a[place] ?? 0) - (b[place] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** uv must neither see a virtual environment the user is in, nor their PYTHONPATH. */
export const uvEnvironment = {
  VIRTUAL_ENV: undefined,
  CONDA_PREFIX: undefined,
  PYTHONPATH: undefined,
  PYTHONHOME: undefined,
  UV_PYTHON: undefined,
  UV_SYSTEM_PYTHON: undefined,
  UV_PROJECT_ENVIRONMENT: undefined,
} as const;

/** Said where no Python at all can be had. */
export function noPythonError(output: string): UserError {
  const error = commandError(
    { doing: "find or install Python", fetching: "CPython from github.com/astral-sh/python-build-standalone" },
    { code: 1, stdout: "", output },
  );
  return new UserError(error.message, {
    fix: `${error.fix ?? "look at the message above"}; or install Python 3.10 to 3.13 with your system's packages`,
  });
}
