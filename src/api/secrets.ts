import { ExactObject, parseExact, pythonDumps, type ExactJson } from "../kit/exact-json.ts";
import { isSensitiveName } from "../kit/sensitive-names.ts";

/** Airflow's secrets masker, as far as its API shows it: what is stored under a sensitive name is never told. */

const HIDDEN = "***";
const MAX_DEPTH = 5;
/** Hides the texts under sensitive names, at any depth. Numbers stay, as in Airflow. */
export function redact(value: ExactJson, name: string | null = null, depth = 0): ExactJson {
  if (name !== null && isSensitiveName(name)) return redactAll(value, depth);
  if (Array.isArray(value)) return value.map((item) => redact(item, null, depth + 1));
  if (value instanceof ExactObject) return mapObject(value, (item, key) => redact(item, key, depth + 1));
  return value;
}

function redactAll(value: ExactJson, depth: number): ExactJson {
  if (depth > MAX_DEPTH || typeof value === "string") return HIDDEN;
  if (Array.isArray(value)) return value.map((item) => redactAll(item, depth + 1));
  if (value instanceof ExactObject) return mapObject(value, (item) => redactAll(item, depth + 1));
  return value;
}

/** What a variable's value looks like to a reader: JSON is looked into, a plain text hidden where the key is sensitive. */
export function redactText(text: string, name: string | null): string {
  const parsed = parseOrNull(text);
  if (parsed === undefined) return name !== null && isSensitiveName(name) ? HIDDEN : text;
  return pythonDumps(redact(parsed, name));
}

/** Puts the stored value back where an edited one still shows `***` under a sensitive name. */
export function mergeRedacted(edited: ExactJson, stored: ExactJson, name: string | null = null): ExactJson {
  return merge(edited, stored, { name, depth: 0, sensitive: false });
}

function merge(
  edited: ExactJson,
  stored: ExactJson,
  at: { name: string | null; depth: number; sensitive: boolean },
): ExactJson {
  if (at.depth > MAX_DEPTH) return edited === HIDDEN ? stored : edited;
  const sensitive = at.sensitive || (at.name !== null && isSensitiveName(at.name));
  const below = { depth: at.depth + 1, sensitive };
  if (edited instanceof ExactObject && stored instanceof ExactObject) {
    return mapObject(edited, (item, key) => {
      const before = stored.entries.get(key);
      return before === undefined ? item : merge(item, before, { ...below, name: sensitive ? null : key });
    });
  }
  if (Array.isArray(edited) && Array.isArray(stored)) {
    return edited.map((item, index) => {
      const before = stored[index];
      return before === undefined ? item : merge(item, before, { ...below, name: null });
    });
  }
  return sensitive && edited === HIDDEN ? stored : edited;
}

export function parseOrNull(text: string): ExactJson | undefined {
  try {
    return parseExact(text);
  } catch {
    return undefined;
  }
}

function mapObject(value: ExactObject, change: (item: ExactJson, key: string) => ExactJson): ExactObject {
  return new ExactObject(new Map([...value.entries].map(([key, item]) => [key, change(item, key)])));
}
