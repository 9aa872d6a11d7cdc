/**
 * Cron expressions as Airflow's croniter 7 reads them: five fields, or six and seven with seconds and years at the end; names,
 * steps, wrapping ranges, `L`, `15W`, `5#2`, `L5`, `?`. A day matches when the day of month or the day of week does, if both
 * are restricted.
 */
export class BadCronError extends RangeError {}

type Entry = number | "*" | "l";

interface Field {
  values: readonly Entry[];
  isEvery: boolean;
}

interface CronFields {
  minute: Field;
  hour: Field;
  day: Field;
  month: Field;
  weekday: Field;
  second: Field | null;
  year: Field | null;
  /** By day of week: which ones of a month, or the last. */
  nthWeekdays: ReadonlyMap<number, ReadonlySet<number | "l">>;
  nearestWeekday: number | null;
}

/** Which day fields restrict: either is enough, or all that are named. */
interface Sides {
  either: boolean;
  byDay: boolean;
  byWeekday: boolean;
}

const RANGES = [
  [0, 59],
  [0, 23],
  [1, 31],
  [1, 12],
  [0, 6],
  [0, 59],
  [1970, 2099],
] as const;
const [HOUR, DAY, MONTH, WEEKDAY] = [1, 2, 3, 4];
const MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const ALIASES: Record<string, string> = {
  "@midnight": "0 0 * * *",
  "@hourly": "0 * * * *",
  "@daily": "0 0 * * *",
  "@weekly": "0 0 * * 0",
  "@monthly": "0 0 1 * *",
  "@yearly": "0 0 1 1 *",
  "@annually": "0 0 1 1 *",
};

/** How far croniter looks before it gives up. */
const MAX_YEARS = 50;
const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;

export class Cron {
  readonly expression: string;
  /** The hour field allows every hour; Airflow then counts elapsed time over clock changes. */
  readonly coversEveryHour: boolean;
  readonly fieldCount: number;
  readonly #fields: CronFields;

  /** Throws BadCronError. */
  constructor(expression: string) {
    this.expression = expression;
    const parts = splitFields(expression);
    this.fieldCount = parts.length;
    this.#fields = parseFields(parts);
    this.coversEveryHour = this.#fields.hour.isEvery;
  }

  /** The first match after a wall-clock time, both in microseconds; null when there is none within 50 years. */
  next(wall: number): number | null {
    const step = this.#fields.second ? 1000 : MINUTE_MS;
    const from = (Math.floor(wall / 1000 / step) + 1) * step;
    return this.#find(from, 1);
  }

  /** The last match before a wall-clock time. */
  previous(wall: number): number | null {
    const step = this.#fields.second ? 1000 : MINUTE_MS;
    const from = (Math.ceil(wall / 1000 / step) - 1) * step;
    return this.#find(from, -1);
  }

  #find(fromMs: number, direction: 1 | -1): number | null {
    const { day, weekday, nthWeekdays, nearestWeekday } = this.#fields;
    const sides = { either: day.values[0] !== "*" && weekday.values[0] !== "*", byDay: true, byWeekday: true };
    if (!sides.either || (nthWeekdays.size === 0 && nearestWeekday === null)) {
      return this.#search(fromMs, direction, sides);
    }
    // croniter asks for either side by itself here, and gives up when one of them never comes.
    const byDay = this.#search(fromMs, direction, { ...sides, either: false, byWeekday: false });
    const byWeekday = this.#search(fromMs, direction, { ...sides, either: false, byDay: false });
    if (byDay === null || byWeekday === null) return null;
    return direction > 0 ? Math.min(byDay, byWeekday) : Math.max(byDay, byWeekday);
  }

  #search(fromMs: number, direction: 1 | -1, sides: Sides): number | null {
    const start = new Date(fromMs);
    const firstYear = start.getUTCFullYear();
    let dayMs = Math.floor(fromMs / DAY_MS) * DAY_MS;
    let rest: number | null = fromMs - dayMs;
    for (;;) {
      const day = new Date(dayMs);
      const year = day.getUTCFullYear();
      if (Math.abs(year - firstYear) > MAX_YEARS) return null;
      const month = day.getUTCMonth();
      if (!has(this.#fields.month, month + 1)) {
        // On to the first day of the next month, or the last of the one before.
        dayMs = direction > 0 ? Date.UTC(year, month + 1, 1) : Date.UTC(year, month, 0);
        rest = null;
        continue;
      }
      if ((this.#fields.year === null || has(this.#fields.year, year)) && this.#matchesDay(day, sides)) {
        const time = this.#timeOfDay(rest ?? (direction > 0 ? 0 : DAY_MS - 1000), direction);
        if (time !== null) return (dayMs + time) * 1000;
      }
      dayMs += direction * DAY_MS;
      rest = null;
    }
  }

  #matchesDay(date: Date, sides: Sides): boolean {
    const { day, weekday, nthWeekdays, nearestWeekday } = this.#fields;
    const dayOfMonth = (restricted: boolean): boolean => {
      if (nearestWeekday !== null) return date.getUTCDate() === nearestWeekdayOf(date, nearestWeekday);
      return !restricted || has(day, date.getUTCDate()) || (day.values.includes("l") && isLastOfMonth(date));
    };
    const dayOfWeek = (restricted: boolean): boolean => {
      if (nthWeekdays.size > 0) return isNthWeekday(date, nthWeekdays);
      return !restricted || has(weekday, date.getUTCDay());
    };
    return sides.either ? dayOfMonth(true) || dayOfWeek(true) : dayOfMonth(sides.byDay) && dayOfWeek(sides.byWeekday);
  }

  /** The nearest match within the day, from a time of day in ms and including it. */
  #timeOfDay(from: number, direction: 1 | -1): number | null {
    const { hour, minute, second } = this.#fields;
    const hours = candidates(hour, HOUR, direction);
    const minutes = candidates(minute, 0, direction);
    const seconds = second ? candidates(second, 5, direction) : [0];
    const reached = (time: number): boolean => (direction > 0 ? time >= from : time <= from);
    for (const h of hours) {
      if (!reached(h * 3_600_000 + (direction > 0 ? 3_599_999 : 0))) continue;
      for (const m of minutes) {
        if (!reached(h * 3_600_000 + m * MINUTE_MS + (direction > 0 ? 59_999 : 0))) continue;
        for (const s of seconds) {
          const time = h * 3_600_000 + m * MINUTE_MS + s * 1000;
          if (reached(time)) return time;
        }
      }
    }
    return null;
  }
}

