import { parseInstant, type Instant } from "../kit/instant.ts";
import { toJsonText, type JsonText } from "../kit/json-text.ts";
import { RawJson, type ToSupervisor } from "../domain/task-execution.ts";

/** A message has a field of the wrong kind; the SDK's own models would have refused it. */
export class MessageFieldError extends Error {}

/** Reads the fields of a decoded message, each as what it must be. */
export class MessageFields {
  readonly type: string;
  readonly #fields: ToSupervisor;

  constructor(message: ToSupervisor) {
    this.type = message.type;
    this.#fields = message;
  }

  text(name: string): string {
    const value = this.optionalText(name);
    if (value === null) throw this.#wrong(name, "a text");
    return value;
  }

  optionalText(name: string): string | null {
    const value = this.#plain(name);
    if (value === null || typeof value === "string") return value;
    throw this.#wrong(name, "a text");
  }

  integer(name: string): number {
    const value = this.optionalInteger(name);
    if (value === null) throw this.#wrong(name, "an integer");
    return value;
  }

  optionalInteger(name: string): number | null {
    const value = this.#plain(name);
    if (value === null || (typeof value === "number" && Number.isInteger(value))) return value;
    if (typeof value === "bigint") return Number(value);
    throw this.#wrong(name, "an integer");
  }

  optionalNumber(name: string): number | null {
    const value = this.#plain(name);
    if (value === null || typeof value === "number") return value;
    throw this.#wrong(name, "a number");
  }

  /** Absent or null is false. */
  flag(name: string): boolean {
    const value = this.#plain(name);
    if (value === null || typeof value === "boolean") return value ?? false;
    throw this.#wrong(name, "true or false");
  }

  instant(name: string): Instant {
    const value = this.optionalInstant(name);
    if (value === null) throw this.#wrong(name, "a time");
    return value;
  }

  optionalInstant(name: string): Instant | null {
    return this.#toInstant(name, this.#plain(name));
  }

  optionalTexts(name: string): string[] | null {
    const value = this.#plain(name);
    if (value === null) return null;
    if (Array.isArray(value) && value.every((item) => typeof item === "string")) return value;
    throw this.#wrong(name, "a list of texts");
  }

  optionalInstants(name: string): Instant[] | null {
    const value = this.#plain(name);
    if (value === null) return null;
    if (!Array.isArray(value)) throw this.#wrong(name, "a list of times");
    return value.map((item) => this.#toInstant(name, item) as Instant);
  }

  /** A Python timedelta: msgspec writes "P1DT90S". */
  optionalSeconds(name: string): number | null {
    const value = this.#plain(name);
    if (value === null || typeof value === "number") return value;
    const seconds = typeof value === "string" ? durationSeconds(value) : null;
    if (seconds === null) throw this.#wrong(name, "a duration");
    return seconds;
  }

  /** User data as it was written; "null" when absent. */
  json(name: string): JsonText {
    const value = this.#fields[name];
    return value instanceof RawJson ? value.text : toJsonText(value);
  }

  /** As `json`, but null when absent or null. */
  optionalJson(name: string): JsonText | null {
    const text = this.json(name);
    return text === "null" ? null : text;
  }

  /** Whatever it is, null when absent. */
  plain(name: string): unknown {
    return this.#plain(name);
  }

  #plain(name: string): unknown {
    const value = this.#fields[name];
    return (value instanceof RawJson ? (JSON.parse(value.text) as unknown) : value) ?? null;
  }

  #toInstant(name: string, value: unknown): Instant | null {
    if (value === null) return null;
    if (typeof value === "string") {
      try {
        return parseInstant(value);
      } catch {
        // Said below, with the field's name.
      }
    }
    throw this.#wrong(name, "a time");
  }

  #wrong(name: string, expected: string): MessageFieldError {
    return new MessageFieldError(`${this.type}.${name} must be ${expected}`);
  }
}

const DURATION =
  /^([+-])?P(?:(\d+(?:\.\d+)?)W)?(?:(\d+(?:\.\d+)?)D)?(?:T(?=\d)(?:(\d+(?:\.\d+)?)H)?(?:(\d+(?:\.\d+)?)M)?(?:(\d+(?:\.\d+)?)S)?)?$/i;

/** Seconds of an ISO 8601 duration; null when it is none, or has years or months. */
export function durationSeconds(text: string): number | null {
  const found = DURATION.exec(text);
  if (!found || text.length < 3) return null;
  const [weeks, days, hours, minutes, seconds] = found.slice(2).map((part) => Number(part ?? 0)) as [
    number,
    number,
    number,
    number,
    number,
  ];
  const total = (weeks * 7 + days) * 86_400 + hours * 3600 + minutes * 60 + seconds;
  return found[1] === "-" ? -total : total;
}
