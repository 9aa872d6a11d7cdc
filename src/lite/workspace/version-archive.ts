import { createHash } from "node:crypto";
import {
  cp,
  lstat,
  mkdir,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  stat,
  symlink,
  unlink,
  writeFile,
} from "node:fs/promises";
import { extname, join, posix } from "node:path";
import type { ProjectOverlay } from "../../domain/parse-result.ts";
import { newId } from "../../kit/ids.ts";
import { markerFor } from "./bundles-in-workspace.ts";
import { isArchive, isMissing, parentOf } from "./discovery.ts";
import { PROJECT_FILE } from "./project-file.ts";

/** Beside the files of a version: what they are, and what leoflow.yaml says of the DAG. */
export const VERSION_MANIFEST = ".leoflow-version.json";
const TEMPORARY = ".tmp-";
/** Data files that an import reads are pinned when they look like configuration and are small; a task may write the others. */
const CONFIGURATION = new Set([
  ".yaml",
  ".yml",
  ".toml",
  ".ini",
  ".cfg",
  ".conf",
  ".sql",
  ".j2",
  ".jinja",
  ".jinja2",
  ".tmpl",
]);
const MAX_PINNED_BYTES = 1024 * 1024;

/** What a DAG file's version is made of; workspace-relative paths with `/`. */
export interface VersionSources {
  relPath: string;
  /** Folder of the file's project, or null. */
  projectFolder: string | null;
  /** What leoflow.yaml changes of the DAG; Python finds it in the manifest. */
  overlay: ProjectOverlay | null;
  files: readonly string[];
  templates: readonly string[];
  reads: readonly string[];
  /** Identifies the Python side that parsed it: another one parses again. */
  runtime: string;
}

export type ArchiveOutcome = { kind: "archived"; digest: string } | { kind: "changed-meanwhile"; relPath: string };

/** What is linkable in each folder, for links that are refreshed in one go. */
export type Listings = Map<string, readonly string[]>;

export interface VersionManifest extends VersionSources {
  /** What is copied, with its content's SHA-256. */
  pinned: [string, string][];
  /** Those among them that are not in the workspace: they are made of the others. */
  made?: string[];
}

/**
 * The files of DAG versions: `<root>/<digest>/` holds copies of what a DAG file imported and the templates it names, at their
 * paths below the workspace. Everything else beside them is a link to the live workspace, so that data is found and not copied.
 */
export class VersionArchive {
  readonly #root: string;
  readonly #workspace: string;
  readonly #isDagFile: (relPath: string) => boolean;

  /**
   * DAG files get no links: a folder of a thousand would make a thousand in each version. Modules among them are copied. Archives get
   * theirs: most hold data.
   */
  constructor(root: string, workspace: string, isDagFile: (relPath: string) => boolean) {
    this.#root = root;
    this.#workspace = workspace;
    this.#isDagFile = isDagFile;
  }

