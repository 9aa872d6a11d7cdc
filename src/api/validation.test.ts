import { Type } from "typebox";
import { describe, expect, it } from "vitest";
import { check, checkQuery, type RouteSchema } from "./validation.ts";

const body = (schema: unknown, value: unknown) => check(schema as RouteSchema, value, ["body"]);
const query = (schema: unknown, value: Record<string, unknown>) => checkQuery(schema as RouteSchema, value);

describe("bodies", () => {
  const Person = Type.Object(
    {
      name: Type.String({ minLength: 1, maxLength: 5 }),
      age: Type.Optional(Type.Union([Type.Integer({ minimum: 0 }), Type.Null()])),
      kind: Type.Union([Type.Literal("a"), Type.Literal("b"), Type.Literal("c")], { default: "a" }),
    },
    { additionalProperties: false },
  );

  it("converts as pydantic's lax mode and fills in defaults", () => {
    expect(body(Person, { name: "x", age: "41" })).toEqual({ ok: true, value: { name: "x", age: 41, kind: "a" } });
    expect(body(Person, { name: "x", age: null, kind: "b" })).toEqual({
      ok: true,
      value: { name: "x", age: null, kind: "b" },
    });
  });

  it("lists every issue in pydantic's words", () => {
    expect(body(Person, { age: -1, kind: "z", more: 1 })).toEqual({
      ok: false,
      issues: [
        { type: "missing", loc: ["body", "name"], msg: "Field required", input: { age: -1, kind: "z", more: 1 } },
        {
          type: "greater_than_equal",
          loc: ["body", "age"],
          msg: "Input should be greater than or equal to 0",
          input: -1,
          ctx: { ge: 0 },
        },
        {
          type: "enum",
          loc: ["body", "kind"],
          msg: "Input should be 'a', 'b' or 'c'",
          input: "z",
          ctx: { expected: "'a', 'b' or 'c'" },
        },
        { type: "extra_forbidden", loc: ["body", "more"], msg: "Extra inputs are not permitted", input: 1 },
      ],
    });
    expect(body(Person, { name: "toolong" })).toMatchObject({ issues: [{ type: "string_too_long" }] });
    expect(body(Person, [])).toMatchObject({ issues: [{ type: "model_attributes_type", loc: ["body"] }] });
  });

  it("picks the branch of a union by its constant member", () => {
    const Action = Type.Union([
      Type.Object({ action: Type.Literal("create"), entities: Type.Array(Type.String()) }),
      Type.Object({ action: Type.Literal("delete"), ids: Type.Array(Type.Integer()) }),
    ]);
    expect(body(Action, { action: "delete", ids: ["1"] })).toMatchObject({ ok: true, value: { ids: [1] } });
    expect(body(Action, { action: "delete", ids: ["x"] })).toEqual({
      ok: false,
      issues: [
        {
          type: "int_parsing",
          loc: ["body", "ids", 0],
          msg: "Input should be a valid integer, unable to parse string as an integer",
          input: "x",
        },
      ],
    });
  });

  it("keeps a string in a union of string and integer", () => {
    expect(body(Type.Union([Type.Integer(), Type.String()]), "5")).toEqual({ ok: true, value: "5" });
  });

  it("keeps __proto__ an ordinary member", () => {
    const result = body(Type.Record(Type.String(), Type.Unknown()), JSON.parse('{"__proto__": {"evil": true}}'));
    expect(result.ok && Object.keys(result.value as object)).toEqual(["__proto__"]);
    expect(({} as { evil?: boolean }).evil).toBeUndefined();
  });
});

describe("query parameters", () => {
  const Query = Type.Object({
    limit: Type.Integer({ minimum: 0, default: 50 }),
    paused: Type.Optional(Type.Boolean()),
    tags: Type.Array(Type.String(), { default: [] }),
  });

  it("makes lists of lone values and takes the last of repeated ones", () => {
    expect(query(Query, { tags: "a", limit: ["1", "2"], unknown: "x" })).toEqual({
      ok: true,
      value: { tags: ["a"], limit: 2, unknown: "x" },
    });
    expect(query(Query, {})).toEqual({ ok: true, value: { limit: 50, tags: [] } });
  });

  it.each(["true", "1", "on", "Yes", "T"])("reads %s as true", (text) => {
    expect(query(Query, { paused: text })).toMatchObject({ ok: true, value: { paused: true } });
  });

  it("says what is no boolean", () => {
    expect(query(Query, { paused: "maybe" })).toEqual({
      ok: false,
      issues: [
        {
          type: "bool_parsing",
          loc: ["query", "paused"],
          msg: "Input should be a valid boolean, unable to interpret input",
          input: "maybe",
        },
      ],
    });
  });
});
