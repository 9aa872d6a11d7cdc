import type { Terminal } from "../terminal-progress.ts";

/** Lines at the foot of a terminal that are drawn again and again. */
export class LiveLines {
  readonly #terminal: Terminal;
  #drawn = 0;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  /** Each line is cut to the terminal's width; colours count for nothing. */
  draw(lines: readonly string[]): void {
    const width = this.#terminal.columns - 1;
    this.#terminal.write(`${this.#erased()}${lines.map((line) => `${cut(line, width)}\n`).join("")}`);
    this.#drawn = lines.length;
  }

  /** Leaves what was drawn last where it is. */
  keep(): void {
    this.#drawn = 0;
  }

  #erased(): string {
    return this.#drawn === 0 ? "" : `\u001b[${this.#drawn}A\u001b[J`;
  }
}

const ESCAPE = "\u001b";

function cut(line: string, width: number): string {
  let seen = 0;
  let at = 0;
  while (at < line.length) {
    if (line[at] === ESCAPE) {
      at = line.indexOf("m", at) + 1;
      continue;
    }
    if (seen === width) return `${line.slice(0, at)}${line.includes(ESCAPE) ? `${ESCAPE}[0m` : ""}`;
    seen++;
    at++;
  }
  return line;
}
