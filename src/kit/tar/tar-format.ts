import { nameFromBytes, nameToBytes } from "./entry-name.ts";

/**
 * The tar format (POSIX ustar with pax headers) as far as a backup needs it: files, folders and symbolic links. Our own because
 * names are bytes and not text, times have fractions, and everything else in a tar file is to be refused.
 */
export const BLOCK = 512;

export type EntryType = "file" | "directory" | "symlink";

export interface EntryHeader {
  /** Folders end in a slash. Bytes that are not UTF-8 as in entry-name.ts. */
  name: string;
  type: EntryType;
  /** Permission bits. */
  mode: number;
  /** Microseconds since 1970. */
  mtimeUs: number;
  size: number;
  /** Of a symbolic link. */
  target?: string | undefined;
}

const NOTHING = Buffer.alloc(0);
const PAX_NAME = Buffer.from("PaxHeader");
const TYPE_FLAGS: Record<EntryType, string> = { file: "0", directory: "5", symlink: "2" };
/** What fits into eleven octal digits. */
const OCTAL_SIZE_LIMIT = 8 ** 11;

/** The blocks before an entry's content. */
export function encodeHeader(header: EntryHeader): Buffer {
  const name = nameToBytes(header.name);
  const target = nameToBytes(header.target ?? "");
  const records: Buffer[] = [];
  const isPlain = (bytes: Buffer) => bytes.length <= 100 && bytes.every((byte) => byte >= 0x20 && byte < 0x7f);
  const binary = [name, target].some((bytes) => !isUtf8(bytes));
  if (binary) records.push(paxRecord("hdrcharset", "BINARY"));
  if (!isPlain(name)) records.push(paxRecord("path", name));
  if (!isPlain(target)) records.push(paxRecord("linkpath", target));
  const seconds = Math.floor(header.mtimeUs / 1e6);
  const fraction = header.mtimeUs - seconds * 1e6;
  // The field itself holds whole seconds after 1970.
  if (fraction || seconds < 0 || seconds >= OCTAL_SIZE_LIMIT) {
    records.push(paxRecord("mtime", timeText(header.mtimeUs)));
  }
  const plain = headerBlock({ ...header, name, target, mtime: Math.max(0, seconds), flag: TYPE_FLAGS[header.type] });
  if (records.length === 0) return plain;
  const pax = Buffer.concat(records);
  const paxBlock = headerBlock({ name: PAX_NAME, target: NOTHING, mode: 0o600, mtime: 0, size: pax.length, flag: "x" });
  return Buffer.concat([paxBlock, pax, padding(pax.length), plain]);
}

/** What fills an entry's last block. */
export function padding(size: number): Buffer {
  return Buffer.alloc((BLOCK - (size % BLOCK)) % BLOCK);
}

function headerBlock({ name, target, mode, mtime, size, flag }: RawHeader): Buffer {
  const block = Buffer.alloc(BLOCK);
  name.copy(block, 0, 0, 100);
  block.write(octal(mode & 0o7777, 7), 100);
  block.write(octal(0, 7), 108);
  block.write(octal(0, 7), 116);
  if (size < OCTAL_SIZE_LIMIT) block.write(octal(size, 11), 124);
  else {
    // The binary form that all tar programs know; unlike a pax record it has the same length for every size.
    block[124] = 0x80;
    block.writeUInt32BE(Math.floor(size / 2 ** 32), 128);
    block.writeUInt32BE(size % 2 ** 32, 132);
  }
  block.write(octal(mtime < OCTAL_SIZE_LIMIT ? mtime : 0, 11), 136);
  block.write(flag, 156);
  target.copy(block, 157, 0, 100);
  block.write("ustar\0" + "00", 257, "latin1");
  block.write(octal(checksum(block), 6) + "\0 ", 148, "latin1");
  return block;
}

function octal(value: number, digits: number): string {
  return value.toString(8).padStart(digits, "0");
}

/** Seconds with six decimals; written by hand because a double holds no more than microseconds. */
function timeText(mtimeUs: number): string {
  const micros = Math.abs(mtimeUs);
  const text = `${Math.floor(micros / 1e6)}.${String(micros % 1e6).padStart(6, "0")}`;
  return mtimeUs < 0 ? `-${text}` : text;
}

function paxRecord(key: string, value: Buffer | string): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value), Buffer.from("\n")]);
  // The length counts its own digits.
  let length = rest.length;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

