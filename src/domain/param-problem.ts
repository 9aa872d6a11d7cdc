import { Errors, type XSchema } from "typebox/schema";
import { ExactNumber, ExactObject, pythonRepr, type ExactJson } from "../kit/exact-json.ts";
import type { JsonValue } from "../kit/json-text.ts";
import type { DagParam } from "./dag-graph.ts";
import { isObject } from "./serialized-value.ts";

/**
 * Holds a run's conf against the DAG's params as Airflow does: values of conf take the place of defaults, then each param's value
 * is held against its JSON schema. The first broken rule in jsonschema's words, or null.
 */
export function paramProblem(
  params: readonly DagParam[],
  conf: Readonly<Record<string, JsonValue>> | null,
): string | null {
  for (const [name, { value, schema }, hasValue] of params) {
    const isGiven = conf !== null && Object.hasOwn(conf, name);
    const taken = isGiven ? (conf[name] as JsonValue) : value;
    const problem = isGiven || hasValue ? problemOf(taken, schema) : "No value passed";
    if (problem !== null) return `Invalid input for param ${name}: ${problem}`;
  }
  return null;
}

function problemOf(value: JsonValue, schema: JsonValue): string | null {
  if (!isObject(schema)) return null;
  const format = typeof schema.format === "string" ? FORMATS[schema.format] : undefined;
  if (format && typeof value === "string" && !format(value)) {
    return explain(`${repr(value)} is not a ${repr(schema.format as string)}`, "format", "", schema, "", value);
  }
  const [valid, errors] = Errors(withoutFormats(schema) as XSchema, value);
  if (valid) return null;
  // A union reports its branches first and itself last; the union is what jsonschema names.
  const whole = errors.find(({ keyword }) => keyword === "anyOf" || keyword === "oneOf" || keyword === "not");
  const error = whole ?? errors[0];
  if (!error) return `${repr(value)} is not valid`;
  const brokenSchema = at(schema, error.schemaPath.replace(/^#/, ""));
  const brokenValue = at(value, error.instancePath);
  const rule = isObject(brokenSchema) ? brokenSchema[error.keyword] : undefined;
  const words = WORDS[error.keyword]?.(brokenValue, rule ?? null, error.params as Record<string, JsonValue>);
  return explain(
    words ?? `${repr(brokenValue)} ${error.message}`,
    error.keyword,
    error.schemaPath.replace(/^#/, ""),
    brokenSchema,
    error.instancePath,
    brokenValue,
  );
}

type Words = (value: JsonValue, rule: JsonValue, params: Record<string, JsonValue>) => string;

const WORDS: Record<string, Words> = {
  type: (value, rule) => `${repr(value)} is not of type ${(Array.isArray(rule) ? rule : [rule]).map(repr).join(", ")}`,
  enum: (value, rule) => `${repr(value)} is not one of ${repr(rule)}`,
  const: (_value, rule) => `${repr(rule)} was expected`,
  minimum: (value, rule) => `${repr(value)} is less than the minimum of ${repr(rule)}`,
  maximum: (value, rule) => `${repr(value)} is greater than the maximum of ${repr(rule)}`,
  exclusiveMinimum: (value, rule) => `${repr(value)} is less than or equal to the minimum of ${repr(rule)}`,
  exclusiveMaximum: (value, rule) => `${repr(value)} is greater than or equal to the maximum of ${repr(rule)}`,
  multipleOf: (value, rule) => `${repr(value)} is not a multiple of ${repr(rule)}`,
  minLength: (value, rule) => (rule === 1 ? `${repr(value)} should be non-empty` : `${repr(value)} is too short`),
  maxLength: (value) => `${repr(value)} is too long`,
  minItems: (value, rule) => (rule === 1 ? `${repr(value)} should be non-empty` : `${repr(value)} is too short`),
  maxItems: (value) => `${repr(value)} is too long`,
  uniqueItems: (value) => `${repr(value)} has non-unique elements`,
  pattern: (value, rule) => `${repr(value)} does not match ${repr(rule)}`,
  required: (_value, _rule, params) =>
    `${repr((Array.isArray(params.requiredProperties) ? params.requiredProperties[0] : null) ?? null)} is a required property`,
  anyOf: (value) => `${repr(value)} is not valid under any of the given schemas`,
  oneOf: (value) => `${repr(value)} is not valid under any of the given schemas`,
  not: (value, rule) => `${repr(value)} should not be valid under ${repr(rule)}`,
};

/** The three paragraphs of Python's ValidationError. */
function explain(
  words: string,
  keyword: string,
  schemaPath: string,
  schema: JsonValue,
  valuePath: string,
  value: JsonValue,
): string {
  const inSchema = subscripts(schemaPath);
  return (
    `${words}\n\nFailed validating ${repr(keyword)} in schema${inSchema}:\n    ${repr(schema)}\n\n` +
    `On instance${subscripts(valuePath)}:\n    ${repr(value)}`
  );
}

function steps(path: string): string[] {
  return path
    .split("/")
    .slice(1)
    .map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
}

function subscripts(path: string): string {
  return steps(path)
    .map((step) => (/^\d+$/.test(step) ? `[${step}]` : `[${repr(step)}]`))
    .join("");
}

function at(value: JsonValue, path: string): JsonValue {
  let found: JsonValue | undefined = value;
  for (const step of steps(path)) {
    if (Array.isArray(found)) found = found[Number(step)];
    else if (isObject(found)) found = found[step];
  }
  return found ?? null;
}

function repr(value: JsonValue): string {
  return pythonRepr(exact(value));
}

function exact(value: JsonValue): ExactJson {
  if (typeof value === "number") return new ExactNumber(JSON.stringify(value));
  if (Array.isArray(value)) return value.map(exact);
  if (isObject(value)) return new ExactObject(new Map(Object.entries(value).map(([key, item]) => [key, exact(item)])));
  return value;
}

/**
 * Formats are checked here, as Python's FormatChecker does without its optional packages: the time of the UI's form has no
 * offset, and a date-time is not looked at. A pattern that only Python understands is not held against anybody.
 */
function withoutFormats(schema: JsonValue): JsonValue {
  if (Array.isArray(schema)) return schema.map(withoutFormats);
  if (!isObject(schema)) return schema;
  return Object.fromEntries(
    Object.entries(schema)
      .filter(([key, rule]) => !(key === "format" && typeof rule === "string"))
      .filter(([key, rule]) => !(key === "pattern" && typeof rule === "string" && !isRegExp(rule)))
      // What these hold is data, not schemas.
      .map(([key, rule]) => [
        key,
        ["const", "enum", "default", "examples"].includes(key) ? rule : withoutFormats(rule),
      ]),
  );
}

function isRegExp(pattern: string): boolean {
  try {
    new RegExp(pattern, "u");
    return true;
  } catch {
    return false;
  }
}

const FORMATS: Record<string, (text: string) => boolean> = {
  date: (text) => /^\d{4}-\d{2}-\d{2}$/.test(text) && isDay(text),
  time: (text) => /^([01]?\d|2[0-3]):[0-5]?\d:([0-5]?\d|6[01])$/.test(text),
  email: (text) => text.includes("@"),
  "idn-email": (text) => text.includes("@"),
  ipv4: (text) => /^(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?!$)|$)){4}$/.test(text),
  uuid: (text) => /^[\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}$/i.test(text),
  regex: isRegExp,
  duration: (text) => /^P(?=.)(\d+Y)?(\d+M)?(\d+W)?(\d+D)?(T(?=.)(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?$/.test(text),
};

function isDay(text: string): boolean {
  const at = new Date(`${text}T00:00:00Z`);
  return !Number.isNaN(at.getTime()) && at.toISOString().startsWith(text);
}
