import { execFileSync } from "node:child_process";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { RawJson } from "../domain/task-execution.ts";
import type { JsonText } from "../kit/json-text.ts";
import { testPython } from "../../test/support/python.ts";
import { decodeReply, decodeRequest, encodeReply, encodeRequest } from "../domain/task-frame.ts";
import { FrameSplitter } from "./frames.ts";
import { MsgpackReader } from "../kit/msgpack/reader.ts";
import { MsgpackWriter } from "../kit/msgpack/writer.ts";

function toMsgpack(value: unknown): Buffer {
  const writer = new MsgpackWriter();
  writer.value(value);
  return writer.finish();
}

const raw = (text: string) => new RawJson(text as JsonText);
const through = (text: string): string => new MsgpackReader(toMsgpack(raw(text))).json();

describe("JSON text through msgpack", () => {
  it.each([
    "1",
    "1.0",
    "-0.0",
    "60.0",
    "1e+16",
    "1.5e-07",
    "0.0001",
    "1.2345678901234568e+17",
    "9007199254740993",
    "-9223372036854775808",
    "18446744073709551615",
    "NaN",
    "-Infinity",
    '"a \\"quoted\\" \\\\ text\\n"',
    '{"a": [1, 2.0, null, true], "__proto__": {}, "": false}',
    "[]",
    "{}",
    '"\\u0000 \u{1f600} é"',
  ])("stays as Python wrote it: %s", (text) => {
    expect(through(text)).toBe(text);
  });

  it("reads what any JSON writer writes", () => {
    expect(through(' { "a" :[1 ,\n2e0 ] }\t')).toBe('{"a": [1, 2.0]}');
    for (const broken of ["", "{", '{"a" 1}', "[1,]", "nul", "1 2", '"open', "01x"]) {
      expect(() => through(broken), broken).toThrow();
    }
  });

  it("keeps every value", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(JSON.parse(through(JSON.stringify(value)))).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });

  it("means the same to Python", () => {
    const text = '{"i": 1, "f": 1.0, "big": 18446744073709551615, "l": [0.1, -1, "é", null], "n": NaN, "e": 1e+16}';
    const script = `
import sys, json, msgspec
value = msgspec.msgpack.decode(bytes.fromhex(sys.argv[1]))
print(json.dumps(value, ensure_ascii=False))
print(msgspec.msgpack.encode(value).hex())
`;
    const [seen, back] = execFileSync(testPython(), ["-c", script, toMsgpack(raw(text)).toString("hex")], {
      encoding: "utf8",
    }).split("\n");
    expect(seen).toBe(text);
    expect(new MsgpackReader(Buffer.from(back ?? "", "hex")).json()).toBe(text);
  });

  it("is quick with 50 MB", () => {
    const text = `[${Array.from({ length: 2_000_000 }, (_, i) => `"item number ${i}"`).join(", ")}]`;
    const started = performance.now();
    expect(through(text).length).toBe(text.length);
    expect(performance.now() - started).toBeLessThan(5000);
  });
});

describe("values", () => {
  it("go there and back", () => {
    const value = { a: 1, b: -1, c: 2 ** 40, d: 0.5, e: "x".repeat(300), f: [null, true], g: { h: [] }, i: 70_000 };
    expect(new MsgpackReader(toMsgpack(value)).value()).toEqual(value);
    expect(new MsgpackReader(toMsgpack(Array.from({ length: 70_000 }, (_, i) => i))).value()).toHaveLength(70_000);
  });

  it("read Python's times", () => {
    // msgspec.msgpack.encode(datetime(2026, 11, 23, 5, 6, 7, 808190, tzinfo=timezone.utc)), and of the year 1965
    const encoded = Buffer.from("d7ffc0b000c06b03c9bf", "hex");
    expect(new MsgpackReader(encoded).value()).toBe("2026-11-23T05:06:07.808190Z");
    const early = Buffer.from("c70cff302c0030fffffffff846bdbf", "hex");
    expect(new MsgpackReader(early).value()).toBe("1965-11-23T05:06:07.808190Z");
    expect(new MsgpackReader(Buffer.from("d6ff00000000", "hex")).value()).toBe("1970-01-01T00:00:00.000000Z");
  });

  it("refuse what is cut short", () => {
    const whole = toMsgpack({ a: "text", b: [1, 2.5] });
    for (let length = 0; length < whole.length; length++) {
      expect(() => new MsgpackReader(whole.subarray(0, length)).value(), `${length} bytes`).toThrow();
    }
  });
});

describe("frames", () => {
  const request = (body: object): Buffer => {
    const writer = new MsgpackWriter();
    writer.arrayHeader(3);
    writer.integer(7);
    writer.value(body);
    writer.value(null);
    return writer.finish();
  };

  it("keep user data as JSON text, by message", () => {
    const set = decodeRequest(request({ key: "k", value: raw("[1.0]"), type: "SetXCom" }));
    expect(set).toEqual({ id: 7, message: { type: "SetXCom", key: "k", value: raw("[1.0]") } });
    expect(decodeRequest(request({ value: null, type: "SetXCom" })).message?.["value"]).toEqual(raw("null"));
    expect(decodeRequest(request({ next_kwargs: null, type: "DeferTask" })).message?.["next_kwargs"]).toBeNull();
    // A variable's value is a string, not JSON.
    expect(decodeRequest(request({ type: "PutVariable", value: "text" })).message?.["value"]).toBe("text");
  });

  it("of requests and replies pass through an agent as they were", () => {
    const message = { type: "SetXCom", key: "k", map_index: -1, value: raw('{"a": [1.0, 2, null]}') };
    expect(decodeRequest(encodeRequest(3, message))).toEqual({ id: 3, message });
    const body = {
      type: "XComResult",
      key: "k",
      value: raw('{"1.0": 60.0, "n": 9007199254740993}'),
      seconds: 1.5,
      ok: true,
    };
    const { id, reply } = decodeReply(encodeReply(3, { body }).subarray(4));
    expect(id).toBe(3);
    expect(reply).toEqual({ body: { ...body, seconds: raw("1.5") } });
    expect(decodeReply(encodeReply(3, reply).subarray(4)).reply).toEqual(reply);
    for (const other of [{ body: null }, { error: { type: "ErrorResponse", error: "X", detail: null } }]) {
      expect(decodeReply(encodeReply(0, other).subarray(4)).reply).toEqual(other);
    }
  });

  it("are cut from the stream wherever it is cut", () => {
    const stream = Buffer.concat([1, 2, 3].map((id) => encodeReply(id, { body: { type: "X", text: "y".repeat(id) } })));
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 20 }), { maxLength: 40 }), (sizes) => {
        const splitter = new FrameSplitter();
        const frames: Buffer[] = [];
        let at = 0;
        for (const size of [...sizes, stream.length]) {
          frames.push(...splitter.push(stream.subarray(at, at + size)));
          at += size;
        }
        expect(frames.map((frame) => decodeRequest(frame).id)).toEqual([1, 2, 3]);
      }),
    );
  });
});
