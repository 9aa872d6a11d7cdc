import type { ValidationIssue } from "./errors.ts";

/** The part of JSON Schema that TypeBox writes and our routes use. */
export interface RouteSchema {
  type?: string | string[];
  const?: unknown;
  enum?: readonly unknown[];
  anyOf?: readonly RouteSchema[];
  allOf?: readonly RouteSchema[];
  properties?: Record<string, RouteSchema>;
  required?: readonly string[];
  additionalProperties?: boolean | RouteSchema;
  patternProperties?: Record<string, RouteSchema>;
  items?: RouteSchema;
  minItems?: number;
  maxItems?: number;
  minLength?: number;
  maxLength?: number;
  pattern?: string;
  format?: string;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  default?: unknown;
}

/** A list of a million wrong items is told of by its first ones. */
const MAXIMUM_ISSUES = 1_000;

type Location = readonly (string | number)[];
export type Checked = { ok: true; value: unknown } | { ok: false; issues: ValidationIssue[] };

const good = (value: unknown): Checked => ({ ok: true, value });
const bad = (type: string, loc: Location, msg: string, input: unknown, ctx?: Record<string, unknown>): Checked => ({
  ok: false,
  issues: [{ type, loc: [...loc], msg, input, ...(ctx ? { ctx } : {}) }],
});

/**
 * Checks a value as pydantic does in its lax mode, so that clients written for Airflow get the same conversions and the same
 * issue lists: `"5"` is an integer, `"true"` a boolean, a lone query value a list. Interpreted rather than compiled: Ajv's
 * compiled validators of 150 routes cost start-up time and memory, and bodies are small.
 */
export function check(schema: RouteSchema, value: unknown, loc: Location): Checked {
  if (schema.anyOf) return checkUnion(schema.anyOf, value, loc);
  if (schema.const !== undefined) return checkChoice([schema.const], value, loc);
  if (schema.enum) return checkChoice(schema.enum, value, loc);
  switch (typeof schema.type === "string" ? schema.type : undefined) {
    case "object":
      return checkObject(schema, value, loc);
    case "array":
      return checkArray(schema, value, loc);
    case "string":
      return checkString(schema, value, loc);
    case "integer":
      return checkRange(schema, toInteger(value, loc), loc);
    case "number":
      return checkRange(schema, toNumber(value, loc), loc);
    case "boolean":
      return toBoolean(value, loc);
    case "null":
      return value === null ? good(null) : bad("none_required", loc, "Input should be None", value);
    default:
      return good(value);
  }
}

/** Query parameters: repeated ones become lists where the schema wants a list, else the last one counts, as in FastAPI. */
export function checkQuery(schema: RouteSchema, query: Record<string, unknown>): Checked {
  const arranged: Record<string, unknown> = { ...query };
  for (const [name, property] of Object.entries(schema.properties ?? {})) {
    const given = arranged[name];
    if (given === undefined) continue;
    if (wantsArray(property)) arranged[name] = Array.isArray(given) ? given : [given];
    else if (Array.isArray(given)) arranged[name] = given.at(-1);
  }
  return check({ ...schema, additionalProperties: true }, arranged, ["query"]);
}

function wantsArray(schema: RouteSchema): boolean {
  return schema.type === "array" || (schema.anyOf?.some(wantsArray) ?? false);
}

function checkUnion(branches: readonly RouteSchema[], value: unknown, loc: Location): Checked {
  if (branches.every((branch) => branch.const !== undefined)) {
    return checkChoice(
      branches.map((branch) => branch.const),
      value,
      loc,
    );
  }
  // An exact match first: "5" in a union of integer and string stays a string.
  const exact = branches.find((branch) => isOfType(branch, value) && check(branch, value, loc).ok);
  if (exact) return check(exact, value, loc);
  const candidates = branches.filter((branch) => branch.type !== "null");
  const tagged = candidates.find((branch) => hasTagOf(branch, value));
  if (tagged) return check(tagged, value, loc);
  const issues: ValidationIssue[] = [];
  for (const branch of candidates) {
    const result = check(branch, value, loc);
    if (result.ok) return result;
    issues.push(...result.issues);
  }
  return { ok: false, issues };
}

