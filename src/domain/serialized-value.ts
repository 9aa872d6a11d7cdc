import { instantFromMicros, parseInstant, type Instant } from "../kit/instant.ts";
import type { JsonValue } from "../kit/json-text.ts";

/** Reading Airflow's JSON encoding: `{"__type": kind, "__var": content}` around whatever JSON cannot say. */

export type JsonObject = Record<string, JsonValue>;

export function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isEncoded(value: JsonValue): value is { __type: string; __var: JsonValue } {
  return isObject(value) && typeof value["__type"] === "string" && "__var" in value;
}

/** The content without its wrapper, one level deep. */
export function unwrap(value: JsonValue | undefined): JsonValue | undefined {
  return value !== undefined && isEncoded(value) ? value.__var : value;
}

/** The whole value as plain JSON; durations are seconds, times ISO strings. */
export function decodeValue(value: JsonValue): JsonValue {
  if (Array.isArray(value)) return value.map(decodeValue);
  if (!isObject(value)) return value;
  if (!isEncoded(value)) return mapObject(value, decodeValue);
  const content = value.__var;
  switch (value.__type) {
    case "dict":
      return isObject(content) ? mapObject(content, decodeValue) : content;
    case "set":
    case "tuple":
      return decodeValue(content);
    case "datetime":
      return typeof content === "number" ? instantFromSeconds(content) : content;
    case "arg_not_set":
    case "NOTSET":
      return null;
    default:
      return content;
  }
}

function mapObject(value: JsonObject, change: (value: JsonValue) => JsonValue): JsonObject {
  return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, change(entry)]));
}

export function instantFromSeconds(seconds: number): Instant {
  return instantFromMicros(Math.round(seconds * 1_000_000));
}

/** Readers of a field that may be missing, null or wrapped. */
export function textOr<T>(value: JsonValue | undefined, otherwise: T): string | T {
  const content = unwrap(value);
  return typeof content === "string" ? content : otherwise;
}

export function numberOr<T>(value: JsonValue | undefined, otherwise: T): number | T {
  const content = unwrap(value);
  return typeof content === "number" ? content : otherwise;
}

export function flagOr<T>(value: JsonValue | undefined, otherwise: T): boolean | T {
  const content = unwrap(value);
  return typeof content === "boolean" ? content : otherwise;
}

export function textsOf(value: JsonValue | undefined): string[] {
  const content = unwrap(value);
  return Array.isArray(content) ? content.filter((entry) => typeof entry === "string") : [];
}

export function objectOf(value: JsonValue | undefined): JsonObject {
  const content = unwrap(value);
  return isObject(content) ? content : {};
}

export function listOf(value: JsonValue | undefined): JsonValue[] {
  const content = unwrap(value);
  return Array.isArray(content) ? content : [];
}

/** Fractional seconds since the epoch, as the schema has it; old data also wrote ISO strings. */
export function instantOrNull(value: JsonValue | undefined): Instant | null {
  const content = unwrap(value);
  if (typeof content === "number") return instantFromSeconds(content);
  return typeof content === "string" ? parseInstant(content) : null;
}
