import type { Progress } from "../lite/progress.ts";

/** Where lines go: stdout, or a test. */
export interface Terminal {
  write(text: string): void;
  isTTY: boolean;
  columns: number;
  colour: boolean;
}

export function processTerminal(noColor: boolean): Terminal {
  const { stdout } = process;
  return {
    write: (text) => void stdout.write(text),
    isTTY: stdout.isTTY,
    get columns() {
      return stdout.columns || 80;
    },
    colour: stdout.isTTY && !noColor,
  };
}

const FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏";
const REDRAW_MS = 100;
/** Where no line can be redrawn, a step says that it has begun only when it takes this long. */
const SLOW_STEP_MS = 3_000;

interface Running {
  title: string;
  detail: string;
  since: number;
}

/** Steps as lines. On a terminal the running ones share one line that is redrawn; elsewhere every line is final. */
export class TerminalProgress implements Progress {
  readonly #terminal: Terminal;
  readonly #running = new Set<Running>();
  #timer: NodeJS.Timeout | undefined;
  #frame = 0;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  async step<T>(title: string, work: (detail: (text: string) => void) => Promise<T>): Promise<T> {
    const step: Running = { title, detail: "", since: performance.now() };
    this.#running.add(step);
    const slow = this.#terminal.isTTY ? undefined : setTimeout(() => this.#line(`  ${title} ...`), SLOW_STEP_MS);
    slow?.unref();
    this.#draw();
    let mark = paint(this.#terminal, "31", "✗");
    try {
      const result = await work((text) => (step.detail = text));
      mark = paint(this.#terminal, "32", "✓");
      return result;
    } finally {
      clearTimeout(slow);
      this.#running.delete(step);
      this.#line(`  ${mark} ${title.padEnd(34)} ${paint(this.#terminal, "2", seconds(step.since))}`);
      this.#draw();
    }
  }

  note(text: string): void {
    this.#line(`  ${paint(this.#terminal, "33", "!")} ${text}`);
    this.#draw();
  }

  /** A final line above what is running. */
  #line(text: string): void {
    this.#erase();
    this.#terminal.write(`${text}\n`);
  }

  #erase(): void {
    if (this.#terminal.isTTY) this.#terminal.write("\r\u001b[K");
  }

  #draw(): void {
    if (!this.#terminal.isTTY) return;
    if (this.#running.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
      return;
    }
    if (!this.#timer) {
      this.#timer = setInterval(() => this.#draw(), REDRAW_MS);
      this.#timer.unref();
    }
    const frame = FRAMES[this.#frame++ % FRAMES.length];
    const steps = [...this.#running].map(
      ({ title, detail, since }) => `${title} ${seconds(since)}${detail ? ` (${detail})` : ""}`,
    );
    const text = `  ${frame} ${steps.join(", ")}`;
    this.#erase();
    this.#terminal.write(text.slice(0, this.#terminal.columns - 1));
  }
}

export function paint(terminal: Terminal, code: string, text: string): string {
  return terminal.colour ? `\u001b[${code}m${text}\u001b[0m` : text;
}

export function seconds(since: number): string {
  const passed = (performance.now() - since) / 1000;
  return `${passed.toFixed(passed < 10 ? 1 : 0)} s`;
}
