import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { copyFile, mkdir, readdir, readFile, realpath, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Kit } from "../../kit/service.ts";
import { airflowVersionIn, airflowVersionOf } from "../python/installed-packages.ts";
import { newOf, oldOf, recoverSwap, swapIn } from "../python/swap-folder.ts";
import { runTied } from "../tied-command.ts";
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
  /** Environments that a swap cut short was looked for in. */
  readonly #recovered = new Set<string>();
  readonly #swapped = new Set<string>();
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
    for (const name of named) {
      this.#recover(name);
      const marker = await readFile(join(this.#config.folder, name, MARKER), "utf8").catch(() => null);
      if (marker === null) continue;
      const list = marker.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
      await this.prepare(list);
    }
  }

  /** Removes environments that neither a version nor a present project names. */
  async collectGarbage(named: ReadonlySet<string>, nowMs: number, minimumAgeMs = 3_600_000): Promise<number> {
    let removed = 0;
    for (const name of await readdir(this.#config.folder).catch(() => [])) {
      if (!/^[0-9a-f]{16}(\.old|\.new)?$/.test(name) || this.#isWanted(name, named)) continue;
      const path = join(this.#config.folder, name);
      if (nowMs - (await stat(path)).mtimeMs < minimumAgeMs) continue;
      await rm(path, { recursive: true, force: true });
      removed++;
      if (name.endsWith(".old")) await removeDeadLinks(join(this.#config.folder, name.slice(0, -".old".length), "lib"));
    }
    return removed;
  }

  /** What stands beside an environment is left of a swap: of one cut short, or for tasks of this very start. */
  #isWanted(name: string, named: ReadonlySet<string>): boolean {
    const owner = name.slice(0, 16);
    if (name === owner) return named.has(name) || this.#states.has(name);
    return this.#states.get(owner)?.kind === "building" || this.#swapped.has(owner);
  }

  /** Ends what is being installed; an unfinished environment has no marker and is made anew. */
  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#queue;
  }

  /** Made beside and swapped in whole: tasks of older versions may run in the one there is. */
  async #build(name: string, list: readonly string[]): Promise<EnvironmentState> {
    const path = join(this.#config.folder, name);
    const fresh = newOf(path);
    const startedMs = performance.now();
    try {
      this.#kit.logger.info({ environment: name, dependencies: list }, "installing a project's dependencies");
      const lock = await readFile(this.#config.lockFile, "utf8");
      await mkdir(this.#config.folder, { recursive: true });
      await rm(fresh, { recursive: true, force: true });
      const python = join(fresh, "bin/python");
      await this.#run(["venv", "--quiet", "--relocatable", "--python", this.#config.basePython, fresh]);
      const wanted = join(fresh, "requirements.in");
      const resolved = join(fresh, "requirements.txt");
      await writeFile(wanted, `${[...airflowPins(lock), ...list].join("\n")}\n`);
      // An existing output is what uv keeps to, where the requirements let it: the tested versions stay.
      await copyFile(this.#config.lockFile, resolved);
      await this.#run(["pip", "compile", "--quiet", "--python", python, wanted, "--output-file", resolved]);
      await this.#run(["pip", "install", "--quiet", "--python", python, "--no-deps", "-r", resolved]);
      const marker = join(fresh, MARKER);
      await writeFile(`${marker}.new`, await this.#marker(list));
      await rename(`${marker}.new`, marker);
      swapIn(path);
      this.#swapped.add(name);
      await keepForRunningTasks(path);
      const seconds = Math.round(performance.now() - startedMs) / 1000;
      this.#kit.logger.info({ environment: name, seconds }, "installed a project's dependencies");
      return { kind: "ready", name };
    } catch (error) {
      await rm(fresh, { recursive: true, force: true });
      const message = messageOf(error);
      if (this.#abort.signal.aborted || !(await this.#stillServes(path))) return { kind: "failed", message };
      this.#kit.logger.warn(
        { environment: name, reason: message },
        "could not refresh a project's dependencies; what was installed before goes on to serve",
      );
      return { kind: "ready", name };
    }
  }

  /** Whether an environment of an earlier release, or on an earlier Python, can still run tasks for this one. */
  async #stillServes(path: string): Promise<boolean> {
    const whole = await Promise.all(["bin/python", MARKER].map((file) => stat(join(path, file)).catch(() => null)));
    if (whole.includes(null)) return false;
    const libraries = await readdir(join(path, "lib")).catch(() => []);
    const airflows = libraries.map((library) => airflowVersionIn(join(path, "lib", library, "site-packages")));
    return airflows.includes(airflowVersionOf(this.#config.lockFile));
  }

  async #find(name: string, list: readonly string[]): Promise<EnvironmentState | null> {
    const path = join(this.#config.folder, name);
    try {
      this.#recover(name);
      const marker = await readFile(join(path, MARKER), "utf8").catch(() => null);
      // stat follows the link: an interpreter that went away makes the environment useless.
      const interpreter = await stat(join(path, "bin/python")).catch(() => null);
      return interpreter !== null && marker === (await this.#marker(list)) ? { kind: "ready", name } : null;
    } catch (error) {
      return { kind: "failed", message: messageOf(error) };
    }
  }

  #recover(name: string): void {
    if (this.#recovered.has(name)) return;
    recoverSwap(join(this.#config.folder, name), (fresh) => existsSync(join(fresh, MARKER)));
    this.#recovered.add(name);
  }

  async #marker(list: readonly string[]): Promise<string> {
    this.#base ??= this.#identityOfBase();
    return `# base: ${await this.#base}\n${list.join("\n")}\n`;
  }

  /** Another one when the release pins other packages, or the base environment runs on another Python. */
  async #identityOfBase(): Promise<string> {
    const [lock, python] = await Promise.all([readFile(this.#config.lockFile), realpath(this.#config.basePython)]);
    return createHash("sha256").update(lock).update(`\0${python}`).digest("hex");
  }

  async #run(args: readonly string[]): Promise<void> {
    const uv = await this.#uv();
    const result = await runTied([uv, ...args], { env: this.#config.uvEnvironment, signal: this.#abort.signal });
    if (result.code !== 0) throw new Error(result.output.trim() || `uv ended with ${String(result.code)}`);
  }
}

/**
 * A task that runs may still import from the folder that was there before. With another Python that is one of another name, which
 * stays reachable under it until the next start; with the same Python the new one has the same modules.
 */
async function keepForRunningTasks(path: string): Promise<void> {
  const libraries = (folder: string) => readdir(join(folder, "lib")).catch(() => [] as string[]);
  const present = await libraries(path);
  const gone = (await libraries(oldOf(path))).filter((library) => !present.includes(library));
  if (gone.length === 0) return rm(oldOf(path), { recursive: true, force: true });
  for (const library of gone) await symlink(join(oldOf(path), "lib", library), join(path, "lib", library));
}

async function removeDeadLinks(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true }).catch(() => [])) {
    const path = join(folder, entry.name);
    if (entry.isSymbolicLink() && !existsSync(path)) await rm(path);
  }
}

/** Independent of order and of spaces. */
function sortedDependencies(dependencies: readonly string[]): string[] {
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