function splitFields(expression: string): string[] {
  const lower = expression.toLowerCase();
  const parts = (ALIASES[lower] ?? lower).match(/[^ \t\n\r\f\v]+/g) ?? [];
  if (parts.length < 5 || parts.length > 7) {
    throw new BadCronError("Exactly 5, 6 or 7 columns has to be specified for iterator expression.");
  }
  return parts;
}

function parseFields(parts: readonly string[]): CronFields {
  const nthWeekdays = new Map<number, Set<number | "l">>();
  let nearestWeekday: number | null = null;
  const fields = parts.map((part, index): Field => {
    const text = withoutQuestionMark(part, index);
    const values = new Set<Entry>();
    for (const element of text.split(",")) {
      const nearest = index === DAY ? /^(?:(\d+)w|w(\d+))$/.exec(element) : null;
      if (nearest) {
        nearestWeekday = Number(nearest[1] ?? nearest[2]);
        if (nearestWeekday < 1 || nearestWeekday > 31 || text.includes(",")) {
          throw new BadCronError(`[${text}] 'W' can only be used with a single day value`);
        }
        values.add(nearestWeekday);
        continue;
      }
      const { range, nth } = index === WEEKDAY ? splitNth(element) : { range: element, nth: null };
      for (const value of expandElement(range, index)) {
        values.add(value);
        if (nth !== null && typeof value === "number") {
          nthWeekdays.set(value, (nthWeekdays.get(value) ?? new Set()).add(nth));
        }
      }
    }
    return fieldOf(values, index, parts);
  });
  const weekday = fields[WEEKDAY] as Field;
  const plain = weekday.values.filter((value) => typeof value === "number" && !nthWeekdays.has(value));
  if (nthWeekdays.size > 0 && plain.length > 0 && weekday.values.length !== 7) {
    throw new BadCronError("day-of-week field does not support mixing literal values and nth day of week syntax.");
  }
  return {
    minute: fields[0] as Field,
    hour: fields[HOUR] as Field,
    day: fields[DAY] as Field,
    month: fields[MONTH] as Field,
    weekday,
    second: fields[5] ?? null,
    year: fields[6] ?? null,
    nthWeekdays,
    nearestWeekday,
  };
}

function withoutQuestionMark(part: string, index: number): string {
  if (!part.includes("?")) return part;
  if (part !== "?" || (index !== DAY && index !== WEEKDAY)) {
    throw new BadCronError(`[${part}] Question mark can only be used alone, in day_of_month or day_of_week`);
  }
  return "*";
}

/** `5#2`, `mon-wed#1` and `l5`. */
function splitNth(element: string): { range: string; nth: number | "l" | null } {
  const numbered = /^([a-z0-9_]+(?:-[a-z]+)?)#(\d+)$/.exec(element);
  if (numbered) {
    const nth = Number(numbered[2]);
    if (nth < 1 || nth > 5) throw new BadCronError(`Invalid day_of_week value: '${numbered[2]}'`);
    return { range: numbered[1] ?? "", nth };
  }
  const last = /^l(\d+)$/.exec(element);
  return last ? { range: last[1] ?? "", nth: "l" } : { range: element, nth: null };
}

