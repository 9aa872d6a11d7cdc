import fc from "fast-check";
import type { Operation, Schema } from "./openapi.ts";

const TIMES = ["2026-01-02T00:00:00Z", "2026-01-01", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999+00:00"];
const ODD_TEXTS = [
  "",
  " ",
  "~",
  "%",
  "_",
  "a|b",
  "../../etc/passwd",
  "\u0000",
  "\ud800",
  "ä€😀",
  "'; drop table dag; --",
  "-id",
  "null",
];
const ODD_NUMBERS = [0, -1, 1, 2 ** 31, -(2 ** 31) - 1, 2 ** 53, 1e300];

/** Mostly what the schema accepts, sometimes odd, now and then of another type. `known`: names that exist. */
export function valueOf(operation: Operation, given: Schema, known: readonly string[]): fc.Arbitrary<unknown> {
  return fc.oneof(
    { weight: 15, arbitrary: fitting(operation, given, known) },
    { weight: 1, arbitrary: fc.jsonValue({ maxDepth: 2 }) },
  );
}

function fitting(operation: Operation, given: Schema, known: readonly string[]): fc.Arbitrary<unknown> {
  const schema = operation.resolve(given);
  if (schema.const !== undefined) return fc.constant(schema.const);
  if (schema.enum) return fc.constantFrom(...schema.enum);
  const branches = schema.anyOf ?? schema.oneOf;
  if (branches) return fc.oneof(...branches.map((branch) => fitting(operation, branch, known)));
  switch (schema.type) {
    case "object": {
      const { required = [], properties = {} } = schema;
      const members = Object.fromEntries(
        Object.entries(properties).map(([name, property]) => [name, valueOf(operation, property, known)]),
      );
      const requiredKeys = required.filter((name) => name in members);
      return Object.keys(members).length > 0
        ? fc.record(members, { requiredKeys })
        : fc.dictionary(fc.string(), fc.jsonValue(), { maxKeys: 3 });
    }
    case "array":
      return fc.array(valueOf(operation, schema.items ?? {}, known), { maxLength: 3 });
    case "integer":
    case "number":
      return fc.oneof(fc.integer({ min: -2, max: 20 }), fc.constantFrom(...ODD_NUMBERS));
    case "boolean":
      return fc.boolean();
    case "string":
      if (schema.format === "date-time") return fc.constantFrom(...TIMES);
      return fc.oneof(
        fc.constantFrom(...known),
        fc.constantFrom(...ODD_TEXTS),
        fc.string({ unit: "grapheme", maxLength: 300 }),
      );
    default:
      return fc.jsonValue({ maxDepth: 2 });
  }
}

export interface RandomCall {
  path: Record<string, string>;
  query: [string, string][];
  body: unknown;
}

/** A call of this operation. Paths name mostly what exists. */
export function callOf(operation: Operation, known: Record<string, string | number>): fc.Arbitrary<RandomCall> {
  const names = [...Object.values(known).map(String), "~", "contract_asks", "double", "ask"];
  const ofPlace = (place: string) => operation.parameters.filter((parameter) => parameter.in === place);
  const path = Object.fromEntries(
    ofPlace("path").map(({ name }) => [
      name,
      fc.oneof(
        { weight: 6, arbitrary: fc.constant(String(known[name] ?? "none")) },
        {
          weight: 1,
          arbitrary: fc.constantFrom(...names, ...ODD_TEXTS.filter((text) => text !== "" && text !== "\ud800")),
        },
      ),
    ]),
  );
  const query = Object.fromEntries(
    ofPlace("query").map(({ name, schema }) => [name, valueOf(operation, schema, names)]),
  );
  const required = ofPlace("query").flatMap((parameter) => (parameter.required ? [parameter.name] : []));
  return fc.record({
    path: fc.record(path),
    // Few at once, or nothing is ever found.
    query: fc
      .record({
        all: fc.record(query),
        some: fc.subarray(Object.keys(query), { maxLength: Math.min(3, Object.keys(query).length) }),
      })
      .map(({ all, some }) =>
        [...new Set([...required, ...some])].flatMap((name): [string, string][] => {
          const value = all[name];
          const values = Array.isArray(value) ? value : [value];
          return values.map((item) => [name, typeof item === "string" ? item : JSON.stringify(item)]);
        }),
      ),
    body: operation.body ? valueOf(operation, operation.body.schema, names) : fc.constant(undefined),
  });
}
