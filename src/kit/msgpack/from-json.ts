import type { JsonText } from "../json-text.ts";
import type { MsgpackWriter } from "./writer.ts";

const NUMBER = /^-?(?:Infinity|(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?)$/;
const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const BACKSLASH = 0x5c;

/** Writes JSON text as msgpack, telling 1 from 1.0. Reads what Python's json writes, NaN and Infinity included. */
export function writeJsonText(to: MsgpackWriter, text: JsonText): void {
  const bytes = Buffer.from(text);
  let at = 0;

  const fail = (): never => {
    throw new SyntaxError(`not JSON at byte ${at}: ${bytes.toString("utf8", at, at + 20)}`);
  };
  const skipSpace = (): void => {
    for (;;) {
      const byte = bytes[at];
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return;
      at++;
    }
  };
  const expect = (byte: number): void => {
    skipSpace();
    if (bytes[at] !== byte) fail();
    at++;
  };
  const word = (expected: string): void => {
    if (bytes.toString("latin1", at, at + expected.length) !== expected) fail();
    at += expected.length;
  };
  const string = (): void => {
    const start = ++at;
    let escaped = false;
    for (;;) {
      const byte = bytes[at];
      if (byte === undefined) fail();
      if (byte === QUOTE) break;
      if (byte === BACKSLASH) {
        escaped = true;
        at++;
      }
      at++;
    }
    if (escaped) to.string(JSON.parse(bytes.toString("utf8", start - 1, at + 1)) as string);
    else to.utf8(bytes, start, at);
    at++;
  };
  const number = (): void => {
    const start = at;
    for (let byte = bytes[at]; byte !== undefined && isNumberByte(byte); byte = bytes[at]) at++;
    const token = bytes.toString("latin1", start, at);
    const found = NUMBER.exec(token) ?? fail();
    const value = Number(token);
    if (found[1] !== undefined || found[2] !== undefined || !Number.isFinite(value)) to.float(value);
    else if (Number.isSafeInteger(value)) to.integer(value);
    else to.bigInteger(BigInt(token));
  };
  const members = (kind: "array" | "map", close: number): void => {
    const header = to.reserveHeader();
    let count = 0;
    at++;
    skipSpace();
    if (bytes[at] === close) at++;
    else {
      for (;;) {
        if (kind === "map") {
          skipSpace();
          if (bytes[at] !== QUOTE) fail();
          string();
          expect(COLON);
        }
        value();
        count++;
        skipSpace();
        const byte = bytes[at++];
        if (byte === close) break;
        if (byte !== COMMA) fail();
      }
    }
    to.fillHeader(header, kind, count);
  };
  const value = (): void => {
    skipSpace();
    switch (bytes[at]) {
      case 0x7b: // {
        return members("map", 0x7d);
      case 0x5b: // [
        return members("array", 0x5d);
      case QUOTE:
        return string();
      case 0x74: // t
        word("true");
        return to.byte(0xc3);
      case 0x66: // f
        word("false");
        return to.byte(0xc2);
      case 0x6e: // n
        word("null");
        return to.byte(0xc0);
      case 0x4e: // N
        word("NaN");
        return to.float(NaN);
      default:
        return number();
    }
  };

  value();
  skipSpace();
  if (at !== bytes.length) fail();
}

/** Digits, signs, dot, exponent, and the letters of Infinity. */
function isNumberByte(byte: number): boolean {
  return (
    (byte >= 0x30 && byte <= 0x39) ||
    byte === 0x2d ||
    byte === 0x2b ||
    byte === 0x2e ||
    (byte >= 0x61 && byte <= 0x7a) ||
    byte === 0x45 ||
    byte === 0x49
  );
}