function fieldOf(values: ReadonlySet<Entry>, index: number, parts: readonly string[]): Field {
  const sorted = [...values].sort((a, b) => order(a) - order(b));
  const [low, high] = rangeOf(index);
  let isEvery = sorted.length === 1 && sorted[0] === "*";
  if (sorted.length === high - low + 1) {
    // A day field that names every day still counts as restricted beside the other one.
    const other = index === DAY ? parts[WEEKDAY] : index === WEEKDAY ? parts[DAY] : "*";
    isEvery ||= other?.includes("*") ?? false;
  }
  return isEvery ? { values: ["*"], isEvery } : { values: sorted, isEvery };
}

const order = (value: Entry): number => (value === "*" ? -1 : value === "l" ? 1e6 : value);

function expandElement(element: string, index: number): Entry[] {
  const [lowest, highest] = rangeOf(index);
  const starred = element.replace(/^\*(\/.+)$/, `${lowest}-${highest}$1`);
  const written = /^([^-]+)-([^-/]+)(?:\/(\d+))?$/.exec(starred);
  const found = written ?? /^([^-]+)-([^-/]+)(?:\/(\d+))?$/.exec(element.replace(/^(.+)\/(.+)$/, `$1-${highest}/$2`));
  if (!found) return [single(starred, index)];

  const startOnly = written === null;
  let low = bound(found[1] ?? "", index);
  let high = index === DAY && found[2] === "l" ? 31 : bound(found[2] ?? "", index);
  const step = Number(found[3] ?? 1);
  if (step === 0) throw new BadCronError(`step '0' in field ${index} is not acceptable`);
  if (Math.max(low, high) > highest) throw new BadCronError(`${element} is out of bands`);
  if (low === high && startOnly) return inRange([low], index);
  // "Jan-Jan" means the whole cycle.
  if (low === high) [low, high] = [lowest, highest];
  return inRange(low > high ? wrapped(low, high, step, index) : stepped(low, high, step), index);
}

function inRange(values: number[], index: number): number[] {
  const [lowest, highest] = rangeOf(index);
  if (values.some((value) => value < lowest || value > highest)) throw new BadCronError("out of range");
  return values;
}

function rangeOf(index: number): readonly [number, number] {
  return RANGES[index] as readonly [number, number];
}

function stepped(low: number, high: number, step: number): number[] {
  const values: number[] = [];
  for (let value = low; value <= high; value += step) values.push(value);
  return values;
}

/** Ranges over the end, like Sat-Sun or Nov-Feb/2, go on counting at the beginning. */
function wrapped(low: number, high: number, step: number, index: number): number[] {
  const [lowest, highest] = rangeOf(index);
  const first = stepped(low, highest, step);
  const last = first.at(-1) ?? low;
  const skipped = highest - last;
  const size = highest - lowest + 1;
  const toSkip = last - lowest + step > size && skipped < step ? step - skipped : 0;
  return [...first, ...stepped(lowest + toSkip, high, step)];
}

function bound(text: string, index: number): number {
  const value = single(text, index, false);
  if (typeof value !== "number") throw new BadCronError(`bands '${text}' in field ${index} are not acceptable`);
  return value;
}

function single(text: string, index: number, checked = true): Entry {
  if (text === "*" || (text === "l" && index === DAY)) return text;
  if (text.startsWith("-")) throw new BadCronError(`[${text}] is not acceptable, negative numbers not allowed`);
  const names = index === MONTH ? MONTHS : index === WEEKDAY ? WEEKDAYS : [];
  const named = names.indexOf(text);
  if (named >= 0) return index === MONTH ? named + 1 : named;
  if (!/^\d+$/.test(text)) throw new BadCronError(`[${text}] is not acceptable`);
  const value = index === WEEKDAY && Number(text) === 7 ? 0 : Number(text);
  return checked ? (inRange([value], index)[0] as number) : value;
}

function has(field: Field, value: number): boolean {
  return field.values[0] === "*" || field.values.includes(value);
}

function candidates(field: Field, index: number, direction: 1 | -1): number[] {
  const [low, high] = rangeOf(index);
  const values =
    field.values[0] === "*" ? stepped(low, high, 1) : field.values.filter((value) => typeof value === "number");
  return direction > 0 ? values : values.toReversed();
}

function daysInMonth(date: Date): number {
  return new Date(Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1, 0)).getUTCDate();
}

function isLastOfMonth(date: Date): boolean {
  return date.getUTCDate() === daysInMonth(date);
}

function isNthWeekday(date: Date, wanted: CronFields["nthWeekdays"]): boolean {
  const nth = wanted.get(date.getUTCDay());
  if (!nth) return false;
  const day = date.getUTCDate();
  return nth.has(Math.ceil(day / 7)) || (nth.has("l") && day + 7 > daysInMonth(date));
}

/** Monday to Friday nearest to a day, within its month. */
function nearestWeekdayOf(date: Date, wanted: number): number {
  const last = daysInMonth(date);
  const day = Math.min(wanted, last);
  const weekday = new Date(Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), day)).getUTCDay();
  if (weekday === 6) return day > 1 ? day - 1 : day + 2;
  if (weekday === 0) return day < last ? day + 1 : day - 2;
  return day;
}
