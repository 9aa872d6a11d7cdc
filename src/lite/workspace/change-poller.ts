import { stat } from "node:fs/promises";
import { join } from "node:path";

/** Looks at files by time, for where the kernel tells nothing: no watches left, some network file systems. */
export class ChangePoller {
  readonly #workspace: string;
  readonly #paths: () => Iterable<string>;
  readonly #onLook: (changed: string[]) => Promise<void>;
  #stamps: Map<string, string> | null = null;
  #timer: NodeJS.Timeout | null = null;

  constructor(workspace: string, paths: () => Iterable<string>, onLook: (changed: string[]) => Promise<void>) {
    this.#workspace = workspace;
    this.#paths = paths;
    this.#onLook = onLook;
  }

  /** Starts, or goes on, looking this often. */
  start(intervalMs: number): void {
    this.#timer ??= setTimeout(() => {
      void this.#look().finally(() => {
        if (!this.#timer) return;
        this.#timer = null;
        this.start(intervalMs);
      });
    }, intervalMs);
  }

  stop(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    this.#stamps = null;
  }

  async #look(): Promise<void> {
    const stamps = new Map<string, string>();
    for (const path of this.#paths()) {
      const found = await stat(join(this.#workspace, path)).catch(() => null);
      stamps.set(path, found ? `${found.mtimeMs}:${found.size}:${found.ino}` : "missing");
    }
    const before = this.#stamps;
    this.#stamps = stamps;
    await this.#onLook(
      before ? [...stamps].filter(([path, now]) => before.get(path) !== now).map(([path]) => path) : [],
    );
  }
}