  /**
   * Keeps the sources as they are now. Those that changed after `unchangedSinceMs` may differ from what was parsed; with
   * Infinity they are taken as they are. `made` are files that belong to the version and are not in the workspace.
   */
  async keep(
    sources: VersionSources,
    unchangedSinceMs: number,
    made: ReadonlyMap<string, Buffer> = new Map(),
  ): Promise<ArchiveOutcome> {
    const contents = new Map<string, Buffer>();
    for (const { relPath, required } of await this.#pinnable(sources)) {
      try {
        const path = join(this.#workspace, relPath);
        contents.set(relPath, await readFile(path));
        if ((await stat(path)).ctimeMs > unchangedSinceMs) return { kind: "changed-meanwhile", relPath };
      } catch (error) {
        if (!isMissing(error)) throw error;
        if (required && unchangedSinceMs !== Infinity) return { kind: "changed-meanwhile", relPath };
      }
    }
    for (const [relPath, content] of made) contents.set(relPath, content);
    const pinned = [...contents].map(([relPath, content]): [string, string] => [relPath, sha256(content)]);
    const digest = digestOf(pinned);
    const manifest: VersionManifest = { ...sources, pinned, made: [...made.keys()] };
    if (await exists(join(this.#root, digest))) {
      await this.#writeManifest(join(this.#root, digest), manifest);
      await this.refreshLinks(digest);
    } else await this.#create(digest, contents, manifest);
    return { kind: "archived", digest };
  }

  /** The sources of an archive whose pinned files are in the workspace as they are in the archive; null otherwise. */
  async unchangedSources(digest: string, relPath: string, runtime: string): Promise<VersionSources | null> {
    const manifest = await this.#readManifest(digest);
    if (manifest?.runtime !== runtime || manifest.relPath !== relPath) return null;
    const made = new Set(manifest.made);
    const wanted = new Map(manifest.pinned.filter(([name]) => !made.has(name)));
    // Also what would be pinned today: an __init__.py that came since, a template that is there now.
    for (const { relPath } of await this.#pinnable(manifest)) {
      const content = await readFile(join(this.#workspace, relPath)).catch(() => null);
      if (content === null ? wanted.has(relPath) : wanted.get(relPath) !== sha256(content)) return null;
      wanted.delete(relPath);
    }
    return wanted.size === 0 ? manifest : null;
  }

  /**
   * Makes what appeared in the workspace beside archived files reachable, and forgets what went. What tasks wrote beside
   * their DAG file goes where it would be without versions: into the workspace.
   */
  async refreshLinks(digest: string, listings: Listings = new Map()): Promise<void> {
    const manifest = await this.#readManifest(digest);
    if (!manifest) return;
    const pinned = manifest.pinned.map(([relPath]) => relPath);
    await this.#link(join(this.#root, digest), pinned, listings);
  }

  /** Makes one new entry of the workspace reachable from an archive that holds copies beside it. */
  async linkEntry(digest: string, relPath: string): Promise<void> {
    const archive = join(this.#root, digest);
    const folder = await realpath(join(archive, parentOf(relPath))).catch(() => null);
    // Elsewhere the folder is a link to the live one, and shows what is new by itself.
    if (folder !== join(await realpath(archive), parentOf(relPath))) return;
    await symlink(join(this.#workspace, relPath), join(folder, posix.basename(relPath))).catch(ignoreExisting);
  }

  /** Removes the archives that no version names, unless they are younger than `minimumAgeMs`. Returns how many went. */
  async collectGarbage(named: ReadonlySet<string>, nowMs: number, minimumAgeMs = 3_600_000): Promise<number> {
    let removed = 0;
    for (const name of await readdir(this.#root).catch(() => [])) {
      if (named.has(name) || !(/^[0-9a-f]{64}$/.test(name) || name.startsWith(TEMPORARY))) continue;
      const path = join(this.#root, name);
      if (nowMs - (await stat(path)).mtimeMs < minimumAgeMs) continue;
      await rm(path, { recursive: true, force: true });
      removed++;
    }
    return removed;
  }

  async #pinnable(sources: VersionSources): Promise<{ relPath: string; required: boolean }[]> {
    const pinnable = new Map<string, boolean>();
    const offer = (relPath: string, required: boolean) => {
      if (isInside(relPath)) pinnable.set(relPath, required || (pinnable.get(relPath) ?? false));
    };
    for (const relPath of [sources.relPath, ...sources.files]) {
      offer(relPath, true);
      const marker = markerFor(relPath);
      if (marker !== null) offer(marker, false);
      for (let folder = parentOf(relPath); folder !== ""; folder = parentOf(folder)) {
        offer(posix.join(folder, "__init__.py"), false);
      }
    }
    if (sources.projectFolder !== null) offer(posix.join(sources.projectFolder, PROJECT_FILE), false);
    for (const relPath of [...sources.templates, ...sources.reads]) {
      if (relPath.endsWith("/") || pinnable.has(relPath)) continue;
      if (!sources.templates.includes(relPath) && !CONFIGURATION.has(extname(relPath).toLowerCase())) continue;
      const found = await stat(join(this.#workspace, relPath)).catch(() => null);
      if (found?.isFile() && found.size <= MAX_PINNED_BYTES) offer(relPath, false);
    }
    return [...pinnable]
      .map(([relPath, required]) => ({ relPath, required }))
      .sort((a, b) => compare(a.relPath, b.relPath));
  }

  async #create(digest: string, contents: ReadonlyMap<string, Buffer>, manifest: VersionManifest): Promise<void> {
    const temporary = join(this.#root, TEMPORARY + newId());
    try {
      await mkdir(temporary, { recursive: true });
      for (const folder of foldersOf([...contents.keys()])) await mkdir(join(temporary, folder), { recursive: true });
      for (const [relPath, content] of contents) {
        await writeFile(join(temporary, relPath), content, { mode: 0o444, flag: "wx" });
      }
      await this.#writeManifest(temporary, manifest);
      await this.#link(temporary, [...contents.keys()], new Map());
      await rename(temporary, join(this.#root, digest));
    } catch (error) {
      await rm(temporary, { recursive: true, force: true });
      // Two files with the same sources (a copy in flight) make the same archive.
      if (!(await exists(join(this.#root, digest)))) throw error;
    }
  }

  async #link(archive: string, pinned: readonly string[], listings: Listings): Promise<void> {
    const folders = foldersOf(pinned);
    const own = new Set([...pinned, ...folders, VERSION_MANIFEST]);
    for (const folder of folders) {
      const live = listings.get(folder) ?? (await this.#linkable(folder));
      listings.set(folder, live);
      const present = await readdir(join(archive, folder), { withFileTypes: true });
      for (const entry of present) {
        const relPath = posix.join(folder, entry.name);
        const foreign = !entry.isSymbolicLink() && !own.has(relPath) && entry.name !== "__pycache__";
        if (foreign && !entry.name.startsWith(VERSION_MANIFEST)) await this.#handBack(archive, relPath);
      }
      const linked = new Set(present.filter((entry) => entry.isSymbolicLink()).map(({ name }) => name));
      const occupied = new Set(present.map(({ name }) => name));
      for (const name of live) {
        linked.delete(name);
        if (own.has(posix.join(folder, name)) || occupied.has(name)) continue;
        await symlink(join(this.#workspace, folder, name), join(archive, folder, name)).catch(ignoreExisting);
      }
      for (const name of linked) await unlink(join(archive, folder, name)).catch(() => undefined);
    }
  }

  async #handBack(archive: string, relPath: string): Promise<void> {
    const [from, to] = [join(archive, relPath), join(this.#workspace, relPath)];
    // The user has something else there: neither may be lost.
    if (await exists(to)) return;
    try {
      await rename(from, to);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EXDEV") throw error;
      await cp(from, to, { recursive: true, preserveTimestamps: true });
      await rm(from, { recursive: true });
    }
    await symlink(to, from).catch(ignoreExisting);
  }

  async #linkable(folder: string): Promise<string[]> {
    const names = await readdir(join(this.#workspace, folder)).catch(() => []);
    // Python keeps its own bytecode beside the copies: that of the live files would be taken for theirs.
    return names.filter(
      (name) => name !== "__pycache__" && (isArchive(name) || !this.#isDagFile(posix.join(folder, name))),
    );
  }

  async #readManifest(digest: string): Promise<VersionManifest | null> {
    try {
      return JSON.parse(await readFile(join(this.#root, digest, VERSION_MANIFEST), "utf8")) as VersionManifest;
    } catch {
      return null;
    }
  }

  async #writeManifest(archive: string, manifest: VersionManifest): Promise<void> {
    const { relPath, projectFolder, overlay, files, templates, reads, runtime, pinned, made } = manifest;
    const temporary = join(archive, `${VERSION_MANIFEST}.${newId()}`);
    const all = { relPath, projectFolder, overlay, files, templates, reads, runtime, pinned, made };
    await writeFile(temporary, JSON.stringify(all));
    await rename(temporary, join(archive, VERSION_MANIFEST));
  }
}

/** Content address: the hash over sorted paths and their contents' hashes. */
export function digestOf(pinned: readonly [string, string][]): string {
  const lines = [...pinned].sort(([a], [b]) => compare(a, b)).map(([relPath, hash]) => `${hash}  ${relPath}\n`);
  return sha256(lines.join(""));
}

function sha256(content: Buffer | string): string {
  return createHash("sha256").update(content).digest("hex");
}

/** The folders around these files, outermost first, "" included. */
function foldersOf(relPaths: readonly string[]): string[] {
  const folders = new Set([""]);
  for (const relPath of relPaths) {
    for (let folder = parentOf(relPath); folder !== ""; folder = parentOf(folder)) folders.add(folder);
  }
  return [...folders].sort(compare);
}

/** What user code reported must not lead out of the archive. */
function isInside(relPath: string): boolean {
  return (
    relPath !== "" && !posix.isAbsolute(relPath) && posix.normalize(relPath) === relPath && !relPath.startsWith("../")
  );
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}

function ignoreExisting(error: NodeJS.ErrnoException): void {
  if (error.code !== "EEXIST") throw error;
}
