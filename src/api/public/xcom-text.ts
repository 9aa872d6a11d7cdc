import { ExactNumber, ExactObject, pythonRepr, pythonStr, type ExactJson } from "../../kit/exact-json.ts";
import { parseOrNull } from "../secrets.ts";

/**
 * What an XCom looks like to a person: plain data as it is, an object that the SDK serialized as `module.Class@version=1(…)`.
 * Follows `airflow.serialization.stringify`. Classes of Airflow itself, which Airflow would make real objects of, are written
 * the same way here: the control plane runs no Python for this.
 */

const CLASSNAME = "__classname__";
const VERSION = "__version__";
const DATA = "__data__";
/** DAG files are imported under names that tell them apart; that prefix means nothing to a reader. */
const MODULE_PREFIX = /unusual_prefix_[a-f0-9]{40}_/g;
const SEQUENCES = ["builtins.tuple", "builtins.set", "builtins.frozenset"];

export function readableXCom(stored: ExactJson): ExactJson {
  // A text may be JSON itself, from tasks that serialized it twice.
  const value = typeof stored === "string" ? (parseOrNull(stored) ?? stored) : stored;
  return readable(value);
}

function readable(value: ExactJson): ExactJson {
  if (Array.isArray(value)) return value.map(readable);
  if (!(value instanceof ExactObject)) return value;
  const object = converted(value);
  if (!(object instanceof ExactObject)) return readable(object);
  const { entries } = object;
  const [name, version] = [entries.get(CLASSNAME), entries.get(VERSION)];
  if (typeof name !== "string" || name === "" || !(version instanceof ExactNumber)) {
    return new ExactObject(new Map([...entries].map(([key, item]) => [key, readable(item)])));
  }
  const data = entries.get(DATA) ?? null;
  if (SEQUENCES.includes(name) && Array.isArray(data)) return `(${data.map(text).join(",")})`;
  return `${name.replace(MODULE_PREFIX, "")}@version=${version.text}(${argumentsOf(data)})`;
}

const text = (value: ExactJson): string => pythonStr(readable(value));

function argumentsOf(data: ExactJson): string {
  if (data === null) return "";
  if (Array.isArray(data)) return data.map(text).join(",");
  if (!(data instanceof ExactObject)) return pythonStr(data);
  return [...data.entries]
    .map(([key, item]) => `${key}=${typeof item === "string" ? pythonRepr(item) : text(item)}`)
    .join(", ");
}

/** The form of Airflow 2, `{"__type": …, "__var": …}`, in today's. */
function converted(object: ExactObject): ExactJson {
  const [type, data] = [object.entries.get("__type"), object.entries.get("__var")];
  if (typeof type !== "string" || data === undefined) return object;
  if (type === "dict") return data;
  const entries: [string, ExactJson][] = [
    [CLASSNAME, type],
    [VERSION, new ExactNumber("0")],
    [DATA, data],
  ];
  return new ExactObject(new Map(entries));
}

const RESERVED = ["__classname__", "__version__", "__data__", "__id__", "__cache__", "__type", "__source", "__var"];

/** Why a value that a user sends may not be stored: it would be taken for a serialized object. null when it may. */
export function reservedKeyProblem(value: ExactJson, path = "value"): string | null {
  if (typeof value === "string") {
    const inner = parseOrNull(value);
    return typeof inner === "object" && inner !== null ? reservedKeyProblem(inner, path) : null;
  }
  if (Array.isArray(value)) {
    return firstOf(value.map((item, index) => reservedKeyProblem(item, `${path}[${index}]`)));
  }
  if (!(value instanceof ExactObject)) return null;
  const found = RESERVED.filter((key) => value.entries.has(key)).sort();
  if (found.length > 0) {
    return `XCom ${path} contains reserved serialization keys: ${found.join(", ")}. These keys are reserved for internal use.`;
  }
  return firstOf([...value.entries].map(([key, item]) => reservedKeyProblem(item, `${path}.${key}`)));
}

function firstOf(problems: readonly (string | null)[]): string | null {
  return problems.find((problem) => problem !== null) ?? null;
}
