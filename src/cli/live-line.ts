import type { Terminal } from "./terminal-progress.ts";

const REDRAW_MS = 100;

/** Lines that stay, and on a terminal one below them that is redrawn. */
export class LiveLine {
  readonly #terminal: Terminal;
  readonly #silent: boolean;
  #text = "";
  #drawn = 0;

  constructor(terminal: Terminal, silent: boolean) {
    this.#terminal = terminal;
    this.#silent = silent;
  }

  /** A line that stays. */
  say(text: string): void {
    if (this.#silent) return;
    this.#erase();
    this.#terminal.write(`${text}\n`);
  }

  /** How far it is, at most ten times a second. */
  show(text: string): void {
    if (this.#silent || !this.#terminal.isTTY || performance.now() - this.#drawn < REDRAW_MS) return;
    this.#erase();
    this.#drawn = performance.now();
    this.#text = text.slice(0, this.#terminal.columns - 1);
    this.#terminal.write(this.#text);
  }

  end(): void {
    this.#erase();
  }

  #erase(): void {
    if (this.#text) this.#terminal.write("\r\u001b[K");
    this.#text = "";
  }
}
