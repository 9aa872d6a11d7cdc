import { readdir, readFile, realpath, stat } from "node:fs/promises";
import { join, posix, relative } from "node:path";
import { BUNDLE_MARKER, isWithin } from "./bundles-in-workspace.ts";
import { isIgnored, parseIgnoreFile, type IgnoreRule, type IgnoreSyntax } from "./ignore-rules.ts";
import { parseProjectFile, PROJECT_FILE, type ProjectFileOutcome } from "./project-file.ts";

export const IGNORE_FILE = ".airflowignore";
const SKIPPED = new Set(["__pycache__", "venv", "node_modules"]);
/** More folders than this is a mistake (a link to `/`), and would exhaust the kernel's watches. */
const MAX_FOLDERS = 20_000;

export interface Project {
  /** Folder below the workspace; "" is the workspace itself. */
  folder: string;
  outcome: ProjectFileOutcome;
}

export interface Discovery {
  /** DAG files below the workspace, each with its project or null, in order of their paths. */
  dagFiles: Map<string, Project | null>;
  /** Every folder below the workspace that can hold DAG files or modules, "" first. Those ignored hold modules still. */
  folders: Set<string>;
  projects: Project[];
  /** Files and folders that could not be read: what they held may still be there. */
  unreadable: { relPath: string; message: string }[];
  problems: string[];
}

/** Folders that hold neither DAG files nor modules of the workspace. */
export function isSkippedFolder(name: string): boolean {
  return name.startsWith(".") || SKIPPED.has(name);
}

/** An archive may hold DAG files: the Python modules at its root. */
export function isArchive(name: string): boolean {
  return name.endsWith(".zip");
}

/** Whether a file of this name is looked at for DAGs. */
export function canHoldDags(name: string): boolean {
  return name.endsWith(".py") || isArchive(name);
}

/** Airflow's safe mode (might_contain_dag_via_default_heuristic). */
export function mightContainDag(content: Buffer): boolean {
  const text = content.toString("latin1").toLowerCase();
  return text.includes("airflow") && (text.includes("dag") || text.includes("asset"));
}

/**
 * Finds the workspace's DAG files. Remembers which files it read, so that a second scan costs only directory listings and
 * stats of Python files.
 */
export class DagFileFinder {
  readonly #workspace: string;
  readonly #syntax: IgnoreSyntax;
  readonly #bundles: ReadonlyMap<string, string> | null;
  readonly #examined = new Map<string, { stamp: string; mayHoldDag: boolean }>();

  /**
   * `workspace` is a real path. `bundles`: for the folder of each bundle the one its DAGs are in; folders that were made for
   * others are left out. null: they are folders like all.
   */
  constructor(workspace: string, syntax: IgnoreSyntax, bundles: ReadonlyMap<string, string> | null = null) {
    this.#workspace = workspace;
    this.#syntax = syntax;
    this.#bundles = bundles;
  }

