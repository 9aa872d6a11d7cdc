/** Marks a number that is written as a float whatever its value; the same in every copy of this package. */
export const FLOAT = Symbol.for("@leoflow/task float");

export interface Float {
  readonly [FLOAT]: number;
}

const MAX_DEPTH = 500;
const TIMESTAMP = -1;

/**
 * Writes a value as msgpack, by the rules of `JSON.stringify` where it has one: `toJSON` is asked, undefined members are left
 * out. Whole numbers become integers, others floats, bigints integers of 64 bits. Throws TypeError for what would be lost: functions, Maps,
 * Sets, symbols, cycles.
 */
export function encode(value: unknown): Buffer {
  const writer = new Writer();
  writer.value(value, "value", 0);
  return writer.finish();
}

class Writer {
  #buffer = Buffer.allocUnsafe(512);
  #at = 0;

  finish(): Buffer {
    return this.#buffer.subarray(0, this.#at);
  }

  value(value: unknown, path: string, depth: number): void {
    if (depth > MAX_DEPTH) throw new TypeError(`${path} is nested too deeply, or holds itself`);
    switch (typeof value) {
      case "undefined":
        return this.#byte(0xc0);
      case "boolean":
        return this.#byte(value ? 0xc3 : 0xc2);
      case "string":
        return this.#string(value);
      case "number":
        return Number.isSafeInteger(value) && !Object.is(value, -0) ? this.#integer(value) : this.#float(value);
      case "bigint":
        return this.#bigInteger(value, path);
      case "object":
        return value === null ? this.#byte(0xc0) : this.#object(value, path, depth);
      case "function":
      case "symbol":
        throw new TypeError(`${path} is a ${typeof value}, which no other task can read`);
    }
  }

  #object(value: object, path: string, depth: number): void {
    if (FLOAT in value) return this.#float((value as Float)[FLOAT]);
    if ("toJSON" in value && typeof value.toJSON === "function" && !(value instanceof Uint8Array)) {
      return this.value((value as { toJSON(): unknown }).toJSON(), path, depth + 1);
    }
    if (Array.isArray(value)) {
      this.#header(value.length, 0x90, 16, 0xdc);
      value.forEach((item, index) => this.value(item, `${path}[${index}]`, depth + 1));
      return;
    }
    if (value instanceof Map || value instanceof Set || ArrayBuffer.isView(value)) {
      throw new TypeError(`${path} is a ${value.constructor.name}: return a plain object, an array or a string`);
    }
    const members = Object.entries(value).filter(([, member]) => member !== undefined);
    this.#header(members.length, 0x80, 16, 0xde);
    for (const [key, member] of members) {
      this.#string(key);
      this.value(member, `${path}.${key}`, depth + 1);
    }
  }

  #string(text: string): void {
    const length = Buffer.byteLength(text);
    if (length < 32) this.#byte(0xa0 | length);
    else if (length < 0x100) this.#bytes(0xd9, length, 1);
    else if (length < 0x10000) this.#bytes(0xda, length, 2);
    else this.#bytes(0xdb, length, 4);
    this.#reserve(length);
    this.#at += this.#buffer.write(text, this.#at);
  }

  #header(length: number, fix: number, below: number, code16: number): void {
    if (length < below) this.#byte(fix | length);
    else if (length < 0x10000) this.#bytes(code16, length, 2);
    else this.#bytes(code16 + 1, length, 4);
  }

  #integer(value: number): void {
    if (value >= 0 && value < 0x80) this.#byte(value);
    else if (value < 0 && value >= -32) this.#byte(value & 0xff);
    else this.#bigInteger(BigInt(value), "number");
  }

  #bigInteger(value: bigint, path: string): void {
    const signed = BigInt.asIntN(64, value) === value;
    if (!signed && BigInt.asUintN(64, value) !== value) throw new TypeError(`${path} needs more than 64 bits`);
    this.#byte(signed ? 0xd3 : 0xcf);
    this.#reserve(8);
    this.#at = this.#buffer.writeBigUInt64BE(BigInt.asUintN(64, value), this.#at);
  }

  #float(value: number): void {
    this.#byte(0xcb);
    this.#reserve(8);
    this.#at = this.#buffer.writeDoubleBE(value, this.#at);
  }

  #bytes(code: number, length: number, size: 1 | 2 | 4): void {
    this.#byte(code);
    this.#reserve(size);
    this.#at = this.#buffer.writeUIntBE(length, this.#at, size);
  }

  #byte(value: number): void {
    this.#reserve(1);
    this.#buffer[this.#at++] = value;
  }

  #reserve(bytes: number): void {
    if (this.#at + bytes <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#at + bytes));
    this.#buffer.copy(larger, 0, 0, this.#at);
    this.#buffer = larger;
  }
}

