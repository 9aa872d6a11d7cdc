import { describe, expect, it } from "vitest";
import { addMicros, formatInstant, instantMicros, parseInstant, pythonIsoFormat } from "./instant.ts";

describe("Instant", () => {
  it.each([
    ["2026-11-23T05:06:08.80819Z", "2026-11-23T05:06:08.808190Z"],
    ["2026-11-23 05:06:08+00", "2026-11-23T05:06:08.000000Z"],
    ["2026-11-23T05:06:08+05:30", "2026-11-22T23:36:08.000000Z"],
    ["2026-11-23T05:06:08.000001-02:00", "2026-11-23T07:06:08.000001Z"],
    ["2026-11-23T05:06:08", "2026-11-23T05:06:08.000000Z"],
  ])("reads %s", (text, expected) => {
    expect(parseInstant(text)).toBe(expected);
  });

  it.each(["yesterday", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", ""])("refuses %j", (text) => {
    expect(() => parseInstant(text)).toThrow(RangeError);
  });

  it("keeps microseconds through arithmetic and formats as Airflow does", () => {
    const at = parseInstant("2026-11-23T05:06:08.808190Z");
    expect(instantMicros(addMicros(at, 1)) - instantMicros(at)).toBe(1);
    expect(formatInstant(at)).toBe("2026-11-23T05:06:08.808190Z");
    expect(pythonIsoFormat(parseInstant("2026-11-23T05:06:08Z"))).toBe("2026-11-23T05:06:08+00:00");
  });
});
