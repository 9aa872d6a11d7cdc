import { RawJson } from "../domain/task-execution.ts";
import type { JsonText } from "../kit/json-text.ts";

/** Writes msgpack. Numbers without a fraction become integers; `RawJson` keeps what its text says, so 1.0 stays a float. */
export class MsgpackWriter {
  #buffer: Buffer;
  #position: number;

  /** `reserve` bytes stay free at the start, for a length prefix. */
  constructor(reserve = 0) {
    this.#buffer = Buffer.allocUnsafe(1024 + reserve);
    this.#position = reserve;
  }

  finish(): Buffer {
    return this.#buffer.subarray(0, this.#position);
  }

  value(value: unknown): void {
    switch (typeof value) {
      case "string":
        return this.string(value);
      case "number":
        return Number.isSafeInteger(value) && !Object.is(value, -0) ? this.integer(value) : this.float(value);
      case "bigint":
        return this.bigInteger(value);
      case "boolean":
        return this.byte(value ? 0xc3 : 0xc2);
      case "undefined":
        return this.byte(0xc0);
      case "object":
        return this.#object(value);
      default:
        throw new TypeError(`cannot write a ${typeof value} as msgpack`);
    }
  }

  #object(value: object | null): void {
    if (value === null) return this.byte(0xc0);
    if (value instanceof RawJson) return writeJsonText(this, value.text);
    if (Array.isArray(value)) {
      this.arrayHeader(value.length);
      for (const item of value) this.value(item);
      return;
    }
    if (value instanceof Uint8Array) {
      this.binary(value);
      return;
    }
    const entries = Object.entries(value).filter(([, item]) => item !== undefined);
    this.mapHeader(entries.length);
    for (const [key, item] of entries) {
      this.string(key);
      this.value(item);
    }
  }

  byte(byte: number): void {
    this.#ensure(1);
    this.#buffer[this.#position++] = byte;
  }

  integer(value: number): void {
    this.#ensure(9);
    if (value >= 0 && value < 0x80) this.#buffer[this.#position++] = value;
    else if (value < 0 && value >= -32) this.#buffer[this.#position++] = value & 0xff;
    else if (value >= -0x8000_0000 && value < 0x8000_0000) {
      this.#buffer[this.#position++] = 0xd2;
      this.#position = this.#buffer.writeInt32BE(value, this.#position);
    } else {
      this.#buffer[this.#position++] = 0xd3;
      this.#position = this.#buffer.writeBigInt64BE(BigInt(value), this.#position);
    }
  }

  /** Integers beyond 64 bits do not exist in msgpack; they become floats, as most JSON readers make them. */
  bigInteger(value: bigint): void {
    this.#ensure(9);
    if (value >= -(2n ** 63n) && value < 2n ** 63n) {
      this.#buffer[this.#position++] = 0xd3;
      this.#position = this.#buffer.writeBigInt64BE(value, this.#position);
    } else if (value >= 0n && value < 2n ** 64n) {
      this.#buffer[this.#position++] = 0xcf;
      this.#position = this.#buffer.writeBigUInt64BE(value, this.#position);
    } else this.float(Number(value));
  }

  float(value: number): void {
    this.#ensure(9);
    this.#buffer[this.#position++] = 0xcb;
    this.#position = this.#buffer.writeDoubleBE(value, this.#position);
  }

  string(value: string): void {
    const length = Buffer.byteLength(value);
    this.#ensure(length + 5);
    if (length < 32) this.#buffer[this.#position++] = 0xa0 | length;
    else this.#length(length, 0xd9, 0xda, 0xdb);
    this.#position += this.#buffer.write(value, this.#position, "utf8");
  }

  binary(value: Uint8Array): void {
    this.#ensure(value.length + 5);
    this.#length(value.length, 0xc4, 0xc5, 0xc6);
    this.#buffer.set(value, this.#position);
    this.#position += value.length;
  }

  arrayHeader(length: number): void {
    this.#ensure(5);
    if (length < 16) this.#buffer[this.#position++] = 0x90 | length;
    else this.#length(length, null, 0xdc, 0xdd);
  }

  mapHeader(length: number): void {
    this.#ensure(5);
    if (length < 16) this.#buffer[this.#position++] = 0x80 | length;
    else this.#length(length, null, 0xde, 0xdf);
  }

  /** Leaves room for the header of a collection whose length is known only at its end. */
  reserveHeader(): number {
    this.#ensure(5);
    this.#position += 5;
    return this.#position - 5;
  }

  fillHeader(at: number, kind: "array" | "map", length: number): void {
    this.#buffer[at] = kind === "array" ? 0xdd : 0xdf;
    this.#buffer.writeUInt32BE(length, at + 1);
  }

  #length(length: number, short: number | null, medium: number, long: number): void {
    if (short !== null && length < 0x100) {
      this.#buffer[this.#position++] = short;
      this.#buffer[this.#position++] = length;
    } else if (length < 0x1_0000) {
      this.#buffer[this.#position++] = medium;
      this.#position = this.#buffer.writeUInt16BE(length, this.#position);
    } else {
      this.#buffer[this.#position++] = long;
      this.#position = this.#buffer.writeUInt32BE(length, this.#position);
    }
  }

  #ensure(bytes: number): void {
    const needed = this.#position + bytes;
    if (needed <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(needed, this.#buffer.length * 2));
    this.#buffer.copy(larger, 0, 0, this.#position);
    this.#buffer = larger;
  }
}

