import { openSync } from "node:fs";
import { pino, type DestinationStream, type Level, type Logger } from "pino";

export interface LoggerOptions {
  level: string;
  /** JSON lines go to this file (its folder must exist), else to stderr. */
  file?: string;
  /** Lines on stderr are for people instead of JSON. */
  inWords?: boolean;
  /** Called with warnings and worse in words, for a person at a terminal. */
  onWarning?: (line: string) => void;
}

/** The program's own log. Task logs are something else: see the agent. */
export function createLogger(options: LoggerOptions): Logger {
  // A file is written in the background: the event loop must not wait for a disk on every line.
  // It is opened at once all the same: a command may end before a file opened in the background is there to be flushed.
  const dest = options.file === undefined ? 2 : openSync(options.file, "a", 0o600);
  const lines = pino.destination({ dest, sync: options.file === undefined });
  const main = options.inWords ? { write: (line: string) => lines.write(readable(line)) } : lines;
  const streams: { stream: DestinationStream; level: Level }[] = [
    { stream: main, level: options.level === "silent" ? "fatal" : (options.level as Level) },
  ];
  const { onWarning } = options;
  if (onWarning) streams.push({ stream: { write: (line) => onWarning(inWords(line)) }, level: "warn" });
  return pino(
    { level: options.level, base: null, timestamp: pino.stdTimeFunctions.isoTime },
    pino.multistream(streams, { dedupe: false }),
  );
}

function inWords(line: string): string {
  const entry = JSON.parse(line) as { level: number; msg?: string; err?: { message?: string } };
  const cause = entry.err?.message && !entry.msg?.includes(entry.err.message) ? `: ${entry.err.message}` : "";
  return `${entry.level >= 50 ? "error" : "warning"}: ${entry.msg ?? ""}${cause}`;
}

/** "2026-11-24T08:00:00.000Z info python is warm pid=42 ms=900". */
function readable(line: string): string {
  const {
    level,
    time,
    msg = "",
    err,
    ...fields
  } = JSON.parse(line) as Record<string, unknown> & {
    level: number;
    err?: { message?: string };
  };
  const all = err?.message === undefined ? fields : { ...fields, error: err.message };
  const told = Object.entries(all).map(
    ([name, value]) =>
      `${name}=${typeof value === "string" && /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value)}`,
  );
  return `${[time, pino.levels.labels[level], msg, ...told].join(" ")}\n`;
}
