const QUIET_MS = 25;
const LONGEST_WAIT_MS = 250;

/** Gathers touched paths until each has been quiet for a moment: a save is several writes, or a write and a rename. */
export class TouchedPaths {
  readonly #onQuiet: (relPaths: string[]) => void;
  readonly #touched = new Map<string, { firstMs: number; dueMs: number }>();
  #timer: NodeJS.Timeout | null = null;
  #wakeMs = 0;

  constructor(onQuiet: (relPaths: string[]) => void) {
    this.#onQuiet = onQuiet;
  }

  /** A path that never becomes quiet comes after the longest wait all the same. */
  touch(relPath: string, quietMs = QUIET_MS): void {
    const now = performance.now();
    const firstMs = this.#touched.get(relPath)?.firstMs ?? now;
    const dueMs = Math.min(now + quietMs, firstMs + Math.max(LONGEST_WAIT_MS, quietMs));
    this.#touched.set(relPath, { firstMs, dueMs });
    this.#wakeAt(dueMs);
  }

  clear(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    this.#touched.clear();
  }

  #wakeAt(dueMs: number): void {
    if (this.#timer && this.#wakeMs <= dueMs) return;
    if (this.#timer) clearTimeout(this.#timer);
    this.#wakeMs = dueMs;
    this.#timer = setTimeout(() => this.#flush(), Math.max(1, dueMs - performance.now()));
  }

  #flush(): void {
    this.#timer = null;
    const now = performance.now();
    const due = [...this.#touched].filter(([, { dueMs }]) => dueMs <= now + 1).map(([relPath]) => relPath);
    for (const relPath of due) this.#touched.delete(relPath);
    if (this.#touched.size > 0) {
      this.#wakeAt([...this.#touched.values()].reduce((next, { dueMs }) => Math.min(next, dueMs), Infinity));
    }
    if (due.length > 0) this.#onQuiet(due);
  }
}
