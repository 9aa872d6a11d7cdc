import type { JsonValue } from "../kit/json-text.ts";
import type { ExpandInput, MapSource } from "./dag-graph.ts";
import { isObject, listOf, objectOf, textOr, unwrap } from "./serialized-value.ts";

/** Reads `expand_input` of a mapped operator or a mapped task group; null when there is none. */
export function parseExpandInput(value: JsonValue | undefined): ExpandInput | null {
  if (!isObject(value)) return null;
  const content = value["value"] ?? null;
  if (value["type"] === "dict-of-lists") {
    const sources = Object.entries(objectOf(content)).map(([key, entry]) => ({ key, source: sourceOf(entry) }));
    return { kind: "dict-of-lists", sources };
  }
  return { kind: "list-of-dicts", sources: [{ key: "", source: sourceOf(content) }] };
}

function sourceOf(value: JsonValue): MapSource {
  if (isObject(value) && value["__type"] === "xcomref") return referenceOf(objectOf(value));
  if (isObject(value) && value["__type"] === "dict") {
    const keys = Object.keys(objectOf(value));
    return { kind: "literal", length: keys.length, keys };
  }
  const content = unwrap(value);
  if (Array.isArray(content)) return { kind: "literal", length: content.length, keys: null };
  // A mapped group's argument used to expand further inside it; Airflow cannot count these either.
  return { kind: "unknown", description: isObject(value) ? textOr(value["__type"], "object") : typeof value };
}

function referenceOf(data: Record<string, JsonValue>): MapSource {
  switch (data["type"] ?? "") {
    case "":
      return { kind: "xcom", taskId: textOr(data["task_id"], ""), key: textOr(data["key"], "return_value") };
    case "map":
      return { kind: "map", of: referenceOf(objectOf(data["arg"])) };
    case "filter":
      return { kind: "filter", of: referenceOf(objectOf(data["arg"])) };
    case "zip":
      return { kind: "zip", of: argumentsOf(data), fillvalue: "fillvalue" in data };
    case "concat":
      return { kind: "concat", of: argumentsOf(data) };
    default:
      return { kind: "unknown", description: textOr(data["type"], "unknown") };
  }
}

function argumentsOf(data: Record<string, JsonValue>): MapSource[] {
  return listOf(data["args"]).map((entry) => referenceOf(objectOf(entry)));
}
