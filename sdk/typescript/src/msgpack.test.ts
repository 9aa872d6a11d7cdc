import { expect, it } from "vitest";
import { MsgpackReader } from "../../../src/kit/msgpack/reader.ts";
import { decode, encode } from "./msgpack.ts";
import { float } from "./task.ts";

/** As Leoflow's server reads what a task pushes: JSON text that tells 1 from 1.0. */
const asPython = (value: unknown) => new MsgpackReader(encode(value)).json();

it("writes what JSON.stringify writes, and tells integers from floats", () => {
  const value = { a: [1, -33, 2.5, "ä", null, true, undefined], when: new Date(0), gone: undefined, deep: { x: [] } };
  expect(JSON.parse(asPython(value))).toEqual(JSON.parse(JSON.stringify(value)));
  expect(asPython([1, float(1), 1.5, -0, 2 ** 40, 10n ** 18n, NaN])).toBe(
    "[1, 1.0, 1.5, -0.0, 1099511627776, 1000000000000000000, NaN]",
  );
});

it("reads back what it writes, at every size", () => {
  const values = [
    ...[0, 127, 128, -1, -32, -33, 65_536, -(2 ** 31), Number.MAX_SAFE_INTEGER, 0.1, 2n ** 63n, -(2n ** 62n)],
    ...[0, 31, 32, 255, 256, 65_535, 65_536].map((length) => "x".repeat(length)),
    ...[0, 15, 16, 65_535, 65_536].map((length) => Array.from({ length }, () => 1)),
    ...[15, 16, 65_536].map((length) => Object.fromEntries(Array.from({ length }, (_, i) => [`k${i}`, i]))),
  ];
  for (const value of values) expect(decode(encode(value))).toEqual(value);
});

it("reads msgpack's own times", () => {
  expect(decode(Buffer.from("d6ff00000001", "hex"))).toEqual(new Date(1000));
  expect(decode(Buffer.from("d7ff773593fc00000001", "hex"))).toEqual(new Date(1499));
  expect(decode(Buffer.from("c70cff1dcd6500ffffffffffffffff", "hex"))).toEqual(new Date(-500));
});

it("refuses what would be lost, naming where it is", () => {
  const ring: Record<string, unknown> = {};
  ring["self"] = ring;
  expect(() => encode({ rows: [{ by: new Map() }] })).toThrow("value.rows[0].by is a Map");
  expect(() => encode({ f: () => 1 })).toThrow("value.f is a function");
  expect(() => encode(ring)).toThrow("nested too deeply");
  expect(() => encode(2n ** 64n)).toThrow("more than 64 bits");
  expect(() => decode(Buffer.from([0x92, 1]))).toThrow("ends early");
});
