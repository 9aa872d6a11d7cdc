import { MappingError } from "./mapping-error.ts";

/** What Python's `strptime` read: a wall-clock time in microseconds, and the offset if the text has one. */
export interface ReadTime {
  wall: number;
  offset: number | null;
}

const MONTHS = "january february march april may june july august september october november december".split(" ");
const WEEKDAYS = "monday tuesday wednesday thursday friday saturday sunday".split(" ");
const names = (all: readonly string[]) => all.join("|");
const short = (all: readonly string[]) => all.map((name) => name.slice(0, 3));

/** As in Python's `_strptime`: forgiving about leading zeros. */
const DIRECTIVES: Record<string, string> = {
  Y: "\\d\\d\\d\\d",
  y: "\\d\\d",
  m: "1[0-2]|0[1-9]|[1-9]",
  d: "3[0-1]|[1-2]\\d|0[1-9]|[1-9]| [1-9]",
  H: "2[0-3]|[0-1]\\d|\\d",
  I: "1[0-2]|0[1-9]|[1-9]",
  M: "[0-5]\\d|\\d",
  S: "6[0-1]|[0-5]\\d|\\d",
  f: "[0-9]{1,6}",
  j: "36[0-6]|3[0-5]\\d|[1-2]\\d\\d|0[1-9]\\d|00[1-9]|[1-9]\\d|0[1-9]|[1-9]",
  p: "am|pm",
  b: names(short(MONTHS)),
  B: names(MONTHS),
  a: names(short(WEEKDAYS)),
  A: names(WEEKDAYS),
  w: "[0-6]",
  u: "[1-7]",
  G: "\\d\\d\\d\\d",
  V: "5[0-3]|0[1-9]|[1-4]\\d|\\d",
  U: "5[0-3]|[0-4]\\d|\\d",
  W: "5[0-3]|[0-4]\\d|\\d",
  z: "[+-]\\d\\d:?[0-5]\\d(?::?[0-5]\\d(?:\\.\\d{1,6})?)?|z",
  Z: "utc|gmt",
};

/** Python's `datetime.strptime(text, format)` in the C locale. Throws MappingError as it throws ValueError. */
export function parseTime(text: string, format: string): ReadTime {
  const { pattern, order } = compiled(format);
  const found = pattern.exec(text);
  if (!found) throw new MappingError(`time data ${quoted(text)} does not match format ${quoted(format)}`);
  if (found[0].length !== text.length) {
    throw new MappingError(`unconverted data remains: ${text.slice(found[0].length)}`);
  }
  return assemble(new Map(order.map((letter, at) => [letter, (found[at + 1] ?? "").toLowerCase()])));
}

const patterns = new Map<string, { pattern: RegExp; order: string[] }>();

function compiled(format: string): { pattern: RegExp; order: string[] } {
  const known = patterns.get(format);
  if (known) return known;
  const order: string[] = [];
  let source = "";
  for (let at = 0; at < format.length; at++) {
    const letter = format.charAt(at);
    if (letter === "%") {
      const directive = format.charAt(++at);
      const inner = DIRECTIVES[directive];
      if (directive === "%") source += "%";
      else if (inner === undefined || order.includes(directive)) {
        throw new MappingError(`'${directive}' is a bad directive in format ${quoted(format)}`);
      } else {
        order.push(directive);
        source += `(${inner})`;
      }
    } else source += /\s/.test(letter) ? "\\s+" : letter.replace(/[\\^$.*+?()[\]{}|]/, "\\$&");
  }
  const made = { pattern: new RegExp(`^${source.replace(/(?:\\s\+)+/g, "\\s+")}`, "i"), order };
  patterns.set(format, made);
  return made;
}

function assemble(read: ReadonlyMap<string, string>): ReadTime {
  const number = (letter: string): number | null => {
    const text = read.get(letter);
    return text === undefined ? null : Number(text);
  };
  const day = dayOf(read, number);
  let hour = number("H") ?? 0;
  const twelve = number("I");
  if (twelve !== null) hour = (twelve % 12) + (read.get("p") === "pm" ? 12 : 0);
  const seconds = hour * 3600 + (number("M") ?? 0) * 60 + (number("S") ?? 0);
  const micros = Number((read.get("f") ?? "").padEnd(6, "0"));
  return { wall: day * 1000 + seconds * 1_000_000 + micros, offset: offsetOf(read.get("z")) };
}

/** Milliseconds of the day's midnight. */
function dayOf(read: ReadonlyMap<string, string>, number: (letter: string) => number | null): number {
  const isoYear = number("G");
  const isoWeek = number("V");
  const weekday = weekdayOf(read, number);
  if (isoYear !== null && isoWeek !== null && weekday !== null) {
    const fourth = Date.UTC(isoYear, 0, 4);
    const monday = fourth - ((new Date(fourth).getUTCDay() + 6) % 7) * 86_400_000;
    return monday + ((isoWeek - 1) * 7 + weekday) * 86_400_000;
  }
  if (isoYear !== null || isoWeek !== null) {
    throw new MappingError("ISO directives are read only together: '%G', '%V' and a weekday");
  }
  const short = number("y");
  const year = number("Y") ?? (short === null ? 1900 : short + (short <= 68 ? 2000 : 1900));
  const dayOfYear = number("j");
  if (dayOfYear !== null && number("m") === null) return utc(year, 0, 1) + (dayOfYear - 1) * 86_400_000;
  const named = read.get("B") ?? read.get("b");
  const month = named === undefined ? (number("m") ?? 1) - 1 : MONTHS.findIndex((name) => name.startsWith(named));
  const day = number("d") ?? 1;
  const at = utc(year, month, day);
  if (new Date(at).getUTCDate() !== day) throw new MappingError("day is out of range for month");
  return at;
}

function weekdayOf(read: ReadonlyMap<string, string>, number: (letter: string) => number | null): number | null {
  const iso = number("u");
  if (iso !== null) return iso - 1;
  const american = number("w");
  if (american !== null) return (american + 6) % 7;
  const named = read.get("A") ?? read.get("a");
  return named === undefined ? null : WEEKDAYS.findIndex((name) => name.startsWith(named));
}

/** Date.UTC takes the years 0 to 99 for 1900 to 1999. */
function utc(year: number, month: number, day: number): number {
  return new Date(Date.UTC(2000, month, day)).setUTCFullYear(year, month, day);
}

function offsetOf(text: string | undefined): number | null {
  if (text === undefined) return null;
  if (text === "z") return 0;
  const digits = text.slice(1).replaceAll(":", "");
  const seconds = Number(digits.slice(0, 2)) * 3600 + Number(digits.slice(2, 4)) * 60 + Number(digits.slice(4) || 0);
  return (text.startsWith("-") ? -seconds : seconds) * 1_000_000;
}

function quoted(text: string): string {
  return `'${text}'`;
}
