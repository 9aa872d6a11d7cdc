import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFile, mkdir, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { childEnvironment } from "../../kit/config.ts";
import type { Kit } from "../../kit/service.ts";
import { messageOf } from "./discovery.ts";

/** Name of the environment without dependencies: `~/.leoflow/venv`. */
export const DEFAULT_ENVIRONMENT = "default";
const MARKER = ".leoflow-deps";

export interface ProjectEnvironmentsConfig {
  /** `~/.leoflow/venvs`. */
  folder: string;
  /** The base environment's interpreter. */
  basePython: string;
  /** python/requirements.lock: pins Airflow; its other versions are kept wherever a project does not ask for another. */
  lockFile: string;
  /** What uv must and must not see of our environment. */
  uvEnvironment: Record<string, string | undefined>;
}

export type EnvironmentState =
  { kind: "ready"; name: string } | { kind: "building"; done: Promise<void> } | { kind: "failed"; message: string };

/**
 * A virtual environment per list of dependencies, made by uv. Its name is the hash of the sorted list: projects with the same
 * list share one, a changed list makes another, and runs of older versions keep theirs.
 */
export class ProjectEnvironments {
  readonly #kit: Kit;
  readonly #uv: () => Promise<string>;
  readonly #config: ProjectEnvironmentsConfig;
  readonly #states = new Map<string, EnvironmentState>();
  readonly #abort = new AbortController();
  #base: Promise<string> | null = null;
  /** One at a time: uv itself uses all cores. */
  #queue: Promise<void> = Promise.resolve();

  /** `uv` gives the path of a fitting uv; it is asked only when something must be installed. */
  constructor(kit: Kit, uv: () => Promise<string>, config: ProjectEnvironmentsConfig) {
    this.#kit = kit;
    this.#uv = uv;
    this.#config = config;
  }

  /** The state as it is known, without starting anything. */
  known(dependencies: readonly string[]): EnvironmentState | null {
    if (dependencies.length === 0) return { kind: "ready", name: DEFAULT_ENVIRONMENT };
    return this.#states.get(environmentName(dependencies)) ?? null;
  }

  /** Ready at once where the marker matches; otherwise building starts, again after a failure. */
  async prepare(dependencies: readonly string[]): Promise<EnvironmentState> {
    const name = environmentName(dependencies);
    const known = this.known(dependencies);
    if (known && known.kind !== "failed") return known;
    const list = sortedDependencies(dependencies);
    const found = await this.#find(name, list);
    if (found) {
      this.#states.set(name, found);
      return found;
    }
    const meanwhile = this.known(dependencies);
    if (meanwhile?.kind === "building") return meanwhile;
    const done = this.#queue.then(() => this.#build(name, list)).then((state) => void this.#states.set(name, state));
    this.#queue = done;
    const building: EnvironmentState = { kind: "building", done };
    this.#states.set(name, building);
    return building;
  }

