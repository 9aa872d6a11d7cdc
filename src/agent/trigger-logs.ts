import { appendFile, mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Kit } from "../kit/service.ts";

/** So many files are written to at once. */
const WRITERS = 4;
/** What waits for a disk that takes nothing is given up beyond this. */
const MAX_PENDING_CHARS = 64 << 20;

/**
 * Appends lines to the logs of triggers. There may be thousands that each say little: no file stays open, and what comes while
 * others are written goes out together.
 */
export class TriggerLogs {
  readonly #kit: Kit;
  readonly #folder: string;
  #pending = new Map<string, string[]>();
  #pendingChars = 0;
  #writing: Promise<void> | null = null;
  #complained = false;

  constructor(kit: Kit, folder: string) {
    this.#kit = kit;
    this.#folder = folder;
  }

  /** Adds a line, its end included, to a log below the logs folder. */
  add(path: string, line: string): void {
    if (this.#pendingChars > MAX_PENDING_CHARS) return;
    const lines = this.#pending.get(path);
    if (lines) lines.push(line);
    else this.#pending.set(path, [line]);
    this.#pendingChars += line.length;
    this.#writing ??= this.#write().finally(() => (this.#writing = null));
  }

  /** Resolves when everything said so far is written. */
  async flushed(): Promise<void> {
    while (this.#writing) await this.#writing;
  }

  async #write(): Promise<void> {
    // Lines that come in the same turn are written together.
    await Promise.resolve();
    while (this.#pending.size > 0) {
      const batch = [...this.#pending];
      this.#pending = new Map();
      this.#pendingChars = 0;
      const writer = async (): Promise<void> => {
        for (let next = batch.pop(); next; next = batch.pop()) await this.#append(join(this.#folder, next[0]), next[1]);
      };
      await Promise.all(Array.from({ length: WRITERS }, writer));
    }
  }

  async #append(path: string, lines: readonly string[]): Promise<void> {
    const text = lines.join("");
    try {
      await appendFile(path, text).catch(async (error: NodeJS.ErrnoException) => {
        if (error.code !== "ENOENT") throw error;
        await mkdir(dirname(path), { recursive: true });
        await appendFile(path, text);
      });
      this.#complained = false;
    } catch (error) {
      if (!this.#complained) this.#kit.logger.error({ err: error, path }, "cannot write a trigger's log");
      this.#complained = true;
    }
  }
}
