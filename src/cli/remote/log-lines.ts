import { paint, type Terminal } from "../terminal-progress.ts";

/** An event of a task's log, as Airflow's API gives it. */
export interface LogEvent {
  timestamp?: string | null;
  event: string;
  level?: string;
  logger?: string;
  error_detail?: readonly Exception[];
  [field: string]: unknown;
}

interface Exception {
  exc_type?: string;
  exc_value?: string;
  is_cause?: boolean;
  frames?: readonly { filename?: string; lineno?: number; name?: string; line?: string }[];
}

const LEVEL_COLOURS: Readonly<Record<string, string>> = {
  debug: "2",
  warning: "33",
  warn: "33",
  error: "31",
  critical: "31",
  exception: "31",
};

/** Said of the line, not by it. */
const NOT_SHOWN = new Set([
  ...["dag_id", "run_id", "task_id", "map_index", "try_number", "ti_id"],
  ...["timestamp", "event", "level", "logger", "error_detail", "filename", "lineno", "loc", "chan"],
]);

/** An event as lines for a person, with Python's traceback where it carries one. Marks that fold a browser's lines are left out. */
export function logText(terminal: Terminal, entry: LogEvent): string {
  if (/^::(end)?group::/.test(entry.event)) return "";
  const time = entry.timestamp ? `${paint(terminal, "2", entry.timestamp.replace(/(\.\d{3})\d*/, "$1"))} ` : "";
  const level = entry.level ? `${entry.level.toUpperCase()} ` : "";
  const colour = LEVEL_COLOURS[entry.level ?? ""];
  const rest = Object.entries(entry)
    .filter(([name, value]) => !NOT_SHOWN.has(name) && value !== null && value !== undefined)
    .map(([name, value]) => ` ${name}=${typeof value === "string" ? value : JSON.stringify(value)}`)
    .join("");
  const text = `${level}${entry.event}${rest}`;
  const trace = (entry.error_detail ?? []).map((exception, at) => traceback(exception, at)).join("");
  return `${time}${colour === undefined ? text : paint(terminal, colour, text)}\n${trace}`;
}

/** As Python prints it; the first is the cause of those after it. */
function traceback(
  { exc_type: type = "", exc_value: value = "", is_cause: isCause, frames = [] }: Exception,
  at: number,
) {
  const link = isCause
    ? "\nThe above exception was the direct cause of the following exception:\n\n"
    : "\nDuring handling of the above exception, another exception occurred:\n\n";
  const lines = frames.map(
    ({ filename, lineno, name, line }) =>
      `  File "${filename}", line ${lineno}, in ${name}\n${line ? `    ${line.trim()}\n` : ""}`,
  );
  const head = lines.length > 0 ? "Traceback (most recent call last):\n" : "";
  return `${at > 0 ? link : ""}${head}${lines.join("")}${type}${value === "" ? "" : `: ${value}`}\n`;
}
