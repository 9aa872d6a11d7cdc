/**
 * A moment in UTC with microseconds, always written `YYYY-MM-DDTHH:MM:SS.ffffffZ`, so that comparing strings
 * compares times. Airflow keeps microseconds; a JS `Date` does not.
 */
export type Instant = string & { readonly __brand: "Instant" };

const FORM = /^(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?\s*(Z|[+-]\d{2}(?::?\d{2})?(?::?\d{2})?)?$/i;

/** Reads ISO 8601 or PostgreSQL's form; a time without an offset is UTC. Throws RangeError on anything else. */
export function parseInstant(text: string): Instant {
  const found = FORM.exec(text);
  if (!found) throw new RangeError(`not a date and time: ${JSON.stringify(text)}`);
  const [, day, time, fraction = "", offset = "Z"] = found as unknown as [string, string, string, string?, string?];
  const micros = fraction.slice(0, 6).padEnd(6, "0");
  const whole = Date.parse(`${day}T${time}Z`);
  // Date.parse rolls 30 February over into March.
  if (Number.isNaN(whole) || !new Date(whole).toISOString().startsWith(day)) {
    throw new RangeError(`not a date and time: ${JSON.stringify(text)}`);
  }
  if (/^(Z|[+-]00(:?00)?)$/i.test(offset)) return `${day}T${time}.${micros}Z` as Instant;
  return instantFromMicros((whole - offsetMs(offset)) * 1000 + Number(micros));
}

function offsetMs(offset: string): number {
  if (/^z$/i.test(offset)) return 0;
  const digits = offset.slice(1).replaceAll(":", "");
  const seconds =
    Number(digits.slice(0, 2)) * 3600 + Number(digits.slice(2, 4) || 0) * 60 + Number(digits.slice(4, 6) || 0);
  return (offset.startsWith("-") ? -seconds : seconds) * 1000;
}

/** Microseconds since 1970; exact until the year 2255. */
export function instantMicros(at: Instant): number {
  return Date.parse(`${at.slice(0, 19)}Z`) * 1000 + Number(at.slice(20, 26));
}

export function instantFromMicros(micros: number): Instant {
  const whole = Math.floor(micros / 1_000_000);
  const rest = micros - whole * 1_000_000;
  return `${new Date(whole * 1000).toISOString().slice(0, 19)}.${String(rest).padStart(6, "0")}Z` as Instant;
}

export function instantFromMs(ms: number): Instant {
  return instantFromMicros(Math.round(ms * 1000));
}

export function instantMs(at: Instant): number {
  return instantMicros(at) / 1000;
}

export function addMicros(at: Instant, micros: number): Instant {
  return instantFromMicros(instantMicros(at) + micros);
}

/** As Airflow's APIs write it: no fraction where there is none. */
export function formatInstant(at: Instant): string {
  return at.endsWith(".000000Z") ? `${at.slice(0, 19)}Z` : at;
}

/** As Python's `datetime.isoformat()` writes a UTC time; run ids and log paths use it. */
export function pythonIsoFormat(at: Instant): string {
  return formatInstant(at).replace(/Z$/, "+00:00");
}
