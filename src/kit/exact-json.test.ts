import { describe, expect, it } from "vitest";
import { exactStringify, parseExact, pythonDumps, pythonRepr, pythonStr } from "./exact-json.ts";

describe("exact JSON", () => {
  it("keeps numbers as they were written", () => {
    const text = '{"a":1.0,"b":[12345678901234567890,-0.5e-7,NaN,-Infinity],"c":{"d":"\\u00e9"}}';
    expect(exactStringify(parseExact(text))).toBe(
      '{"a":1.0,"b":[12345678901234567890,-0.5e-7,NaN,-Infinity],"c":{"d":"é"}}',
    );
  });

  it("writes as Python's json.dumps does", () => {
    const value = parseExact('{"a":1.0,"b":[1,2,[]],"c":{},"d":"é\\n\\u007f😀"}');
    expect(pythonDumps(value)).toBe('{"a": 1.0, "b": [1, 2, []], "c": {}, "d": "\\u00e9\\n\\u007f\\ud83d\\ude00"}');
    expect(pythonDumps(parseExact('{"a":[1,{"b":2}],"c":[]}'), { indent: 2 })).toBe(
      '{\n  "a": [\n    1,\n    {\n      "b": 2\n    }\n  ],\n  "c": []\n}',
    );
  });

  it("writes as Python's str and repr do", () => {
    const value = parseExact('{"a":[true,null,1.5],"it\'s":"say \\"hi\\" it\'s\\t\\u0000é\\u00a0"}');
    expect(pythonRepr(value)).toBe(`{'a': [True, None, 1.5], "it's": 'say "hi" it\\'s\\t\\x00é\\xa0'}`);
    expect(pythonStr("plain")).toBe("plain");
  });

  it.each(["", "{", "[1,]", '{"a" 1}', "01", "nul", '"a', "1 2", '{"a":1,}'])("refuses %j", (text) => {
    expect(() => parseExact(text)).toThrow(SyntaxError);
  });
});