function isOfType(schema: RouteSchema, value: unknown): boolean {
  if (value === null) return schema.type === "null";
  if (schema.const !== undefined) return schema.const === value;
  if (schema.enum) return schema.enum.includes(value);
  if (schema.type === "array") return Array.isArray(value);
  if (schema.type === "object") return isRecord(value);
  if (schema.type === "integer") return Number.isInteger(value);
  return schema.type === typeof value;
}

/** A union of objects told apart by a constant member: `{ action: "create", … }`. */
function hasTagOf(schema: RouteSchema, value: unknown): boolean {
  if (!isRecord(value)) return false;
  return Object.entries(schema.properties ?? {}).some(
    ([name, property]) => property.const !== undefined && property.const === value[name],
  );
}

function checkChoice(choices: readonly unknown[], value: unknown, loc: Location): Checked {
  if (choices.includes(value)) return good(value);
  const quoted = choices.map((choice) => (typeof choice === "string" ? `'${choice}'` : JSON.stringify(choice)));
  const last = quoted.pop() ?? "";
  const expected = quoted.length > 0 ? `${quoted.join(", ")} or ${last}` : last;
  return bad("enum", loc, `Input should be ${expected}`, value, { expected });
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function checkObject(schema: RouteSchema, value: unknown, loc: Location): Checked {
  if (!isRecord(value)) {
    return schema.properties
      ? bad("model_attributes_type", loc, "Input should be a valid dictionary or object to extract fields from", value)
      : bad("dict_type", loc, "Input should be a valid dictionary", value);
  }
  const properties = schema.properties ?? {};
  const rest = schema.additionalProperties ?? Object.values(schema.patternProperties ?? {})[0] ?? true;
  const issues: ValidationIssue[] = [];
  const made: Record<string, unknown> = {};
  const take = (name: string, result: Checked) => {
    if (result.ok) define(made, name, result.value);
    else issues.push(...result.issues);
  };
  for (const [name, property] of Object.entries(properties)) {
    if (Object.hasOwn(value, name)) take(name, check(property, value[name], [...loc, name]));
    else if (property.default !== undefined) define(made, name, structuredClone(property.default));
    else if (schema.required?.includes(name)) {
      issues.push({ type: "missing", loc: [...loc, name], msg: "Field required", input: value });
    }
  }
  for (const [name, member] of Object.entries(value)) {
    if (issues.length >= MAXIMUM_ISSUES) break;
    if (Object.hasOwn(properties, name)) continue;
    if (rest === false) {
      issues.push({
        type: "extra_forbidden",
        loc: [...loc, name],
        msg: "Extra inputs are not permitted",
        input: member,
      });
    } else take(name, rest === true ? good(member) : check(rest, member, [...loc, name]));
  }
  return issues.length > 0 ? { ok: false, issues } : good(made);
}

/** `made["__proto__"] = x` would set the prototype. */
function define(made: Record<string, unknown>, name: string, value: unknown): void {
  Object.defineProperty(made, name, { value, enumerable: true, configurable: true, writable: true });
}

function checkArray(schema: RouteSchema, value: unknown, loc: Location): Checked {
  if (!Array.isArray(value)) return bad("list_type", loc, "Input should be a valid list", value);
  const items = schema.items ?? {};
  const made: unknown[] = [];
  const issues: ValidationIssue[] = [];
  for (const [index, item] of value.entries()) {
    const result = check(items, item, [...loc, index]);
    if (result.ok) made.push(result.value);
    else issues.push(...result.issues);
    if (issues.length >= MAXIMUM_ISSUES) break;
  }
  if (issues.length > 0) return { ok: false, issues };
  if (schema.minItems !== undefined && value.length < schema.minItems) {
    const msg = `List should have at least ${schema.minItems} item${schema.minItems === 1 ? "" : "s"} after validation, not ${value.length}`;
    return bad("too_short", loc, msg, value, {
      field_type: "List",
      min_length: schema.minItems,
      actual_length: value.length,
    });
  }
  if (schema.maxItems !== undefined && value.length > schema.maxItems) {
    const msg = `List should have at most ${schema.maxItems} item${schema.maxItems === 1 ? "" : "s"} after validation, not ${value.length}`;
    return bad("too_long", loc, msg, value, {
      field_type: "List",
      max_length: schema.maxItems,
      actual_length: value.length,
    });
  }
  return good(made);
}

const DATE_TIME = /^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?\s*(Z|[+-]\d{2}(:?\d{2})?)?)?$/i;
const UUID = /^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/i;

