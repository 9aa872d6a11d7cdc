import type { Writable } from "node:stream";
import { format } from "node:util";
import type { Log, LogFields } from "./context.ts";

const LEVELS = ["debug", "info", "warning", "error", "critical"] as const;
export type Level = (typeof LEVELS)[number];

/** Writes JSON lines as Airflow's structured logging does; what is below `threshold` is left out. */
export class LogChannel {
  readonly #stream: Writable;
  readonly #threshold: number;

  constructor(stream: Writable, threshold = "info") {
    this.#stream = stream;
    this.#threshold = Math.max(0, LEVELS.indexOf(threshold.toLowerCase().replace(/^warn$/, "warning") as Level));
  }

  write(level: Level, logger: string, event: string, fields: LogFields = {}): void {
    if (LEVELS.indexOf(level) < this.#threshold) return;
    const { error, ...rest } = fields;
    const exception = error === undefined ? {} : { exception: describeError(error) };
    const line = { timestamp: new Date().toISOString(), level, event, logger, ...rest, ...exception };
    this.#stream.write(`${JSON.stringify(line, plain)}\n`);
  }

  logger(name: string): Log {
    const at = (level: Level) => (event: string, fields?: LogFields) => this.write(level, name, event, fields);
    return {
      debug: at("debug"),
      info: at("info"),
      warning: at("warning"),
      error: at("error"),
      critical: at("critical"),
    };
  }

  /** What goes to `console` stands among the log's lines where it was said, as what Python prints does. */
  takeConsole(): void {
    const say =
      (level: Level, logger: string) =>
      (...words: unknown[]) => {
        for (const line of format(...words).split("\n")) this.write(level, logger, line);
      };
    const out = say("info", "task.stdout");
    const err = say("error", "task.stderr");
    Object.assign(console, {
      log: out,
      info: out,
      debug: say("debug", "task.stdout"),
      warn: err,
      error: err,
      trace: err,
    });
  }

  /** Resolves when all is handed to the system. */
  end(): Promise<void> {
    return new Promise((resolve) => {
      this.#stream.once("close", resolve);
      this.#stream.end(resolve);
    });
  }
}

/** What JSON has no words for. */
function plain(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? String(value) : value;
}

/** An error and its causes, in the shape of structlog's `dict_tracebacks`, which Airflow's UI shows as a traceback. */
function describeError(error: unknown): object[] {
  const described: object[] = [];
  const seen = new Set<unknown>();
  for (let cause = error; cause !== undefined && !seen.has(cause); cause = (cause as Error).cause) {
    seen.add(cause);
    const isError = cause instanceof Error || (typeof cause === "object" && cause !== null && "stack" in cause);
    const { name, message, stack } = isError ? (cause as Error) : { name: "thrown", message: format(cause), stack: "" };
    described.push({
      exc_type: name,
      exc_value: message,
      exc_notes: [],
      syntax_error: null,
      is_cause: described.length > 0,
      frames: framesOf(stack ?? ""),
      is_group: false,
      exceptions: [],
    });
    if (!isError) break;
  }
  return described;
}

/** Innermost last, as Python has them. Node's own frames tell nothing of the task. */
function framesOf(stack: string): { filename: string; lineno: number; name: string }[] {
  const frames = stack.matchAll(/^ +at (?:(?:async )?(.+?) \()?(?:async )?(?:file:\/\/)?([^()\n]+?):(\d+):\d+\)?$/gm);
  return [...frames]
    .filter(([, , filename = ""]) => !filename.startsWith("node:") && filename !== OWN_FILE)
    .map(([, name = "<module>", filename = "", line]) => ({ filename, lineno: Number(line), name }))
    .reverse();
}

const OWN_FILE = import.meta.filename;
