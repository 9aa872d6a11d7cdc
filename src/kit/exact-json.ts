/**
 * JSON read without losing how its numbers were written: Python tells 1 from 1.0 and has big integers, JavaScript does not.
 * Also writes values as Python does, for those places of Airflow's APIs that show `json.dumps(...)` or `str(...)`.
 */
export type ExactJson = null | boolean | string | ExactNumber | ExactJson[] | ExactObject;

/** A number as it was written. */
export class ExactNumber {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** Keys in their order; a key that comes twice has its last value, as in Python. */
export class ExactObject {
  readonly entries: ReadonlyMap<string, ExactJson>;

  constructor(entries: ReadonlyMap<string, ExactJson>) {
    this.entries = entries;
  }
}

const NUMBER = /-?(?:(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|Infinity)|NaN/y;
const WORDS = { null: null, true: true, false: false } as const;
const MAX_DEPTH = 900;

/** Throws SyntaxError on what Python's `json.loads` refuses; takes NaN and Infinity, as it does. */
export function parseExact(text: string): ExactJson {
  let at = 0;
  const fail = (): never => {
    throw new SyntaxError(`not JSON at position ${at}`);
  };
  const skip = (): void => {
    while (at < text.length && " \t\n\r".includes(text.charAt(at))) at++;
  };
  const string = (): string => {
    let end = at + 1;
    while (end < text.length && text[end] !== '"') end += text[end] === "\\" ? 2 : 1;
    if (text[end] !== '"') fail();
    const found = JSON.parse(text.slice(at, end + 1)) as string;
    at = end + 1;
    return found;
  };
  const value = (depth: number): ExactJson => {
    if (depth > MAX_DEPTH) fail();
    skip();
    const first = text[at];
    if (first === '"') return string();
    if (first === "{") return object(depth);
    if (first === "[") return array(depth);
    for (const [word, meaning] of Object.entries(WORDS)) {
      if (text.startsWith(word, at)) {
        at += word.length;
        return meaning;
      }
    }
    NUMBER.lastIndex = at;
    const [number] = NUMBER.exec(text) ?? fail();
    at += number.length;
    return new ExactNumber(number);
  };
  /** Past a `,`: true. Past the closing bracket: false. */
  const more = (close: string): boolean => {
    skip();
    const next = text[at++];
    return next === "," || (next !== close && fail());
  };
  const isEmpty = (close: string): boolean => {
    at++;
    skip();
    if (text[at] !== close) return false;
    at++;
    return true;
  };
  const array = (depth: number): ExactJson[] => {
    const items: ExactJson[] = [];
    if (isEmpty("]")) return items;
    do items.push(value(depth + 1));
    while (more("]"));
    return items;
  };
  const object = (depth: number): ExactObject => {
    const entries = new Map<string, ExactJson>();
    if (isEmpty("}")) return new ExactObject(entries);
    do {
      skip();
      if (text[at] !== '"') fail();
      const key = string();
      skip();
      if (text[at++] !== ":") fail();
      entries.set(key, value(depth + 1));
    } while (more("}"));
    return new ExactObject(entries);
  };
  const result = value(0);
  skip();
  return at === text.length ? result : fail();
}

/** `json.dumps(value)` or, with `indent`, `json.dumps(value, indent=…)`: ASCII only, a blank after commas and colons. */
export function pythonDumps(value: ExactJson, options: { indent?: number } = {}, depth = 0): string {
  if (value === null || typeof value === "boolean") return String(value);
  if (typeof value === "string") return asciiJson(value);
  if (value instanceof ExactNumber) return value.text;
  const [open, close] = Array.isArray(value) ? ["[", "]"] : ["{", "}"];
  const items = Array.isArray(value)
    ? value.map((item) => pythonDumps(item, options, depth + 1))
    : [...value.entries].map(([key, item]) => `${asciiJson(key)}: ${pythonDumps(item, options, depth + 1)}`);
  if (items.length === 0) return open + close;
  if (options.indent === undefined) return open + items.join(", ") + close;
  const margin = `\n${" ".repeat(options.indent * depth)}`;
  const inner = margin + " ".repeat(options.indent);
  return open + inner + items.join(`,${inner}`) + margin + close;
}

/** Compact JSON with numbers as they were. */
export function exactStringify(value: ExactJson): string {
  if (value instanceof ExactNumber) return value.text;
  if (Array.isArray(value)) return `[${value.map(exactStringify).join(",")}]`;
  if (value instanceof ExactObject) {
    return `{${[...value.entries].map(([key, item]) => `${JSON.stringify(key)}:${exactStringify(item)}`).join(",")}}`;
  }
  return JSON.stringify(value);
}

function asciiJson(text: string): string {
  return JSON.stringify(text).replace(
    /[\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** Python's `str(value)`. */
export function pythonStr(value: ExactJson): string {
  return typeof value === "string" ? value : pythonRepr(value);
}

/** Python's `repr(value)`. */
export function pythonRepr(value: ExactJson): string {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "string") return reprString(value);
  if (value instanceof ExactNumber) return reprNumber(value.text);
  if (Array.isArray(value)) return `[${value.map(pythonRepr).join(", ")}]`;
  return `{${[...value.entries].map(([key, item]) => `${reprString(key)}: ${pythonRepr(item)}`).join(", ")}}`;
}

function reprNumber(text: string): string {
  if (text === "NaN") return "nan";
  return text.replace("Infinity", "inf");
}

const ESCAPES: Record<string, string> = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\" };

function reprString(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  // Categories Python does not print: other (C*) and separators, but for the plain blank.
  const inner = text.replace(/[\\\p{C}\p{Z}']/gu, (found) => {
    if (found === " ") return found;
    if (found === "'") return quote === "'" ? "\\'" : found;
    return ESCAPES[found] ?? hexEscape(found.codePointAt(0) as number);
  });
  return quote + inner + quote;
}

function hexEscape(code: number): string {
  const hex = code.toString(16);
  if (code <= 0xff) return `\\x${hex.padStart(2, "0")}`;
  return code <= 0xffff ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
}
