import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { commandError } from "../command.ts";
import type { LeoflowPaths } from "../paths.ts";
import { silentProgress, type Progress } from "../progress.ts";
import { PINNED_PYTHON, Toolchain } from "./toolchain.ts";

const MARKER = ".leoflow-deps";

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
}

/**
 * Makes `~/.leoflow/venv` what python/requirements.lock says. Nothing happens while the marker matches, so a later start
 * needs neither uv nor a network.
 */
export async function ensurePython(
  paths: LeoflowPaths,
  progress: Progress = silentProgress,
  toolchain = new Toolchain(paths, progress),
): Promise<BasePython> {
  const lockFile = join(paths.program, "python/requirements.lock");
  const lock = `sha256:${createHash("sha256").update(readFileSync(lockFile)).digest("hex")}`;
  const executable = join(paths.venv, "bin/python");
  const markerFile = join(paths.venv, MARKER);
  const marker = readBaseMarker(paths);
  // existsSync follows the link, so a system Python that went away is noticed.
  const usable =
    marker !== undefined && existsSync(executable) && (marker.pinned_python ?? PINNED_PYTHON) === PINNED_PYTHON;
  if (usable && marker.lock === lock) return { executable, sitePackages: join(paths.venv, marker.site_packages) };

  const interpreter = await toolchain.interpreter();
  return progress.step("Install Airflow's Python packages", async (detail) => {
    rmSync(markerFile, { force: true });
    const install = () =>
      toolchain.run(
        [
          ...["pip", "install", "--python", executable, "--require-hashes", "--no-deps", "--compile-bytecode"],
          ...["--only-binary", ":all:", "-r", lockFile],
        ],
        detail,
      );
    // Whole packages are swapped in a venv that was complete, so what a user added to it stays. Anything else is remade.
    const updated = usable ? await install() : undefined;
    if (updated?.code !== 0) {
      mkdirSync(paths.home, { recursive: true, mode: 0o700 });
      // Not left to uv: it keeps a folder that does not look like an environment yet.
      rmSync(paths.venv, { recursive: true, force: true });
      const made = await toolchain.run(["venv", "--python", interpreter.executable, paths.venv], detail);
      if (made.code !== 0) throw commandError({ doing: `make the virtual environment ${paths.venv}` }, made);
      const result = await install();
      if (result.code !== 0) {
        throw commandError(
          {
            doing: "install Airflow's Python packages",
            fetching: "apache-airflow-core 3.3.2 and what it needs from PyPI (about 80 MB)",
          },
          result,
        );
      }
    }
    const sitePackages = await sitePackagesOf(toolchain, executable);
    const written: BaseMarker = {
      lock,
      pinned_python: PINNED_PYTHON,
      python: interpreter.version,
      site_packages: sitePackages,
    };
    writeFileSync(`${markerFile}.new`, `${JSON.stringify(written, null, 2)}\n`);
    renameSync(`${markerFile}.new`, markerFile);
    return { executable, sitePackages: join(paths.venv, sitePackages) };
  });
}

/** What the base environment is; undefined where it is not whole. */
export function readBaseMarker(paths: LeoflowPaths): BaseMarker | undefined {
  try {
    const value = JSON.parse(readFileSync(join(paths.venv, MARKER), "utf8")) as Partial<BaseMarker>;
    return value.lock && value.python && value.site_packages ? (value as BaseMarker) : undefined;
  } catch {
    return undefined;
  }
}

async function sitePackagesOf(toolchain: Toolchain, executable: string): Promise<string> {
  const result = await toolchain.run(["python", "find", "--show-version", executable]);
  const minor = /^(\d+\.\d+)\./.exec(result.stdout.trim())?.[1];
  if (minor === undefined) throw commandError({ doing: `run ${executable}` }, result);
  return `lib/python${minor}/site-packages`;
}
