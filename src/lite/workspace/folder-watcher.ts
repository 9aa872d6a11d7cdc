import { watch, type FSWatcher } from "node:fs";
import { join, posix } from "node:path";
import type { Logger } from "../../kit/service.ts";

/**
 * Watches folders with one kernel watch each, and says which names were touched in them, whatever happened. Watching the
 * files too (as chokidar does) would cost a watch and a handle per data file and tell no more.
 */
export class FolderWatcher {
  readonly #logger: Logger;
  readonly #root: string;
  readonly #onTouched: (relPath: string) => void;
  readonly #watchers = new Map<string, FSWatcher>();
  #limitReached = false;

  constructor(logger: Logger, root: string, onTouched: (relPath: string) => void) {
    this.#logger = logger;
    this.#root = root;
    this.#onTouched = onTouched;
  }

  /** true when the kernel gave no more watches: some folders must be looked at by time. */
  get limitReached(): boolean {
    return this.#limitReached;
  }

  /** Watches exactly these folders below the root. Returns those that are newly watched: what is in them may be unseen. */
  watchOnly(folders: ReadonlySet<string>): string[] {
    for (const folder of this.#watchers.keys()) if (!folders.has(folder)) this.#forget(folder);
    this.#limitReached = false;
    return [...folders].filter((folder) => !this.#watchers.has(folder) && this.#add(folder));
  }

  close(): void {
    for (const folder of [...this.#watchers.keys()]) this.#forget(folder);
  }

  #add(folder: string): boolean {
    try {
      const watcher = watch(join(this.#root, folder), { persistent: true }, (event, name) => {
        const touched = name === null ? folder : posix.join(folder, name);
        // A folder that went and came back under its name is another one: its watch looks at the old.
        if (event === "rename") this.#forgetBelow(touched);
        this.#onTouched(touched);
      });
      watcher.on("error", () => {
        this.#forget(folder);
        this.#onTouched(folder);
      });
      this.#watchers.set(folder, watcher);
      return true;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "ENOSPC" || code === "EMFILE") {
        if (!this.#limitReached) {
          this.#logger.warn(
            { folder },
            "no more file watches: raise fs.inotify.max_user_watches (or max_user_instances); until then changes are looked for every few seconds",
          );
        }
        this.#limitReached = true;
      }
      return false;
    }
  }

  #forgetBelow(folder: string): void {
    if (!this.#watchers.has(folder)) return;
    for (const other of this.#watchers.keys())
      if (other === folder || other.startsWith(`${folder}/`)) this.#forget(other);
  }

  #forget(folder: string): void {
    this.#watchers.get(folder)?.close();
    this.#watchers.delete(folder);
  }
}