/** Reads msgpack: times become Dates, integers beyond 2^53 bigints, binary data Buffers, map keys strings. */
export function decode(bytes: Buffer): unknown {
  return new Reader(bytes).value();
}

class Reader {
  readonly #buffer: Buffer;
  #at = 0;

  constructor(buffer: Buffer) {
    this.#buffer = buffer;
  }

  value(): unknown {
    const code = this.#unsigned(1);
    if (code < 0x80) return code;
    if (code < 0x90) return this.#map(code & 0x0f);
    if (code < 0xa0) return this.#array(code & 0x0f);
    if (code < 0xc0) return this.#string(code & 0x1f);
    if (code >= 0xe0) return code - 0x100;
    switch (code) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return this.#take(this.#unsigned(sizeOf(code - 0xc4)));
      case 0xc7:
      case 0xc8:
      case 0xc9:
        return this.#extension(this.#unsigned(sizeOf(code - 0xc7)));
      case 0xca:
        return this.#take(4).readFloatBE();
      case 0xcb:
        return this.#take(8).readDoubleBE();
      case 0xcc:
      case 0xcd:
      case 0xce:
        return this.#unsigned(sizeOf(code - 0xcc));
      case 0xcf:
        return narrow(this.#take(8).readBigUInt64BE());
      case 0xd0:
        return this.#take(1).readInt8();
      case 0xd1:
        return this.#take(2).readInt16BE();
      case 0xd2:
        return this.#take(4).readInt32BE();
      case 0xd3:
        return narrow(this.#take(8).readBigInt64BE());
      case 0xd4:
      case 0xd5:
      case 0xd6:
      case 0xd7:
      case 0xd8:
        return this.#extension(1 << (code - 0xd4));
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.#string(this.#unsigned(sizeOf(code - 0xd9)));
      case 0xdc:
        return this.#array(this.#unsigned(2));
      case 0xdd:
        return this.#array(this.#unsigned(4));
      case 0xde:
        return this.#map(this.#unsigned(2));
      case 0xdf:
        return this.#map(this.#unsigned(4));
      default:
        throw new TypeError(`0x${code.toString(16)} begins nothing in msgpack`);
    }
  }

  #array(length: number): unknown[] {
    return Array.from({ length }, () => this.value());
  }

  #map(length: number): Record<string, unknown> {
    // fromEntries defines members: one called "__proto__" is one like others.
    return Object.fromEntries(Array.from({ length }, () => [String(this.value()), this.value()]));
  }

  #string(length: number): string {
    return this.#take(length).toString("utf8");
  }

  #extension(length: number): unknown {
    const type = this.#take(1).readInt8();
    const data = this.#take(length);
    if (type !== TIMESTAMP) return data;
    if (length === 4) return new Date(data.readUInt32BE() * 1000);
    if (length === 12) return dateOf(data.readBigInt64BE(4), data.readUInt32BE());
    const packed = data.readBigUInt64BE();
    return dateOf(packed & 0x3ffffffffn, Number(packed >> 34n));
  }

  #unsigned(size: 1 | 2 | 4): number {
    return this.#take(size).readUIntBE(0, size);
  }

  #take(length: number): Buffer {
    const end = this.#at + length;
    if (end > this.#buffer.length) throw new RangeError("msgpack ends early");
    const taken = this.#buffer.subarray(this.#at, end);
    this.#at = end;
    return taken;
  }
}

function sizeOf(power: number): 1 | 2 | 4 {
  return (1 << power) as 1 | 2 | 4;
}

function narrow(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

function dateOf(seconds: bigint, nanoseconds: number): Date {
  return new Date(Number(seconds) * 1000 + Math.floor(nanoseconds / 1e6));
}
