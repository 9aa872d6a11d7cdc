import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { runCommand } from "../command.ts";
import type { LeoflowPaths } from "../paths.ts";
import type { Progress } from "../progress.ts";
import { ensureUv, noPythonError, uvEnvironment } from "./uv.ts";

/** Pinned per release; the folder ~/.leoflow/python/ changes only when this does. */
export const PINNED_PYTHON = "3.12.16";

/** What serves where the pinned CPython cannot be had, best first. Airflow 3.3 runs on each. */
const FITTING = ["3.12", "3.13", "3.11", "3.10"].filter(
  // python/requirements.lock has no wheels for this one (python/pyproject.toml).
  (version) => !(version === "3.13" && process.platform === "darwin" && process.arch === "x64"),
);

export interface Interpreter {
  executable: string;
  /** "3.12.16" */
  version: string;
}

/** uv and a CPython, found or installed when first asked for: a start that finds everything in place needs neither. */
export class Toolchain {
  readonly paths: LeoflowPaths;
  readonly #progress: Progress;
  readonly #signal: AbortSignal | undefined;
  #uv: Promise<string> | undefined;
  #interpreter: Promise<Interpreter> | undefined;

  constructor(paths: LeoflowPaths, progress: Progress, signal?: AbortSignal) {
    this.paths = paths;
    this.#progress = progress;
    this.#signal = signal;
  }

  /** Path of a uv that fits. */
  uv(): Promise<string> {
    mkdirSync(this.paths.python, { recursive: true, mode: 0o700 });
    return (this.#uv ??= ensureUv(this.paths, this.#progress, this.#signal));
  }

  interpreter(): Promise<Interpreter> {
    return (this.#interpreter ??= this.#findInterpreter());
  }

  /** Runs uv with our folders and without the user's virtual environment. */
  async run(args: readonly string[], onLine?: (line: string) => void, env: Record<string, string> = {}) {
    const uv = await this.uv();
    return runCommand([uv, ...args, ...this.#bundled(args)], {
      signal: this.#signal,
      env: {
        ...uvEnvironment,
        ...this.#bundledPython(),
        UV_PYTHON_INSTALL_DIR: this.paths.python,
        UV_NO_PROGRESS: "1",
        ...env,
      },
      // uv's own headlines ("Resolved 130 packages"), not its lists.
      onLine: (line) => /^(Resolved|Prepared|Installed|Downloading|Bytecode|Installing)/.test(line) && onLine?.(line),
    });
  }

  /** An offline bundle holds what this release pins by hash. What users ask for themselves still comes from their index. */
  #bundled(args: readonly string[]): string[] {
    const wheels = join(this.paths.program, "vendor/wheels");
    return args.includes("--require-hashes") && existsSync(wheels) ? ["--no-index", "--find-links", wheels] : [];
  }

  /** Where an offline bundle could take CPython with it, it has the shape of a mirror. */
  #bundledPython(): Record<string, string> {
    const mirror = join(this.paths.program, "vendor/python");
    return existsSync(mirror) ? { UV_PYTHON_INSTALL_MIRROR: pathToFileURL(mirror).href } : {};
  }

  async #findInterpreter(): Promise<Interpreter> {
    const present = await this.#find(["--managed-python", PINNED_PYTHON]);
    if (present) return present;
    await this.uv();
    const installed = await this.#progress.step(`Look for CPython ${PINNED_PYTHON}`, async (detail) => {
      // Few retries: there is a way out below, and a machine without a network must not wait for it.
      const result = await this.run(
        ["python", "install", "--no-bin", "--install-dir", this.paths.python, PINNED_PYTHON],
        detail,
        { UV_HTTP_RETRIES: "1" },
      );
      const found = result.code === 0 ? await this.#find(["--managed-python", PINNED_PYTHON]) : undefined;
      if (found) return { found };
      for (const version of FITTING) {
        const system = await this.#find(["--system", "--no-managed-python", `cpython-${version}`]);
        if (system) {
          detail(`not to be had, Python ${system.version} of this machine serves`);
          return { found: system };
        }
      }
      return { output: result.output };
    });
    if (installed.found === undefined) throw noPythonError(installed.output);
    if (installed.found.version !== PINNED_PYTHON) {
      this.#progress.note(
        `CPython ${PINNED_PYTHON} could not be downloaded; using ${installed.found.executable} (Python ${installed.found.version})`,
      );
    }
    return installed.found;
  }

  async #find(args: string[]): Promise<Interpreter | undefined> {
    const result = await this.run(["python", "find", "--no-python-downloads", "--show-version", ...args]);
    const version = /^(\d+\.\d+\.\d+)/.exec(result.stdout.trim())?.[1];
    if (result.code !== 0 || version === undefined) return undefined;
    const path = await this.run(["python", "find", "--no-python-downloads", ...args]);
    return path.code === 0 ? { executable: path.stdout.trim(), version } : undefined;
  }
}
