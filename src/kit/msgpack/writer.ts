import { RawJson } from "../json-text.ts";
import { writeJsonText } from "./from-json.ts";

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
    this.#stringHeader(length);
    this.#position += this.#buffer.write(value, this.#position, "utf8");
  }

  /** A string whose UTF-8 is at hand. */
  utf8(from: Buffer, start: number, end: number): void {
    this.#stringHeader(end - start);
    // A call into native code costs more than a short loop.
    if (end - start > 64) this.#position += from.copy(this.#buffer, this.#position, start, end);
    else for (let i = start; i < end; i++) this.#buffer[this.#position++] = from[i] as number;
  }

  #stringHeader(length: number): void {
    this.#ensure(length + 5);
    if (length < 32) this.#buffer[this.#position++] = 0xa0 | length;
    else this.#length(length, 0xd9, 0xda, 0xdb);
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
