/**
 * JSON as text, exactly as it was written. What user code made (XComs, conf, serialized DAGs) travels as text, because
 * JavaScript numbers would turn Python's 60.0 into 60 and round its big integers.
 */
export type JsonText = string & { readonly __brand: "JsonText" };

export type JsonValue = null | boolean | number | string | JsonValue[] | { [key: string]: JsonValue };

export function toJsonText(value: unknown): JsonText {
  return JSON.stringify(value ?? null) as JsonText;
}

export function fromJsonText<T = JsonValue>(text: JsonText): T {
  return JSON.parse(text) as T;
}

/** JSON that must reach Python as it was: the codec writes it to msgpack telling 1 from 1.0. */
export class RawJson {
  readonly text: JsonText;

  constructor(text: JsonText) {
    this.text = text;
  }
}
