import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { LeoflowPaths } from "../paths.ts";
import type { Progress } from "../progress.ts";
import { runTied } from "../tied-command.ts";
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
  /** How uv is told to use it. */
  request: string[];
}

interface PinnedSearch {
  found: Interpreter | undefined;
  /** What uv said. */
  output: string;
}

/** uv and a CPython, found or installed when first asked for: a start that finds everything in place needs neither. */
export class Toolchain {
  readonly paths: LeoflowPaths;
  /** The CPython to have. */
  readonly pinned: string;
  readonly #progress: Progress;
  readonly #signal: AbortSignal | undefined;
  #uv: Promise<string> | undefined;
  #pinnedFound: Promise<PinnedSearch> | undefined;
  #interpreter: Promise<Interpreter> | undefined;

  constructor(paths: LeoflowPaths, progress: Progress, signal?: AbortSignal, pinned = PINNED_PYTHON) {
    this.paths = paths;
    this.pinned = pinned;
    this.#progress = progress;
    this.#signal = signal;
  }

  /** Path of a uv that fits. */
  uv(): Promise<string> {
    mkdirSync(this.paths.python, { recursive: true, mode: 0o700 });
    return (this.#uv ??= ensureUv(this.paths, this.#progress, this.#signal));
  }

  /** The pinned CPython, found or installed; undefined where it cannot be had. */
  async pinnedInterpreter(): Promise<Interpreter | undefined> {
    return (await (this.#pinnedFound ??= this.#findPinned())).found;
  }

  /** The pinned one, else one of this machine that serves. */
  interpreter(): Promise<Interpreter> {
    return (this.#interpreter ??= this.#findInterpreter());
  }

  /** Whether this release's packages are made for that Python. */
  fits(version: string): boolean {
    return version === this.pinned || FITTING.some((minor) => version.startsWith(`${minor}.`));
  }

  /** Runs uv with our folders and without the user's virtual environment. It ends with us: the next start makes the same folders. */
  async run(args: readonly string[], onLine?: (line: string) => void, env: Record<string, string> = {}) {
    const uv = await this.uv();
    return runTied([uv, ...args, ...this.#bundled(args)], {
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

  async #findPinned(): Promise<PinnedSearch> {
    const present = await this.#findManaged();
    if (present) return { found: present, output: "" };
    await this.uv();
    return this.#progress.step(`Look for CPython ${this.pinned}`, async (detail) => {
      // Few retries: there is a way out, and a machine without a network must not wait for it.
      const result = await this.run(
        ["python", "install", "--no-bin", "--install-dir", this.paths.python, this.pinned],
        detail,
        { UV_HTTP_RETRIES: "1" },
      );
      const found = result.code === 0 ? await this.#findManaged() : undefined;
      return { found, output: result.output };
    });
  }

  async #findInterpreter(): Promise<Interpreter> {
    const { found, output } = await (this.#pinnedFound ??= this.#findPinned());
    if (found) return found;
    for (const version of FITTING) {
      const system = await this.#find(["--system", "--no-managed-python", `cpython-${version}`]);
      if (!system) continue;
      if (system.version !== this.pinned) {
        this.#progress.note(
          `CPython ${this.pinned} could not be downloaded; using ${system.executable} (Python ${system.version})`,
        );
      }
      return system;
    }
    throw noPythonError(output);
  }

  /** Asked for by version, or uv would put its link to the newest patch into an environment, which then changes by itself. */
  async #findManaged(): Promise<Interpreter | undefined> {
    const found = await this.#find(["--managed-python", this.pinned]);
    return found && { ...found, request: ["--managed-python", "--python", this.pinned] };
  }

  async #find(args: string[]): Promise<Interpreter | undefined> {
    const result = await this.run(["python", "find", "--no-python-downloads", "--show-version", ...args]);
    const version = /^(\d+\.\d+\.\d+)/.exec(result.stdout.trim())?.[1];
    if (result.code !== 0 || version === undefined) return undefined;
    const path = await this.run(["python", "find", "--no-python-downloads", ...args]);
    if (path.code !== 0) return undefined;
    const executable = path.stdout.trim();
    return { executable, version, request: ["--python", executable] };
  }
}