  /** Environments that were made from another base are made anew; runs of older versions may still need them. */
  async refreshOutdated(named: ReadonlySet<string>): Promise<void> {
    for (const name of await readdir(this.#config.folder).catch(() => [])) {
      const marker = await readFile(join(this.#config.folder, name, MARKER), "utf8").catch(() => null);
      if (marker === null || !named.has(name)) continue;
      const list = marker.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
      await this.prepare(list);
    }
  }

  /** Removes environments that neither a version nor a present project names. */
  async collectGarbage(named: ReadonlySet<string>, nowMs: number, minimumAgeMs = 3_600_000): Promise<number> {
    let removed = 0;
    for (const name of await readdir(this.#config.folder).catch(() => [])) {
      if (named.has(name) || this.#states.has(name) || !/^[0-9a-f]{16}$/.test(name)) continue;
      const path = join(this.#config.folder, name);
      if (nowMs - (await stat(path)).mtimeMs < minimumAgeMs) continue;
      await rm(path, { recursive: true, force: true });
      removed++;
    }
    return removed;
  }

  /** Ends what is being installed; an unfinished environment has no marker and is made anew. */
  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#queue;
  }

  async #build(name: string, list: readonly string[]): Promise<EnvironmentState> {
    const path = join(this.#config.folder, name);
    const startedMs = performance.now();
    try {
      this.#kit.logger.info({ environment: name, dependencies: list }, "installing a project's dependencies");
      const lock = await readFile(this.#config.lockFile, "utf8");
      await mkdir(this.#config.folder, { recursive: true });
      await rm(path, { recursive: true, force: true });
      const python = join(path, "bin/python");
      await this.#run(["venv", "--quiet", "--python", this.#config.basePython, path]);
      const wanted = join(path, "requirements.in");
      const resolved = join(path, "requirements.txt");
      await writeFile(wanted, `${[...airflowPins(lock), ...list].join("\n")}\n`);
      // An existing output is what uv keeps to, where the requirements let it: the tested versions stay.
      await copyFile(this.#config.lockFile, resolved);
      await this.#run(["pip", "compile", "--quiet", "--python", python, wanted, "--output-file", resolved]);
      await this.#run(["pip", "install", "--quiet", "--python", python, "--no-deps", "-r", resolved]);
      const marker = join(path, MARKER);
      await writeFile(`${marker}.new`, await this.#marker(list));
      await rename(`${marker}.new`, marker);
      const seconds = Math.round(performance.now() - startedMs) / 1000;
      this.#kit.logger.info({ environment: name, seconds }, "installed a project's dependencies");
      return { kind: "ready", name };
    } catch (error) {
      return { kind: "failed", message: messageOf(error) };
    }
  }

  async #find(name: string, list: readonly string[]): Promise<EnvironmentState | null> {
    const path = join(this.#config.folder, name);
    try {
      const marker = await readFile(join(path, MARKER), "utf8").catch(() => null);
      // stat follows the link: an interpreter that went away makes the environment useless.
      const interpreter = await stat(join(path, "bin/python")).catch(() => null);
      return interpreter !== null && marker === (await this.#marker(list)) ? { kind: "ready", name } : null;
    } catch (error) {
      return { kind: "failed", message: messageOf(error) };
    }
  }

  async #marker(list: readonly string[]): Promise<string> {
    this.#base ??= readFile(this.#config.lockFile).then((lock) => createHash("sha256").update(lock).digest("hex"));
    return `# base: ${await this.#base}\n${list.join("\n")}\n`;
  }

  async #run(args: readonly string[]): Promise<void> {
    const uv = await this.#uv();
    await new Promise<void>((done, failed) => {
      const options = { env: childEnvironment(this.#config.uvEnvironment), signal: this.#abort.signal };
      execFile(uv, args, { ...options, maxBuffer: 4 * 1024 * 1024 }, (error, _stdout, stderr) => {
        if (!error) done();
        else failed(new Error(stderr.trim() || error.message, { cause: error }));
      });
    });
  }
}

/** Independent of order and of spaces. */
export function sortedDependencies(dependencies: readonly string[]): string[] {
  return [...new Set(dependencies.map((requirement) => requirement.trim().replaceAll(/\s+/g, " ")))].sort();
}

export function environmentName(dependencies: readonly string[]): string {
  if (dependencies.length === 0) return DEFAULT_ENVIRONMENT;
  return createHash("sha256").update(sortedDependencies(dependencies).join("\n")).digest("hex").slice(0, 16);
}

/** Airflow itself stays what the control plane speaks to; providers come along, in another version where a project wants. */
function airflowPins(lock: string): string[] {
  const lines = lock.split("\n").filter((line) => line.startsWith("apache-airflow"));
  const pins = lines.map((line) => line.replace(/\s*\\$/, ""));
  return [
    ...new Set(pins.map((pin) => (pin.startsWith("apache-airflow-providers-") ? (pin.split("==")[0] as string) : pin))),
  ];
}
