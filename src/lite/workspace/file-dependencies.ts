import { createHash } from "node:crypto";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { parentOf } from "./discovery.ts";

const MAX_HASHED_BYTES = 4 * 1024 * 1024;

/** What a DAG file's import depended on; workspace-relative. */
export interface ImportedPaths {
  /** Modules and templates. */
  sources: readonly string[];
  /** Data files; folders that were listed end in `/`. */
  reads: readonly string[];
}

interface Dependencies {
  sources: ReadonlySet<string>;
  reads: ReadonlySet<string>;
  /** Content as the last parse saw it: what writes a file anew on each import must not parse for ever. */
  seen: ReadonlyMap<string, string>;
}

/** Knows which DAG files must be parsed again when a path changes. */
export class FileDependencies {
  readonly #workspace: string;
  readonly #byDagFile = new Map<string, Dependencies>();

  constructor(workspace: string) {
    this.#workspace = workspace;
  }

  /** Replaces what the DAG file depends on, and takes the paths' present content as seen. */
  async record(dagFile: string, imported: ImportedPaths): Promise<void> {
    const sources = new Set(imported.sources);
    const reads = new Set(imported.reads);
    const stamps = await Promise.all(
      [...sources, ...reads].map(async (path) => [path, await this.#stamp(path)] as const),
    );
    this.#byDagFile.set(dagFile, { sources, reads, seen: new Map(stamps) });
  }

  forget(dagFile: string): void {
    this.#byDagFile.delete(dagFile);
  }

  /** Every file some DAG file depends on; used to look at them by time where they cannot be watched. */
  paths(): Set<string> {
    return new Set([...this.#byDagFile.values()].flatMap(({ seen }) => [...seen.keys()]));
  }

  /** Folders of what is depended on. */
  folders(): Set<string> {
    return new Set([...this.paths()].map((path) => (path.endsWith("/") ? listedFolder(path) : parentOf(path))));
  }

  isKnown(relPath: string): boolean {
    return [...this.#byDagFile.values()].some(({ seen }) => seen.has(relPath));
  }

  /** The DAG files that depend on this path and for which it differs from what they saw. */
  async affectedBy(relPath: string): Promise<{ bySource: string[]; byRead: string[] }> {
    const bySource = new Set<string>();
    const byRead = new Set<string>();
    for (const path of [relPath, `${parentOf(relPath) || "."}/`]) {
      const users = [...this.#byDagFile].filter(([, { seen }]) => seen.has(path));
      if (users.length === 0) continue;
      const stamp = await this.#stamp(path);
      for (const [dagFile, { sources, seen }] of users) {
        if (seen.get(path) !== stamp) (sources.has(path) ? bySource : byRead).add(dagFile);
      }
    }
    return { bySource: [...bySource], byRead: [...byRead].filter((dagFile) => !bySource.has(dagFile)) };
  }

  /** The first of these that changed after the moment; one that is missing did not. */
  async changedSince(relPaths: readonly string[], sinceMs: number): Promise<string | null> {
    for (const relPath of relPaths) {
      if (relPath.endsWith("/")) continue;
      const found = await stat(join(this.#workspace, relPath)).catch(() => null);
      if (found && found.ctimeMs > sinceMs) return relPath;
    }
    return null;
  }

  async #stamp(path: string): Promise<string> {
    try {
      if (path.endsWith("/")) return (await readdir(join(this.#workspace, listedFolder(path)))).sort().join("\0");
      const absolute = join(this.#workspace, path);
      const { size, mtimeMs } = await stat(absolute);
      if (size > MAX_HASHED_BYTES) return `${size}:${mtimeMs}`;
      return createHash("sha256")
        .update(await readFile(absolute))
        .digest("hex");
    } catch {
      return "missing";
    }
  }
}

function listedFolder(path: string): string {
  const folder = path.replace(/\/+$/, "");
  return folder === "." ? "" : folder;
}
