/** Wall-clock times are numbers of microseconds, as if the wall clock showed UTC; moments are microseconds since 1970. */

const SECOND = 1_000_000;
const DAY = 86_400 * SECOND;
const HOUR_MS = 3_600_000;

export interface TimeZone {
  readonly name: string;
  toWall(moment: number): number;
  /**
   * A time the clock shows twice is its second showing; a time the clock jumps over is as much later: Airflow's
   * `make_aware` (pendulum with fold=1).
   */
  toMoment(wall: number): number;
}

const zones = new Map<string, TimeZone>();

/** An IANA name, or an offset in seconds. Throws RangeError on a name that is not known. */
export function timeZone(name: string | number): TimeZone {
  const key = String(name);
  const known = zones.get(key);
  if (known) return known;
  const zone = makeZone(key);
  zones.set(key, zone);
  return zone;
}

function makeZone(name: string): TimeZone {
  const fixed = fixedOffset(name);
  if (fixed !== null) {
    return { name, toWall: (moment) => moment + fixed, toMoment: (wall) => wall - fixed };
  }
  const offsetAt = offsets(name);
  return {
    name,
    toWall: (moment) => moment + offsetAt(moment),
    toMoment(wall) {
      const before = offsetAt(wall - DAY);
      const after = offsetAt(wall + DAY);
      if (before === after) return wall - before;
      const early = offsetAt(wall - before) === before;
      const late = offsetAt(wall - after) === after;
      if (early !== late) return wall - (early ? before : after);
      return wall - Math.min(before, after);
    },
  };
}

function fixedOffset(name: string): number | null {
  if (/^(utc|gmt|z|etc\/utc)$/i.test(name)) return 0;
  if (/^-?\d+$/.test(name)) return Number(name) * SECOND;
  const written = /^(?:UTC)?([+-])(\d{2}):?(\d{2})$/.exec(name);
  if (!written) return null;
  return (written[1] === "-" ? -1 : 1) * (Number(written[2]) * 3600 + Number(written[3]) * 60) * SECOND;
}

/**
 * Offsets from the platform's own zone data, one formatter per zone. Asking it costs microseconds, so answers are kept by the
 * quarter hour: no zone changes its offset within one.
 */
function offsets(name: string): (moment: number) => number {
  const formatter = new Intl.DateTimeFormat("en-US", {
    timeZone: name,
    hourCycle: "h23",
    year: "numeric",
    month: "numeric",
    day: "numeric",
    hour: "numeric",
    minute: "numeric",
    second: "numeric",
    era: "short",
  });
  let kept = new Map<number, number>();
  return (moment) => {
    const quarter = Math.floor(moment / 1000 / (HOUR_MS / 4));
    const known = kept.get(quarter);
    if (known !== undefined) return known;
    const ms = quarter * (HOUR_MS / 4);
    const offset = (wallMs(formatter, ms) - ms) * 1000;
    if (kept.size > 5000) kept = new Map();
    kept.set(quarter, offset);
    return offset;
  };
}

function wallMs(formatter: Intl.DateTimeFormat, ms: number): number {
  const parts: Record<string, string> = {};
  for (const { type, value } of formatter.formatToParts(ms)) parts[type] = value;
  const year = parts["era"] === "BC" ? 1 - Number(parts["year"]) : Number(parts["year"]);
  const wall = new Date(0);
  wall.setUTCFullYear(year, Number(parts["month"]) - 1, Number(parts["day"]));
  return wall.setUTCHours(Number(parts["hour"]), Number(parts["minute"]), Number(parts["second"]), 0);
}
