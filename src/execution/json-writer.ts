import type { JsonText } from "../kit/json-text.ts";
import { RawJson } from "../domain/task-execution.ts";

/** JSON of a value that may hold RawJson anywhere; fields that are undefined are left out, as JSON.stringify does. */
export function writeJson(value: unknown): JsonText {
  return write(value) as JsonText;
}

function write(value: unknown): string {
  if (value instanceof RawJson) return value.text;
  if (Array.isArray(value)) return `[${value.map(write).join(",")}]`;
  if (value !== null && typeof value === "object") {
    const fields = Object.entries(value).filter(([, field]) => field !== undefined);
    return `{${fields.map(([name, field]) => `${JSON.stringify(name)}:${write(field)}`).join(",")}}`;
  }
  return JSON.stringify(value ?? null);
}
