import { isAlias, isMap, isScalar, isSeq, type Document, type Node } from "yaml";

/** What is read of a JSON Schema: the keywords that PROJECT_SCHEMA is written with. */
export interface Rule {
  type?: string | readonly string[];
  enum?: readonly string[];
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  pattern?: string;
  patternErrorMessage?: string;
  properties?: Readonly<Record<string, Rule>>;
  patternProperties?: Readonly<Record<string, Rule>>;
  items?: Rule;
}

/** What is wrong in a YAML document, and where it stands. */
export class WrongValue extends Error {
  readonly offset: number;

  constructor(offset: number, message: string) {
    super(message);
    this.offset = offset;
  }
}

/** Reads a node as its rule has it; a key without a value is one that is not there. Throws WrongValue. */
export class ValueReader {
  readonly #document: Document;
  readonly #refused: Readonly<Record<string, string>>;

  /** `refused`: keys of the first level that are known and not taken, with the way out. */
  constructor(document: Document, refused: Readonly<Record<string, string>>) {
    this.#document = document;
    this.#refused = refused;
  }

  read(written: Node, rule: Rule, path: string): unknown {
    const node = isAlias(written) ? written.resolve(this.#document) : written;
    if (isMap(node) && rule.type === "object") return this.#map(node.items as Pair[], rule, path);
    if (isSeq(node) && rule.type === "array") {
      const item = rule.items ?? {};
      return (node.items as Node[]).map((each) => this.read(each, item, path));
    }
    const value = isScalar(node) ? scalar(node, rule) : undefined;
    if (value === undefined) {
      throw new WrongValue(offsetOf(written), `${path || "the file"} ${expected(rule)}${shown(node)}`);
    }
    return value;
  }

  #map(items: readonly Pair[], rule: Rule, path: string): Record<string, unknown> {
    const read: Record<string, unknown> = {};
    for (const { key, value } of items) {
      const name = keyName(key);
      const full = path ? `${path}.${name}` : name;
      const inner = rule.properties?.[name] ?? matching(rule.patternProperties, name);
      const refusal = path === "" ? this.#refused[name] : undefined;
      if (refusal !== undefined) throw new WrongValue(offsetOf(key), `not supported yet: ${name}; ${refusal}`);
      if (!inner) throw new WrongValue(offsetOf(key), `unknown key ${JSON.stringify(full)}${hint(name, rule)}`);
      const isEmpty = value === null || (isScalar(value) && value.value === null);
      if (isEmpty && !typesOf(inner).includes("null")) continue;
      read[name] = value === null ? null : this.read(value, inner, full);
    }
    return read;
  }
}

interface Pair {
  key: Node;
  value: Node | null;
}

export function keyName(key: unknown): string {
  return isScalar(key) ? String(key.value) : String(key);
}

export function offsetOf(node: Node): number {
  return node.range?.[0] ?? 0;
}

function matching(rules: Readonly<Record<string, Rule>> | undefined, name: string): Rule | undefined {
  return Object.entries(rules ?? {}).find(([pattern]) => new RegExp(pattern).test(name))?.[1];
}

const typesOf = ({ type }: Rule): readonly string[] => (typeof type === "string" ? [type] : (type ?? []));

/** undefined: it does not fit. */
function scalar(node: { value: unknown; source?: string | undefined }, rule: Rule): unknown {
  const types = typesOf(rule);
  const { value, source } = node;
  // 3.10 without quotes is the number 3.1: the text is what was meant. So it is where a number will do as well.
  const asText = types.includes("string") && (rule.enum !== undefined || types.includes("number"));
  const given = asText && (typeof value === "number" || typeof value === "boolean") ? (source ?? String(value)) : value;
  if (given === null) return types.includes("null") ? null : undefined;
  if (typeof given === "boolean") return types.includes("boolean") ? given : undefined;
  if (typeof given === "number") {
    const fits = types.includes("number") || (types.includes("integer") && Number.isSafeInteger(given));
    return fits && given >= (rule.minimum ?? -Infinity) && given <= (rule.maximum ?? Infinity) ? given : undefined;
  }
  if (typeof given !== "string" || !types.includes("string") || /[\0\r]/.test(given)) return undefined;
  const trimmed = rule.pattern === undefined ? given : given.trim();
  const fits =
    (rule.enum?.includes(trimmed) ?? true) &&
    (rule.pattern === undefined || (!trimmed.includes("\n") && new RegExp(rule.pattern).test(trimmed))) &&
    trimmed.length >= (rule.minLength ?? 0) &&
    trimmed.length <= (rule.maxLength ?? Infinity);
  return fits ? trimmed : undefined;
}

function expected(rule: Rule): string {
  if (rule.patternErrorMessage) return rule.patternErrorMessage;
  return `must be ${kindOf(rule)}`;
}

function kindOf(rule: Rule): string {
  if (rule.enum) return rule.enum.length === 1 ? `"${rule.enum[0]}"` : `one of ${rule.enum.join(", ")}`;
  const [type] = typesOf(rule);
  if (type === "integer") return `a whole number from ${rule.minimum ?? "…"} to ${rule.maximum ?? "…"}`;
  if (type === "array") return rule.items?.type === "object" ? "a list of maps" : "a list of strings";
  if (type === "object") return "a map of keys and values";
  if (type === "boolean") return "true or false";
  return rule.maxLength === undefined ? "a text" : `a text of 1 to ${rule.maxLength} characters`;
}

/** What stands there, where it is short. */
function shown(node: unknown): string {
  const value = isScalar(node) ? (node.source ?? String(node.value)) : isMap(node) ? "a map" : "a list";
  return value.length > 80 ? "" : `, not ${isScalar(node) ? JSON.stringify(value) : value}`;
}

/** The known key one or two letters away. */
function hint(name: string, rule: Rule): string {
  const near = Object.keys(rule.properties ?? {}).find((key) => distance(key, name) <= 2);
  return near ? `; did you mean ${JSON.stringify(near)}?` : "";
}

function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const swap = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(swap, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}