function checkString(schema: RouteSchema, value: unknown, loc: Location): Checked {
  if (typeof value !== "string") return bad("string_type", loc, "Input should be a valid string", value);
  const { minLength, maxLength, pattern, format } = schema;
  const characters = (count: number) => `${count} character${count === 1 ? "" : "s"}`;
  if (minLength !== undefined && value.length < minLength) {
    const msg = `String should have at least ${characters(minLength)}`;
    return bad("string_too_short", loc, msg, value, { min_length: minLength });
  }
  if (maxLength !== undefined && value.length > maxLength) {
    const msg = `String should have at most ${characters(maxLength)}`;
    return bad("string_too_long", loc, msg, value, { max_length: maxLength });
  }
  if (pattern !== undefined && !new RegExp(pattern, "u").test(value)) {
    return bad("string_pattern_mismatch", loc, `String should match pattern '${pattern}'`, value, { pattern });
  }
  if (format === "date-time" && !DATE_TIME.test(value)) {
    return bad(
      "datetime_from_date_parsing",
      loc,
      "Input should be a valid datetime or date, invalid character in year",
      value,
      { error: "invalid character in year" },
    );
  }
  if (format === "uuid" && !UUID.test(value)) {
    return bad("uuid_parsing", loc, "Input should be a valid UUID, invalid character", value);
  }
  return good(value);
}

function toInteger(value: unknown, loc: Location): Checked {
  if (typeof value === "string") {
    const text = value.trim();
    if (/^[+-]?\d+(\.0*)?$/.test(text) && Number.isSafeInteger(Number(text))) return good(Number(text));
    return bad("int_parsing", loc, "Input should be a valid integer, unable to parse string as an integer", value);
  }
  if (typeof value === "boolean") return good(Number(value));
  if (typeof value !== "number") return bad("int_type", loc, "Input should be a valid integer", value);
  if (Number.isInteger(value)) return good(value);
  return bad("int_from_float", loc, "Input should be a valid integer, got a number with a fractional part", value);
}

function toNumber(value: unknown, loc: Location): Checked {
  if (typeof value === "number") return good(value);
  if (typeof value === "string") {
    const number = Number(value);
    if (value.trim() !== "" && Number.isFinite(number)) return good(number);
    return bad("float_parsing", loc, "Input should be a valid number, unable to parse string as a number", value);
  }
  return bad("float_type", loc, "Input should be a valid number", value);
}

const TRUE = ["true", "1", "on", "yes", "t", "y"];
const FALSE = ["false", "0", "off", "no", "f", "n"];

function toBoolean(value: unknown, loc: Location): Checked {
  if (typeof value === "boolean") return good(value);
  if (value === 0 || value === 1) return good(value === 1);
  if (typeof value !== "string") return bad("bool_type", loc, "Input should be a valid boolean", value);
  const text = value.toLowerCase();
  if (TRUE.includes(text)) return good(true);
  if (FALSE.includes(text)) return good(false);
  return bad("bool_parsing", loc, "Input should be a valid boolean, unable to interpret input", value);
}

function checkRange(schema: RouteSchema, result: Checked, loc: Location): Checked {
  if (!result.ok) return result;
  const value = result.value as number;
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum } = schema;
  if (minimum !== undefined && value < minimum) {
    return bad("greater_than_equal", loc, `Input should be greater than or equal to ${minimum}`, value, {
      ge: minimum,
    });
  }
  if (maximum !== undefined && value > maximum) {
    return bad("less_than_equal", loc, `Input should be less than or equal to ${maximum}`, value, { le: maximum });
  }
  if (exclusiveMinimum !== undefined && value <= exclusiveMinimum) {
    return bad("greater_than", loc, `Input should be greater than ${exclusiveMinimum}`, value, {
      gt: exclusiveMinimum,
    });
  }
  if (exclusiveMaximum !== undefined && value >= exclusiveMaximum) {
    return bad("less_than", loc, `Input should be less than ${exclusiveMaximum}`, value, { lt: exclusiveMaximum });
  }
  return result;
}
