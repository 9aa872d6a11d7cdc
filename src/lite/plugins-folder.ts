import type { Dirent } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";

/** A folder of plugins has a handful of files; what is more is not looked at. */
const MOST_FILES = 10_000;

/** What Python imports. A plugin may write its own files beside itself, which must not start everything anew. */
const CODE = /\.(py|so|zip|egg)$/;

/**
 * Airflow's plugins folder. DAG files use what lies there (timetables, operators), so a change there may change any DAG; Airflow
 * sees it because it parses every file again and again.
 */
export class PluginsFolder {
  readonly #path: string;
  readonly #onChange: () => void;
  #seen: string | null = null;

  constructor(path: string, onChange: () => void) {
    this.#path = path;
    this.#onChange = onChange;
  }

  async runOnce(): Promise<void> {
    const now = await this.#fingerprint();
    const before = this.#seen;
    this.#seen = now;
    if (before !== null && before !== now) this.#onChange();
  }

  async #fingerprint(): Promise<string> {
    const facts: string[] = [];
    const todo = [this.#path];
    for (let folder = todo.pop(); folder !== undefined && facts.length < MOST_FILES; folder = todo.pop()) {
      for (const entry of await entriesOf(folder)) {
        const path = join(folder, entry.name);
        if (entry.name === "__pycache__" || entry.name.startsWith(".")) continue;
        if (entry.isDirectory()) todo.push(path);
        else if (CODE.test(entry.name)) facts.push(await factOf(path));
      }
    }
    return facts.sort().join("\n");
  }
}

async function entriesOf(folder: string): Promise<Dirent[]> {
  try {
    return await readdir(folder, { withFileTypes: true });
  } catch {
    // Not there, or not ours to read: Airflow finds no plugins there either.
    return [];
  }
}

async function factOf(path: string): Promise<string> {
  try {
    const { mtimeMs, size, ino } = await stat(path);
    return `${path} ${mtimeMs} ${size} ${ino}`;
  } catch {
    return path;
  }
}
