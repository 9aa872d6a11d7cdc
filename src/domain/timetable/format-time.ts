import type { TimeZone } from "./time-zone.ts";

const MONTHS = "January February March April May June July August September October November December".split(" ");
const WEEKDAYS = "Sunday Monday Tuesday Wednesday Thursday Friday Saturday".split(" ");

/** Python's `strftime` (C locale) of a moment in a zone; unknown directives stay as they are. */
export function formatTime(format: string, moment: number, zone: TimeZone): string {
  const wall = zone.toWall(moment);
  const at = new Date(Math.floor(wall / 1000));
  const micros = wall - Math.floor(wall / 1_000_000) * 1_000_000;
  return format.replaceAll(
    /%(.)/gs,
    (directive, letter: string) => part(letter, at, micros, wall - moment, zone) ?? directive,
  );
}

function part(letter: string, at: Date, micros: number, offset: number, zone: TimeZone): string | null {
  const two = (value: number): string => String(value).padStart(2, "0");
  const hour = at.getUTCHours();
  const weekday = at.getUTCDay();
  switch (letter) {
    case "Y":
      return String(at.getUTCFullYear());
    case "y":
      return two(at.getUTCFullYear() % 100);
    case "m":
      return two(at.getUTCMonth() + 1);
    case "d":
      return two(at.getUTCDate());
    case "H":
      return two(hour);
    case "I":
      return two(hour % 12 || 12);
    case "p":
      return hour < 12 ? "AM" : "PM";
    case "M":
      return two(at.getUTCMinutes());
    case "S":
      return two(at.getUTCSeconds());
    case "f":
      return String(micros).padStart(6, "0");
    case "j":
      return String(dayOfYear(at)).padStart(3, "0");
    case "a":
      return (WEEKDAYS[weekday] ?? "").slice(0, 3);
    case "A":
      return WEEKDAYS[weekday] ?? "";
    case "b":
    case "h":
      return (MONTHS[at.getUTCMonth()] ?? "").slice(0, 3);
    case "B":
      return MONTHS[at.getUTCMonth()] ?? "";
    case "w":
      return String(weekday);
    case "u":
      return String(weekday || 7);
    case "U":
      return two(Math.floor((dayOfYear(at) + 6 - weekday) / 7));
    case "W":
      return two(Math.floor((dayOfYear(at) + 6 - ((weekday + 6) % 7)) / 7));
    case "G":
      return String(isoWeek(at).year);
    case "V":
      return two(isoWeek(at).week);
    case "F":
      return at.toISOString().slice(0, 10);
    case "T":
      return at.toISOString().slice(11, 19);
    case "z":
      return offsetText(offset);
    case "Z":
      return zone.name;
    case "%":
      return "%";
    default:
      return null;
  }
}

function dayOfYear(at: Date): number {
  return Math.floor((at.getTime() - Date.UTC(at.getUTCFullYear(), 0, 1)) / 86_400_000) + 1;
}

function isoWeek(at: Date): { year: number; week: number } {
  const thursday = new Date(at.getTime() + (4 - (at.getUTCDay() || 7)) * 86_400_000);
  return { year: thursday.getUTCFullYear(), week: Math.ceil(dayOfYear(thursday) / 7) };
}

function offsetText(offset: number): string {
  const minutes = Math.abs(offset) / 60_000_000;
  const two = (value: number): string => String(Math.floor(value)).padStart(2, "0");
  return `${offset < 0 ? "-" : "+"}${two(minutes / 60)}${two(minutes % 60)}`;
}
