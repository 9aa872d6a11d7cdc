import { stat } from "node:fs/promises";
import { basename, join } from "node:path";
import type { DagFiles } from "./dag-files.ts";
import { canHoldDags, IGNORE_FILE, isArchive, isSkippedFolder, type DagFileFinder } from "./discovery.ts";
import type { FileDependencies } from "./file-dependencies.ts";
import { PROJECT_FILE } from "./project-file.ts";
import type { VersionArchive } from "./version-archive.ts";

export interface PathChangesDeps {
  finder: DagFileFinder;
  files: DagFiles;
  dependencies: FileDependencies;
  archive: VersionArchive;
  touchLater(relPath: string, quietMs: number): void;
}

/** A saved file that is empty is mostly about to be written. */
const EMPTY_HOLD_MS = 100;
const EMPTY_HOLDS = 3;
/** Data that tasks write and a DAG file reads must not parse it in a loop. */
const READ_INTERVAL_MS = 2_000;

/** Turns touched paths into what is to be parsed again. */
export class PathChanges {
  readonly #workspace: string;
  readonly #deps: PathChangesDeps;
  readonly #emptyHolds = new Map<string, number>();
  readonly #parsedForRead = new Map<string, number>();
  /** Entries that the live archives were given a link to. */
  readonly #linked = new Set<string>();

  constructor(workspace: string, deps: PathChangesDeps) {
    this.#workspace = workspace;
    this.#deps = deps;
  }

  /** Parses what these paths concern. true: files or folders came or went, the workspace must be scanned. */
  async take(relPaths: readonly string[], folders: ReadonlySet<string>): Promise<boolean> {
    const { files } = this.#deps;
    let rescan = false;
    let modules = false;
    for (const relPath of relPaths) {
      let isDagFile = files.has(relPath);
      const name = basename(relPath);
      const found = await stat(join(this.#workspace, relPath)).catch(() => null);
      if (found?.isFile() && found.size === 0 && this.#holds(relPath)) continue;
      this.#emptyHolds.delete(relPath);
      if (name === IGNORE_FILE || name === PROJECT_FILE) rescan = true;
      else if (!found) rescan ||= isDagFile || folders.has(relPath);
      else if (found.isDirectory()) rescan ||= !folders.has(relPath) && !isSkippedFolder(name);
      else if (canHoldDags(name)) {
        modules ||= !isDagFile;
        if (await this.#isOtherThanKnown(relPath)) {
          isDagFile = true;
          rescan = true;
        } else if (isDagFile) files.enqueue(relPath, true);
      }
      await this.#parseDependents(relPath);
      if (!isDagFile || isArchive(name)) await this.#link(relPath, found !== null);
    }
    if (modules) files.retryFailedImports();
    return rescan;
  }

  /** Nothing is held for ever: a file may be empty on purpose. */
  #holds(relPath: string): boolean {
    const { files, dependencies } = this.#deps;
    const holds = this.#emptyHolds.get(relPath) ?? 0;
    if (holds >= EMPTY_HOLDS || !(files.has(relPath) || dependencies.isKnown(relPath))) return false;
    this.#emptyHolds.set(relPath, holds + 1);
    this.#deps.touchLater(relPath, EMPTY_HOLD_MS);
    return true;
  }

  /** Did it become, or cease to be, a DAG file? */
  async #isOtherThanKnown(relPath: string): Promise<boolean> {
    try {
      return (await this.#deps.finder.mayHoldDag(relPath, true)) !== this.#deps.files.has(relPath);
    } catch {
      return true;
    }
  }

  async #parseDependents(relPath: string): Promise<void> {
    const { bySource, byRead } = await this.#deps.dependencies.affectedBy(relPath);
    for (const dagFile of bySource) if (dagFile !== relPath) this.#deps.files.enqueue(dagFile, true);
    for (const dagFile of byRead) {
      const waitMs = (this.#parsedForRead.get(dagFile) ?? 0) + READ_INTERVAL_MS - performance.now();
      if (waitMs > 0) this.#deps.touchLater(relPath, waitMs);
      else {
        this.#parsedForRead.set(dagFile, performance.now());
        this.#deps.files.enqueue(dagFile, true);
      }
    }
  }

  /** New data beside the DAG files is to be found from the archives of their versions, too. */
  async #link(relPath: string, exists: boolean): Promise<void> {
    if (!exists) {
      this.#linked.delete(relPath);
      return;
    }
    if (this.#linked.has(relPath) || this.#deps.dependencies.isKnown(relPath)) return;
    this.#linked.add(relPath);
    for (const digest of this.#deps.files.archives()) await this.#deps.archive.linkEntry(digest, relPath);
  }
}
