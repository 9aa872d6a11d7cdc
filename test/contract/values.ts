import type { Operation, Schema } from "./openapi.ts";

/** A value this schema accepts, as small as can be. */
export function smallest(operation: Operation, given: Schema): unknown {
  const schema = operation.resolve(given);
  if (schema.default !== undefined) return schema.default;
  if (schema.const !== undefined) return schema.const;
  if (schema.enum) return schema.enum[0];
  const branch = (schema.anyOf ?? schema.oneOf)?.[0];
  if (branch) return smallest(operation, branch);
  switch (schema.type) {
    case "object":
      return Object.fromEntries(
        (schema.required ?? []).map((name) => [name, smallest(operation, schema.properties?.[name] ?? {})]),
      );
    case "array":
      return Array.from({ length: schema.minItems ?? 0 }, () => smallest(operation, schema.items ?? {}));
    case "string":
      return schema.format === "date-time" ? "2026-01-01T00:00:00Z" : "x".repeat(Math.max(1, schema.minLength ?? 1));
    case "integer":
    case "number":
      return schema.minimum ?? 1;
    case "boolean":
      return false;
    default:
      return null;
  }
}

/** Values this schema refuses, each with what is wrong with it. `text`: as a query or a path writes it. */
export function refused(operation: Operation, given: Schema, text: boolean): [string, unknown][] {
  const schema = operation.resolve(given);
  const branches = schema.anyOf ?? schema.oneOf;
  if (branches) return branches.length > 2 ? [] : unionRefuses(operation, branches, text);
  if (schema.const !== undefined) return [["not the constant", "surely not this"]];
  if (schema.enum) return [["unknown value", "surely not this"]];
  const bounds: [string, unknown][] = [
    ...(schema.minimum === undefined ? [] : [["too small", schema.minimum - 1] as [string, unknown]]),
    ...(schema.maximum === undefined ? [] : [["too large", schema.maximum + 1] as [string, unknown]]),
    ...(schema.exclusiveMinimum === undefined ? [] : [["too small", schema.exclusiveMinimum] as [string, unknown]]),
    ...(schema.maxLength === undefined ? [] : [["too long", "x".repeat(schema.maxLength + 1)] as [string, unknown]]),
    ...(schema.minLength === undefined || schema.minLength === 0 || text
      ? []
      : [["too short", ""] as [string, unknown]]),
  ];
  switch (schema.type) {
    case "integer":
      return [["no integer", text ? "x1" : {}], ["a fraction", text ? "1.5" : 1.5], ...bounds];
    case "number":
      return [["no number", text ? "one" : {}], ...bounds];
    case "boolean":
      return [["no boolean", text ? "perhaps" : {}], ...bounds];
    case "string":
      if (schema.format === "date-time") return [["no time", "yesterday"]];
      return text ? bounds : [["no string", {}], ["a number", 5], ...bounds];
    case "array":
      return text
        ? refused(operation, schema.items ?? {}, true)
        : [
            ["no list", "x"],
            ...refused(operation, schema.items ?? {}, false).map(
              ([why, value]) => [`an item is ${why}`, [value]] as [string, unknown],
            ),
          ];
    case "object":
      return text || !schema.properties
        ? text
          ? []
          : [["no object", "x"]]
        : [["no object", "x"], ...objectRefuses(operation, schema)];
    default:
      return [];
  }
}

/** Nullable, that is: what the one branch refuses, other than null. */
function unionRefuses(operation: Operation, branches: readonly Schema[], text: boolean): [string, unknown][] {
  const [only, ...others] = branches.filter(({ type }) => type !== "null");
  return only && others.length === 0 ? refused(operation, only, text) : [];
}

function objectRefuses(operation: Operation, schema: Schema): [string, unknown][] {
  const whole = smallest(operation, { ...schema, default: undefined }) as Record<string, unknown>;
  const missing = (schema.required ?? []).map((name): [string, unknown] => {
    const { [name]: _, ...rest } = whole;
    return [`without ${name}`, rest];
  });
  const wrong = Object.entries(schema.properties ?? {}).flatMap(([name, property]) =>
    refused(operation, property, false).map(([why, value]): [string, unknown] => [
      `${name}: ${why}`,
      { ...whole, [name]: value },
    ]),
  );
  const unknown: [string, unknown][] =
    schema.additionalProperties === false ? [["an unknown field", { ...whole, surely_not_a_field: 1 }]] : [];
  return [...missing, ...wrong, ...unknown];
}
