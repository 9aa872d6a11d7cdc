import { Type, type TSchema } from "typebox";
import { parseInstant, type Instant } from "../kit/instant.ts";
import { unprocessable } from "./errors.ts";

/** Pieces of request schemas; api/validation.ts says what they accept. */

/** A moment as clients write it; `toInstant` reads it. */
export const InstantText = Type.String({ format: "date-time" });
/** A calendar day, `YYYY-MM-DD`. */
export const DayText = Type.String({ pattern: "^\\d{4}-\\d{2}-\\d{2}$" });
/** Any JSON object. */
export const JsonObject = Type.Unsafe<Record<string, unknown>>({ type: "object" });

export function enumOf<const T extends readonly string[]>(values: T) {
  return Type.Unsafe<T[number]>({ type: "string", enum: values });
}

export function nullable<T extends TSchema>(schema: T) {
  return Type.Union([schema, Type.Null()]);
}

/** A body that refuses fields it does not know. */
export function strictObject<T extends Record<string, TSchema>>(properties: T) {
  return Type.Object(properties, { additionalProperties: false });
}

const OFFSET = /([Zz]|[+-]\d{2}:?\d{2})$/;

/** Reads what `InstantText` let through; a day alone is its midnight, no offset is UTC. Throws pydantic's 422 for 30 February. */
export function toInstant(text: string, loc: (string | number)[]): Instant {
  const full = /^.{10}$/.test(text) ? `${text}T00:00:00` : text.replace(/^(.{10}[Tt ]\d{2}:\d{2})(?!:)/, "$1:00");
  try {
    return parseInstant(full);
  } catch {
    const error = "day value is outside expected range";
    const msg = `Input should be a valid datetime or date, ${error}`;
    throw unprocessable([{ type: "datetime_from_date_parsing", loc, msg, input: text, ctx: { error } }]);
  }
}

/** As `toInstant`, for fields that must carry their offset. */
export function toAwareInstant(text: string, loc: (string | number)[]): Instant {
  const at = toInstant(text, loc);
  if (text.length > 10 && OFFSET.test(text.slice(10))) return at;
  throw unprocessable([{ type: "timezone_aware", loc, msg: "Input should have timezone info", input: text }]);
}

/** A rule over a whole body, in the words pydantic gives a Python ValueError. */
export function valueError(loc: (string | number)[], message: string, input: unknown) {
  return unprocessable([{ type: "value_error", loc, msg: `Value error, ${message}`, input, ctx: { error: {} } }]);
}
