import type { JsonText } from "../json-text.ts";
import { instantFromMicros } from "../instant.ts";
import { JsonOutput } from "./json-output.ts";

/** Reads msgpack, either as JavaScript values or, for what user code made, as JSON text that tells 1 from 1.0. */
export class MsgpackReader {
  readonly #buffer: Buffer;
  position: number;

  constructor(buffer: Buffer, position = 0) {
    this.#buffer = buffer;
    this.position = position;
  }

  /** Times become Instants; integers beyond 2^53 become bigints. */
  value(): unknown {
    const token = this.#token();
    switch (token.kind) {
      case "scalar":
        return token.value;
      case "float":
        return token.value;
      case "string":
        return this.#string(token.length);
      case "binary":
        return this.#bytes(token.length);
      case "time":
        return this.#time(token.length);
      case "array":
        return Array.from({ length: token.length }, () => this.value());
      case "map": {
        const map: Record<string, unknown> = {};
        for (let i = 0; i < token.length; i++) {
          const key = this.key();
          // A plain assignment of "__proto__" would set the prototype.
          if (key === "__proto__")
            Object.defineProperty(map, key, {
              value: this.value(),
              enumerable: true,
              configurable: true,
              writable: true,
            });
          else map[key] = this.value();
        }
        return map;
      }
    }
  }

  /** A map key, as Python's json makes it a string. */
  key(): string {
    const key = this.value();
    if (typeof key === "string") return key;
    return typeof key === "number" || typeof key === "bigint" || typeof key === "boolean" ? String(key) : "null";
  }

  /** Number of entries of the map or array that comes next. */
  header(kind: "array" | "map"): number {
    const token = this.#token();
    if (token.kind !== kind) throw new TypeError(`expected a msgpack ${kind}, found a ${token.kind}`);
    return token.length;
  }

  isNil(): boolean {
    return this.#buffer[this.position] === 0xc0;
  }