  /** Throws when the workspace itself cannot be listed. */
  async scan(): Promise<Discovery> {
    const found: Discovery = { dagFiles: new Map(), folders: new Set(), projects: [], unreadable: [], problems: [] };
    const visited = new Set([this.#workspace]);
    // Links come last, so that a folder goes by its real path where it has one, and loops end.
    const links: Walk[] = [];
    const root = { folder: "", real: this.#workspace, rules: [], project: null, ignored: false, dagsIn: "" };
    await this.#walk(root, found, visited, links);
    for (let link = links.shift(); link; link = links.shift()) {
      const real = await realpath(join(this.#workspace, link.folder)).catch(() => null);
      // A link to a folder around the workspace would bring in the workspace's neighbours.
      if (real === null || visited.has(real) || !relative(real, this.#workspace).startsWith("..")) continue;
      visited.add(real);
      await this.#walk({ ...link, real }, found, visited, links);
    }
    const seen = new Set(found.dagFiles.keys());
    found.dagFiles = new Map([...found.dagFiles].sort(([a], [b]) => (a < b ? -1 : 1)));
    for (const relPath of this.#examined.keys()) {
      if (!seen.has(relPath) && !found.folders.has(parentOf(relPath))) this.#examined.delete(relPath);
    }
    return found;
  }

  /**
   * Every archive may, as in Airflow: its modules are looked at when it is parsed. Another file is read again when it changed. An empty file is what it was before, unless `acceptEmpty`: most are about to be
   * written. Throws what the file system says.
   */
  async mayHoldDag(relPath: string, acceptEmpty = false): Promise<boolean> {
    const path = join(this.#workspace, relPath);
    const { mtimeMs, ctimeMs, size, ino } = await stat(path);
    if (isArchive(relPath)) return true;
    const stamp = `${mtimeMs}:${ctimeMs}:${size}:${ino}`;
    const known = this.#examined.get(relPath);
    if (known && (known.stamp === stamp || (size === 0 && !acceptEmpty))) return known.mayHoldDag;
    const mayHoldDag = mightContainDag(await readFile(path));
    this.#examined.set(relPath, { stamp, mayHoldDag });
    return mayHoldDag;
  }

  async #walk(walk: Walk, found: Discovery, visited: Set<string>, links: Walk[]): Promise<void> {
    const { folder } = walk;
    let entries;
    try {
      entries = await readdir(join(this.#workspace, folder), { withFileTypes: true });
    } catch (error) {
      if (folder === "") throw error;
      found.unreadable.push({ relPath: folder, message: messageOf(error) });
      return;
    }
    if (found.folders.size >= MAX_FOLDERS) {
      if (found.folders.size === MAX_FOLDERS)
        found.problems.push(`more than ${MAX_FOLDERS} folders: the rest is left out`);
      return;
    }
    const names = new Set(entries.map(({ name }) => name));
    let { dagsIn } = walk;
    if (this.#bundles && names.has(BUNDLE_MARKER) && folder !== "" && !folder.includes("/")) {
      const root = this.#bundles.get(folder);
      if (root === undefined) {
        found.problems.push(`${folder}: left out, it was made for a DAG bundle that is no longer configured`);
        return;
      }
      if (canHoldDags(root)) return this.#takeOne(root, found);
      dagsIn = root;
    }
    found.folders.add(folder);
    const rules = names.has(IGNORE_FILE) ? [...walk.rules, ...(await this.#rulesIn(folder, found))] : walk.rules;
    const project = names.has(PROJECT_FILE) ? await this.#projectIn(folder, found) : walk.project;

    const files: string[] = [];
    const folders: Walk[] = [];
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const relPath = posix.join(folder, entry.name);
      let isDirectory = entry.isDirectory();
      let isFile = entry.isFile();
      if (entry.isSymbolicLink()) {
        const target = await stat(join(this.#workspace, relPath)).catch(() => null);
        isDirectory = target?.isDirectory() ?? false;
        isFile = target?.isFile() ?? false;
      }
      if (isDirectory && !isSkippedFolder(entry.name)) {
        const ignored = walk.ignored || isIgnored(rules, relPath, true);
        const inner = { folder: relPath, real: join(walk.real, entry.name), rules, project, ignored, dagsIn };
        if (entry.isSymbolicLink()) links.push(inner);
        else folders.push(inner);
      } else if (isFile && canHoldDags(entry.name) && !walk.ignored && !isIgnored(rules, relPath, false)) {
        if (dagsIn === "" || isWithin(folder, dagsIn)) files.push(relPath);
      }
    }
    const sourceOf = (owner: Project | null) =>
      owner?.outcome.kind === "read" ? posix.join(owner.folder, owner.outcome.project.dagSource) : null;
    await Promise.all(
      files.map(async (relPath) => {
        try {
          const mayHoldDag = await this.mayHoldDag(relPath);
          if (mayHoldDag || relPath === sourceOf(project)) found.dagFiles.set(relPath, project);
        } catch (error) {
          if (!isMissing(error)) found.unreadable.push({ relPath, message: messageOf(error) });
        }
      }),
    );
    for (const inner of folders) {
      if (visited.has(inner.real)) continue;
      visited.add(inner.real);
      await this.#walk(inner, found, visited, links);
    }
  }

  /** A bundle of one DAG file: what lies around it, maybe somebody's whole home, is not looked at. */
  async #takeOne(relPath: string, found: Discovery): Promise<void> {
    const folder = parentOf(relPath);
    found.folders.add(folder);
    const isProject = await stat(join(this.#workspace, folder, PROJECT_FILE)).catch(() => null);
    found.dagFiles.set(relPath, isProject ? await this.#projectIn(folder, found) : null);
  }

  async #rulesIn(folder: string, found: Discovery): Promise<IgnoreRule[]> {
    try {
      const text = await readFile(join(this.#workspace, folder, IGNORE_FILE), "utf8");
      const { rules, problems } = parseIgnoreFile(text, folder, this.#syntax);
      found.problems.push(...problems);
      return rules;
    } catch (error) {
      if (!isMissing(error)) found.problems.push(`${posix.join(folder, IGNORE_FILE)}: ${messageOf(error)}`);
      return [];
    }
  }

  async #projectIn(folder: string, found: Discovery): Promise<Project> {
    const relPath = posix.join(folder, PROJECT_FILE);
    let outcome: ProjectFileOutcome;
    try {
      outcome = parseProjectFile(await readFile(join(this.#workspace, relPath), "utf8"), relPath);
    } catch (error) {
      outcome = { kind: "broken", message: `${relPath}: ${messageOf(error)}` };
    }
    if (outcome.kind === "read" && outcome.project.overlay !== null) {
      const { dagSource } = outcome.project;
      const source = posix.join(folder, dagSource);
      const isThere = await stat(join(this.#workspace, source)).then(
        (file) => file.isFile(),
        () => false,
      );
      // Else what it says of the DAG would be without effect, and nobody told.
      if (!isThere)
        outcome = { kind: "broken", message: `${relPath}: there is no ${source}; set dag_source to the DAG's file` };
    }
    const project = { folder, outcome };
    found.projects.push(project);
    return project;
  }
}

interface Walk {
  folder: string;
  /** Its real path, where links led elsewhere. */
  real: string;
  rules: readonly IgnoreRule[];
  project: Project | null;
  ignored: boolean;
  /** Only below this folder are DAG files looked for: a bundle's modules and data may lie around it. */
  dagsIn: string;
}

/** The folder of a path below the workspace; "" for its root. */
export function parentOf(relPath: string): string {
  const folder = posix.dirname(relPath);
  return folder === "." ? "" : folder;
}

export function isMissing(error: unknown): boolean {
  const { code } = error as { code?: string };
  return code === "ENOENT" || code === "ENOTDIR";
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
