import { describe, expect, it } from "vitest";
import { raw } from "../../test/support/execution.ts";
import { durationSeconds, MessageFieldError, MessageFields } from "./message-fields.ts";
import { writeJson } from "./json-writer.ts";

describe("durations", () => {
  it.each([
    ["PT90S", 90],
    ["P1DT0.5S", 86_400.5],
    ["P2D", 172_800],
    ["PT1H2M3S", 3723],
    ["-PT5S", -5],
    ["P1W", 604_800],
    ["P", null],
    ["PT", null],
    ["P1DT", null],
    ["90", null],
    ["P1Y", null],
    ["", null],
  ])("%s", (text, seconds) => {
    expect(durationSeconds(text)).toBe(seconds);
  });
});

describe("fields", () => {
  it("are read plain or raw", () => {
    const fields = new MessageFields({ type: "T", a: raw('"x"'), b: "x", c: raw("null"), d: undefined });
    expect([fields.text("a"), fields.text("b"), fields.optionalText("c"), fields.optionalText("d")]).toEqual([
      "x",
      "x",
      null,
      null,
    ]);
    expect([fields.json("a"), fields.json("b"), fields.optionalJson("c")]).toEqual(['"x"', '"x"', null]);
  });

  it("name what is wrong with them", () => {
    const fields = new MessageFields({ type: "T", n: 1.5, list: ["a", 1], flag: "yes", at: "2026-02-30T00:00:00Z" });
    const wrong = (read: () => unknown, message: string) => expect(read).toThrow(new MessageFieldError(message));
    wrong(() => fields.text("none"), "T.none must be a text");
    wrong(() => fields.integer("n"), "T.n must be an integer");
    wrong(() => fields.optionalTexts("list"), "T.list must be a list of texts");
    wrong(() => fields.flag("flag"), "T.flag must be true or false");
    wrong(() => fields.instant("at"), "T.at must be a time");
    wrong(() => fields.optionalSeconds("flag"), "T.flag must be a duration");
  });
});

it("writes JSON with raw parts as they are", () => {
  const value = { a: raw("1.0"), b: [raw('{"x": 1.50}'), 2, null], c: undefined, d: { e: "ü" } };
  expect(writeJson(value)).toBe('{"a":1.0,"b":[{"x": 1.50},2,null],"d":{"e":"ü"}}');
});