  /** The next value as JSON text. Floats are written as Python writes them: 1.0, 1e+16, NaN, Infinity. */
  json(): JsonText {
    const out = new JsonOutput(Math.min(this.#buffer.length - this.position, 1 << 26) + 64);
    this.#writeJson(out);
    return out.finish() as JsonText;
  }

  #writeJson(out: JsonOutput): void {
    const token = this.#token();
    switch (token.kind) {
      case "scalar":
        return out.ascii(String(token.value));
      case "float":
        return out.ascii(pythonFloat(token.value));
      case "string": {
        const start = this.position;
        this.position += token.length;
        if (this.position > this.#buffer.length) throw new RangeError("msgpack ends early");
        return out.string(this.#buffer, start, this.position);
      }
      case "binary":
        return out.ascii(`"${this.#bytes(token.length).toString("base64")}"`);
      case "time":
        return out.ascii(`"${this.#time(token.length)}"`);
      case "array":
        out.ascii("[");
        for (let i = 0; i < token.length; i++) {
          if (i > 0) out.ascii(", ");
          this.#writeJson(out);
        }
        return out.ascii("]");
      case "map":
        out.ascii("{");
        for (let i = 0; i < token.length; i++) {
          if (i > 0) out.ascii(", ");
          const key = Buffer.from(this.key());
          out.string(key, 0, key.length);
          out.ascii(": ");
          this.#writeJson(out);
        }
        return out.ascii("}");
    }
  }

  /** Steps over the next value. */
  skip(): void {
    const token = this.#token();
    switch (token.kind) {
      case "scalar":
      case "float":
        return;
      case "string":
      case "binary":
      case "time":
        this.position += token.length;
        return;
      case "array":
        for (let i = 0; i < token.length; i++) this.skip();
        return;
      case "map":
        for (let i = 0; i < token.length * 2; i++) this.skip();
    }
  }

  #token(): Token {
    const buffer = this.#buffer;
    const at = this.position++;
    const byte = buffer[at];
    if (byte === undefined) throw new RangeError("msgpack ends early");
    if (byte < 0x80) return scalar(byte);
    if (byte >= 0xe0) return scalar(byte - 0x100);
    if (byte < 0x90) return { kind: "map", length: byte & 0x0f };
    if (byte < 0xa0) return { kind: "array", length: byte & 0x0f };
    if (byte < 0xc0) return { kind: "string", length: byte & 0x1f };
    const next = at + 1;
    switch (byte) {
      case 0xc0:
        return scalar(null);
      case 0xc2:
        return scalar(false);
      case 0xc3:
        return scalar(true);
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return { kind: "binary", length: this.#length(byte - 0xc4) };
      case 0xc7: {
        const length = this.#length(0);
        return this.#extension(length);
      }
      case 0xca:
        this.position += 4;
        return { kind: "float", value: buffer.readFloatBE(next) };
      case 0xcb:
        this.position += 8;
        return { kind: "float", value: buffer.readDoubleBE(next) };
      case 0xcc:
        this.position += 1;
        return scalar(buffer.readUInt8(next));
      case 0xcd:
        this.position += 2;
        return scalar(buffer.readUInt16BE(next));
      case 0xce:
        this.position += 4;
        return scalar(buffer.readUInt32BE(next));
      case 0xcf:
        this.position += 8;
        return scalar(narrow(buffer.readBigUInt64BE(next)));
      case 0xd0:
        this.position += 1;
        return scalar(buffer.readInt8(next));
      case 0xd1:
        this.position += 2;
        return scalar(buffer.readInt16BE(next));
      case 0xd2:
        this.position += 4;
        return scalar(buffer.readInt32BE(next));
      case 0xd3:
        this.position += 8;
        return scalar(narrow(buffer.readBigInt64BE(next)));
      case 0xd6:
        return this.#extension(4);
      case 0xd7:
        return this.#extension(8);
      case 0xd9:
      case 0xda:
      case 0xdb:
        return { kind: "string", length: this.#length(byte - 0xd9) };
      case 0xdc:
      case 0xdd:
        return { kind: "array", length: this.#length(byte - 0xdb) };
      case 0xde:
      case 0xdf:
        return { kind: "map", length: this.#length(byte - 0xdd) };
      default:
        throw new TypeError(`unexpected msgpack byte 0x${byte.toString(16)}`);
    }
  }

  /** Reads a length of 1, 2 or 4 bytes (`size` 0, 1, 2). */
  #length(size: number): number {
    const at = this.position;
    this.position += 1 << size;
    if (size === 0) return this.#buffer.readUInt8(at);
    return size === 1 ? this.#buffer.readUInt16BE(at) : this.#buffer.readUInt32BE(at);
  }

  #extension(length: number): Token {
    const type = this.#buffer.readInt8(this.position++);
    if (type !== -1) throw new TypeError(`unexpected msgpack extension ${type}`);
    return { kind: "time", length };
  }

  #bytes(length: number): Buffer {
    this.position += length;
    return this.#buffer.subarray(this.position - length, this.position);
  }

  #string(length: number): string {
    const start = this.position;
    this.position += length;
    if (this.position > this.#buffer.length) throw new RangeError("msgpack ends early");
    return this.#buffer.toString("utf8", start, this.position);
  }

  #time(length: number): string {
    const data = this.#bytes(length);
    if (length === 4) return instantFromMicros(data.readUInt32BE(0) * 1_000_000);
    if (length === 8) {
      const packed = data.readBigUInt64BE(0);
      const seconds = Number(packed & 0x3_ffff_ffffn);
      return instantFromMicros(seconds * 1_000_000 + Math.floor(Number(packed >> 34n) / 1000));
    }
    const seconds = Number(data.readBigInt64BE(4));
    return instantFromMicros(seconds * 1_000_000 + Math.floor(data.readUInt32BE(0) / 1000));
  }
}

type Token =
  | { kind: "scalar"; value: null | boolean | number | bigint }
  | { kind: "float"; value: number }
  | { kind: "string" | "binary" | "time" | "array" | "map"; length: number };

function scalar(value: null | boolean | number | bigint): Token {
  return { kind: "scalar", value };
}

function narrow(value: bigint): number | bigint {
  return value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
}

/** As Python's `repr` and its json write a float: always with a fraction or an exponent. */
export function pythonFloat(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "Infinity" : "-Infinity";
  if (Object.is(value, -0)) return "-0.0";
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e16 || size < 1e-4)) {
    return value.toExponential().replace(/e([+-])(\d)$/, "e$10$2");
  }
  const text = String(value);
  return text.includes(".") ? text : `${text}.0`;
}