function isUtf8(bytes: Buffer): boolean {
  return Buffer.from(bytes.toString("utf8"), "utf8").equals(bytes);
}

/** The sum of a header's bytes, its own field counted as blanks. */
function checksum(block: Buffer): number {
  let sum = 8 * 0x20;
  for (let at = 0; at < BLOCK; at++) if (at < 148 || at >= 156) sum += block[at] as number;
  return sum;
}

/** A header as it stands in the file; `flag` says what it is. */
export interface RawHeader {
  name: Buffer;
  target: Buffer;
  mode: number;
  mtime: number;
  size: number;
  flag: string;
}

/** Undefined for a block that is no header. */
export function decodeBlock(block: Buffer): RawHeader | undefined {
  const sum = number(block, 148, 8);
  const size = number(block, 124, 12);
  const mode = number(block, 100, 8);
  const mtime = number(block, 136, 12);
  if (sum !== checksum(block) || size === undefined || mode === undefined || mtime === undefined) return undefined;
  const prefix = block.toString("latin1", 257, 263) === "ustar\0" ? text(block, 345, 155) : NOTHING;
  const name = text(block, 0, 100);
  return {
    name: prefix.length ? Buffer.concat([prefix, Buffer.from("/"), name]) : name,
    target: text(block, 157, 100),
    mode: mode & 0o7777,
    mtime,
    size,
    flag: block[156] === 0 ? "0" : String.fromCharCode(block[156] as number),
  };
}

function text(block: Buffer, at: number, length: number): Buffer {
  const field = block.subarray(at, at + length);
  const end = field.indexOf(0);
  return Buffer.from(end < 0 ? field : field.subarray(0, end));
}

function number(block: Buffer, at: number, length: number): number | undefined {
  const field = block.subarray(at, at + length);
  if (field[0] === 0x80) {
    let value = 0;
    for (const byte of field.subarray(1)) value = value * 256 + byte;
    return Number.isSafeInteger(value) ? value : undefined;
  }
  const digits = /^ *([0-7]*)[ \0]*$/.exec(field.toString("latin1"))?.[1];
  return digits === undefined ? undefined : digits === "" ? 0 : parseInt(digits, 8);
}

/** A pax header's records; undefined where it is broken. */
export function decodePax(bytes: Buffer): Map<string, Buffer> | undefined {
  const records = new Map<string, Buffer>();
  for (let at = 0; at < bytes.length;) {
    const blank = bytes.indexOf(0x20, at);
    const digits = blank < 0 || blank - at > 9 ? "" : bytes.toString("latin1", at, blank);
    const end = at + Number(digits);
    if (!/^[1-9]\d*$/.test(digits) || end > bytes.length || bytes[end - 1] !== 0x0a) return undefined;
    const record = bytes.subarray(blank + 1, end - 1);
    const equals = record.indexOf(0x3d);
    if (equals < 1) return undefined;
    records.set(record.toString("latin1", 0, equals), Buffer.from(record.subarray(equals + 1)));
    at = end;
  }
  return records;
}

/** What a header and its pax records say together; undefined where they make no sense. */
export function entryOf(
  raw: RawHeader,
  pax: Map<string, Buffer>,
): (Omit<EntryHeader, "type"> & { type: EntryType | "other" }) | undefined {
  const paxSize = pax.get("size")?.toString("latin1");
  const size = paxSize === undefined ? raw.size : /^\d{1,15}$/.test(paxSize) ? Number(paxSize) : NaN;
  const paxTime = pax.get("mtime")?.toString("latin1");
  const time = paxTime === undefined ? `${raw.mtime}` : paxTime;
  if (Number.isNaN(size) || !/^-?\d{1,12}(\.\d{1,12})?$/.test(time)) return undefined;
  const name = nameFromBytes(pax.get("path") ?? raw.name);
  const type = raw.flag === "0" && name.endsWith("/") ? "directory" : typeOf(raw.flag);
  const target = type === "symlink" ? nameFromBytes(pax.get("linkpath") ?? raw.target) : undefined;
  return { name, type, mode: raw.mode, mtimeUs: Math.round(Number(time) * 1e6), size, target };
}

function typeOf(flag: string): EntryType | "other" {
  for (const type of ["file", "directory", "symlink"] as const) if (TYPE_FLAGS[type] === flag) return type;
  return "other";
}
