import { paint, type Terminal } from "../terminal-progress.ts";

export type Cell = string | number | boolean | null | undefined;

export interface Column<Row> {
  title: string;
  of: (row: Row) => Cell;
  /** The colour of a cell, as an SGR code. */
  colour?: (row: Row) => string | undefined;
}

const GAP = "  ";
/** No column is squeezed further. */
const LEAST = 3;

/**
 * Rows as lines of aligned columns with a head. On a terminal they are cut to its width; in a pipe nothing is. A missing value
 * is a dash, so that every line has as many fields.
 */
export function tableText<Row>(terminal: Terminal, columns: readonly Column<Row>[], rows: readonly Row[]): string {
  const head = columns.map(({ title }) => title);
  const cells = rows.map((row) => columns.map(({ of }) => shown(of(row))));
  const natural = head.map((title, at) => Math.max(title.length, ...cells.map((line) => widthOf(line[at] ?? ""))));
  const widths = terminal.isTTY ? squeezed(natural, terminal.columns) : natural;
  const line = (texts: readonly string[], code: (at: number) => string | undefined) =>
    texts
      .map((text, at) => {
        const cut = cutTo(text, widths[at] ?? 0);
        const padding = " ".repeat((widths[at] ?? 0) - widthOf(cut));
        const colour = code(at);
        return (colour === undefined ? cut : paint(terminal, colour, cut)) + padding;
      })
      .join(GAP)
      .trimEnd();
  const lines = [
    line(head, () => "1"),
    ...cells.map((texts, index) => line(texts, (at) => columns[at]?.colour?.(rows[index] as Row))),
  ];
  return lines.map((text) => `${text}\n`).join("");
}

/** One thing, a line for each of its fields. Lists have their elements behind commas. */
export function fieldsText(terminal: Terminal, fields: readonly (readonly [name: string, value: Cell])[]): string {
  const width = Math.max(...fields.map(([name]) => name.length));
  return fields.map(([name, value]) => `${paint(terminal, "2", name.padEnd(width))}${GAP}${shown(value)}\n`).join("");
}

const STATE_COLOURS: Readonly<Record<string, string>> = {
  success: "32",
  running: "36",
  failed: "31",
  upstream_failed: "33",
  up_for_retry: "33",
  up_for_reschedule: "36",
  queued: "90",
  scheduled: "90",
  deferred: "35",
  skipped: "35",
};

export function stateColour(state: string | null): string | undefined {
  return STATE_COLOURS[state ?? ""];
}

/** A moment as people compare it: without fractions of a second. */
export function timeText(at: string | null | undefined): string | null {
  return at?.replace(/\.\d+/, "") ?? null;
}

/** Seconds as people say them. */
export function durationText(seconds: number | null | undefined): string | null {
  if (seconds === null || seconds === undefined) return null;
  if (seconds < 60) return `${seconds.toFixed(1)}s`;
  const whole = Math.round(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)];
  return `${hours > 0 ? `${hours}h` : ""}${minutes}m${whole % 60}s`;
}

/** On one line and without what would move a terminal's cursor: names and texts are other people's. */
function shown(value: Cell): string {
  if (value === null || value === undefined || value === "") return "-";

  return String(value).replace(/[\u0000-\u001f\u007f-\u009f]+/g, " ");
}

const WIDE = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Emoji_Presentation}]/u;

/** Columns of a terminal. */
function widthOf(text: string): number {
  let width = 0;
  for (const character of text) width += characterWidth(character);
  return width;
}

function characterWidth(character: string): number {
  if (character < "\u0300") return 1;
  if (/\p{M}|\u200d/u.test(character)) return 0;
  return WIDE.test(character) ? 2 : 1;
}

function cutTo(text: string, width: number): string {
  if (widthOf(text) <= width) return text;
  let kept = "";
  let used = 1;
  for (const character of text) {
    used += characterWidth(character);
    if (used > width) break;
    kept += character;
  }
  return `${kept}…`;
}

/** The widest give way first. */
function squeezed(natural: readonly number[], columns: number): number[] {
  const widths = [...natural];
  const room = columns - GAP.length * (widths.length - 1);
  for (let over = widths.reduce((sum, width) => sum + width, 0) - room; over > 0; over -= 1) {
    const widest = Math.max(...widths);
    if (widest <= LEAST) break;
    widths[widths.indexOf(widest)] = widest - 1;
  }
  return widths;
}
