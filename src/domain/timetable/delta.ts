import type { JsonValue } from "../../kit/json-text.ts";
import { isObject, unwrap } from "../serialized-value.ts";

/** A datetime.timedelta, or a dateutil.relativedelta, which counts calendar months and years. Moments are microseconds. */
export type Delta = { kind: "elapsed"; micros: number } | { kind: "calendar"; parts: CalendarParts };

interface CalendarParts {
  years: number;
  months: number;
  days: number;
  leapdays: number;
  hours: number;
  minutes: number;
  seconds: number;
  microseconds: number;
  /** Absolute fields replace a time's own. */
  year: number | null;
  month: number | null;
  day: number | null;
  hour: number | null;
  minute: number | null;
  second: number | null;
  microsecond: number | null;
  /** Monday is 0; the n-th from there on. */
  weekday: { day: number; nth: number | null } | null;
}

const RELATIVE = ["years", "months", "days", "leapdays", "hours", "minutes", "seconds", "microseconds"] as const;
const ABSOLUTE = ["year", "month", "day", "hour", "minute", "second", "microsecond"] as const;
const SECOND = 1_000_000;

/** Seconds as Airflow writes a timedelta, or the fields of a relativedelta. */
export function parseDelta(value: JsonValue | undefined): Delta {
  const content = unwrap(value);
  if (!isObject(content)) return { kind: "elapsed", micros: Math.round(Number(content ?? 0) * SECOND) };
  const number = (name: string): number | null => (typeof content[name] === "number" ? content[name] : null);
  const weekday = Array.isArray(content["weekday"]) ? content["weekday"].map(Number) : null;
  const parts = {
    ...Object.fromEntries(RELATIVE.map((name) => [name, number(name) ?? 0])),
    ...Object.fromEntries(ABSOLUTE.map((name) => [name, number(name)])),
    weekday: weekday ? { day: weekday[0] ?? 0, nth: weekday[1] ?? null } : null,
  } as CalendarParts;
  parts.days += 7 * (number("weeks") ?? 0);
  return { kind: "calendar", parts };
}

export function addDelta(moment: number, delta: Delta, sign: 1 | -1 = 1): number {
  return delta.kind === "elapsed" ? moment + sign * delta.micros : addCalendar(moment, delta.parts, sign);
}

/** `relativedelta.__radd__`: months first, clamped to the month's end, then the rest, then the weekday. */
function addCalendar(moment: number, parts: CalendarParts, sign: 1 | -1): number {
  const at = new Date(Math.floor(moment / 1000));
  const months = sign * parts.months;
  const monthIndex = (parts.month ?? at.getUTCMonth() + 1) - 1 + months;
  const year = (parts.year ?? at.getUTCFullYear()) + sign * parts.years + Math.floor(monthIndex / 12);
  const month = ((monthIndex % 12) + 12) % 12;
  const day = Math.min(new Date(Date.UTC(year, month + 1, 0)).getUTCDate(), parts.day ?? at.getUTCDate());
  const microsOfSecond = parts.microsecond ?? moment - Math.floor(moment / SECOND) * SECOND;
  const time = Date.UTC(
    year,
    month,
    day,
    parts.hour ?? at.getUTCHours(),
    parts.minute ?? at.getUTCMinutes(),
    parts.second ?? at.getUTCSeconds(),
  );
  const leapDays = parts.leapdays && month > 1 && isLeap(year) ? parts.leapdays : 0;
  const days = parts.days + leapDays;
  const seconds = ((days * 24 + parts.hours) * 60 + parts.minutes) * 60 + parts.seconds;
  const sum = time * 1000 + microsOfSecond + sign * (seconds * SECOND + parts.microseconds);
  return parts.weekday ? jumpToWeekday(sum, parts.weekday) : sum;
}

function jumpToWeekday(moment: number, weekday: { day: number; nth: number | null }): number {
  const { day } = weekday;
  const nth = weekday.nth ?? 1;
  const today = (new Date(Math.floor(moment / 1000)).getUTCDay() + 6) % 7;
  let days = (Math.abs(nth) - 1) * 7;
  days = nth > 0 ? days + ((7 - today + day) % 7) : -(days + ((((today - day) % 7) + 7) % 7));
  return moment + days * 86_400 * SECOND;
}

const isLeap = (year: number): boolean => (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0;

/** Months and years have no fixed length. */
export function isFixed(delta: Delta): boolean {
  return delta.kind === "elapsed" || (delta.parts.months === 0 && delta.parts.years === 0);
}

/** Airflow's count for rounding; only for deltas without months and years. */
export function fixedSeconds(delta: Delta): number {
  if (delta.kind === "elapsed") return delta.micros / SECOND;
  const { days, hours, minutes, seconds } = delta.parts;
  return days * 86_400 + hours * 3600 + minutes * 60 + seconds;
}

/** As Python prints it: "1 day, 0:30:00" or "relativedelta(months=+1)". */
export function printDelta(delta: Delta): string {
  if (delta.kind === "calendar") return printCalendar(delta.parts);
  const days = Math.floor(delta.micros / (86_400 * SECOND));
  const rest = delta.micros - days * 86_400 * SECOND;
  const seconds = Math.floor(rest / SECOND);
  const micros = rest - seconds * SECOND;
  const two = (value: number): string => String(value).padStart(2, "0");
  const clock = `${Math.floor(seconds / 3600)}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
  const fraction = micros ? `.${String(micros).padStart(6, "0")}` : "";
  return `${days ? `${days} day${Math.abs(days) === 1 ? "" : "s"}, ` : ""}${clock}${fraction}`;
}

function printCalendar(parts: CalendarParts): string {
  const relative = RELATIVE.filter((name) => parts[name] !== 0).map(
    (name) => `${name}=${parts[name] > 0 ? "+" : ""}${parts[name]}`,
  );
  const absolute = ABSOLUTE.filter((name) => parts[name] !== null).map((name) => `${name}=${parts[name]}`);
  const names = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"];
  const { weekday } = parts;
  const nth = weekday?.nth ?? null;
  const day = weekday ? [`weekday=${names[weekday.day]}${nth === null ? "" : `(${nth > 0 ? "+" : ""}${nth})`}`] : [];
  const dated = ABSOLUTE.indexOf("hour");
  return `relativedelta(${[...relative, ...absolute.slice(0, dated), ...day, ...absolute.slice(dated)].join(", ")})`;
}