const NUMBER = /-?(?:Infinity|\d+(\.\d+)?([eE][+-]?\d+)?)/y;
const SPACE = /[ \t\n\r]*/y;

/** Writes JSON text as msgpack. Reads what Python's json writes, NaN and Infinity included. */
function writeJsonText(to: MsgpackWriter, text: JsonText): void {
  let at = 0;

  const skipSpace = () => {
    const code = text.charCodeAt(at);
    if (code !== 32 && code !== 10 && code !== 13 && code !== 9) return;
    SPACE.lastIndex = at;
    SPACE.exec(text);
    at = SPACE.lastIndex;
  };
  const fail = (): never => {
    throw new SyntaxError(`not JSON at ${at}: ${text.slice(at, at + 20)}`);
  };
  const word = (expected: string): void => {
    if (!text.startsWith(expected, at)) fail();
    at += expected.length;
  };
  const string = (): string => {
    let end = at;
    for (;;) {
      end = text.indexOf('"', end + 1);
      if (end < 0) fail();
      let backslashes = 0;
      while (text.charCodeAt(end - 1 - backslashes) === 92) backslashes++;
      if (backslashes % 2 === 0) break;
    }
    const inner = text.slice(at + 1, end);
    const value = inner.includes("\\") ? (JSON.parse(text.slice(at, end + 1)) as string) : inner;
    at = end + 1;
    return value;
  };
  const number = (): void => {
    NUMBER.lastIndex = at;
    const found = NUMBER.exec(text) ?? fail();
    at = NUMBER.lastIndex;
    const value = Number(found[0]);
    if (found[1] !== undefined || found[2] !== undefined || !Number.isFinite(value)) to.float(value);
    else if (Number.isSafeInteger(value)) to.integer(value);
    else to.bigInteger(BigInt(found[0]));
  };
  const members = (kind: "array" | "map", close: number, member: () => void): void => {
    const header = to.reserveHeader();
    let count = 0;
    at++;
    skipSpace();
    if (text.charCodeAt(at) === close) at++;
    else {
      for (;;) {
        member();
        count++;
        skipSpace();
        const code = text.charCodeAt(at++);
        if (code === close) break;
        if (code !== 44) fail();
      }
    }
    to.fillHeader(header, kind, count);
  };
  const value = (): void => {
    skipSpace();
    switch (text[at]) {
      case "{":
        return members("map", 125, () => {
          skipSpace();
          if (text.charCodeAt(at) !== 34) fail();
          to.string(string());
          skipSpace();
          if (text.charCodeAt(at++) !== 58) fail();
          value();
        });
      case "[":
        return members("array", 93, value);
      case '"':
        return to.string(string());
      case "t":
        word("true");
        return to.byte(0xc3);
      case "f":
        word("false");
        return to.byte(0xc2);
      case "n":
        word("null");
        return to.byte(0xc0);
      case "N":
        word("NaN");
        return to.float(NaN);
      case "I":
        word("Infinity");
        return to.float(Infinity);
      default:
        return number();
    }
  };

  value();
  skipSpace();
  if (at !== text.length) fail();
}
