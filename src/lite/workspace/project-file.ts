import { isMap, isScalar, isSeq, LineCounter, parseDocument, type Node } from "yaml";

export const PROJECT_FILE = "leoflow.yaml";

/** What a project's leoflow.yaml says, as far as it is used. */
export interface ProjectFile {
  /** pip requirements, as written; connectors come as their providers. */
  dependencies: string[];
  /** The DAG file below the project's folder. */
  dagSource: string;
  /** Keys that are accepted and have no effect yet. */
  unused: string[];
}

export type ProjectFileOutcome = { kind: "read"; project: ProjectFile } | { kind: "broken"; message: string };

/** true: any value. A nested object: a map with these keys; "*" stands for any key. */
type Known = true | { readonly [key: string]: Known };

const RESOURCES: Known = { cpu: true, memory: true, ephemeral_storage: true };
const TASK: Known = {
  retries: true,
  retry_delay_seconds: true,
  execution_timeout_seconds: true,
  env: { "*": true },
  connections: true,
  variables: true,
  resources: { requests: RESOURCES, limits: RESOURCES },
  execution: { node_selector: { "*": true }, tolerations: true, service_account: true, image_pull_policy: true },
};

/** Every key leoflow.yaml may have. Anything else is an error: a typo must not be silently without effect. */
export const KNOWN_KEYS: Known = {
  schema_version: true,
  dag_id: true,
  description: true,
  owner: true,
  tags: true,
  schedule: true,
  schedule_timezone: true,
  python_version: true,
  base_image: true,
  dependencies: true,
  connectors: true,
  system_packages: true,
  dag_source: true,
  include_paths: true,
  exclude_paths: true,
  max_active_tasks: true,
  max_active_runs: true,
  build: { dockerfile: true, context: true, platforms: true, labels: { "*": true } },
  registry: { url: true, auth_method: true, image_name: true, tag_strategy: true },
  defaults: {
    retries: true,
    retry_delay_seconds: true,
    execution_timeout_seconds: true,
    resources: { cpu: true, memory: true, ephemeral_storage: true, requests: RESOURCES, limits: RESOURCES },
    node_selector: { "*": true },
  },
  staging: { enabled: true, size: true, storage_class: true },
  tasks: { "*": TASK },
  connections: true,
  variables: true,
  pools: true,
  alerts: true,
  dbt: { project: true, manifest: true, schedule: true, connection: true, granularity: true },
  dbt_groups: { "*": true },
};

const USED = ["schema_version", "dependencies", "connectors", "dag_source"];

/** Reads leoflow.yaml. Messages name line and column: `proj/leoflow.yaml:3:1: unknown key "dependancies"`. */
export function parseProjectFile(text: string, relPath: string): ProjectFileOutcome {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const at = (offset: number, message: string): ProjectFileOutcome => {
    const { line, col } = lines.linePos(offset);
    return { kind: "broken", message: `${relPath}:${line}:${col}: ${message}` };
  };
  const [syntaxError] = document.errors;
  if (syntaxError) return at(syntaxError.pos[0], syntaxError.message);
  const root = document.contents;
  if (root === null || (isScalar(root) && root.value === null)) {
    return { kind: "read", project: { dependencies: [], dagSource: "dag.py", unused: [] } };
  }
  if (!isMap(root)) return at(offsetOf(root), "expected a map of keys and values");
  const unknown = findUnknown(root, KNOWN_KEYS, "");
  if (unknown) return at(unknown.offset, unknown.message);

  const dependencies: string[] = [];
  for (const [key, prefix] of [
    ["dependencies", ""],
    ["connectors", "apache-airflow-providers-"],
  ] as const) {
    const list = root.get(key, true) as Node | undefined;
    if (list === undefined || (isScalar(list) && list.value === null)) continue;
    if (!isSeq(list)) return at(offsetOf(list), `${key} must be a list of strings`);
    for (const item of list.items) {
      const value = isScalar(item) ? item.value : null;
      if (typeof value !== "string" || value.trim() === "") {
        return at(offsetOf(item as Node), `${key} must be a list of strings`);
      }
      if (/^[-./~]|[\r\n]/.test(value.trim())) {
        return at(offsetOf(item as Node), `${key} takes requirements such as "pandas==2.2.3", not options or paths`);
      }
      dependencies.push(prefix ? prefix + value.trim().toLowerCase().replaceAll(/[._]/g, "-") : value.trim());
    }
  }
  const source = root.get("dag_source", true) as Node | undefined;
  const dagSource = source === undefined ? "dag.py" : isScalar(source) ? source.value : null;
  if (source !== undefined && (typeof dagSource !== "string" || !/^(?!\/)(?!.*\.\.).+\.py$/.test(dagSource))) {
    return at(offsetOf(source), "dag_source must be a .py file inside the project");
  }
  const unused = root.items.map(({ key }) => keyName(key)).filter((key) => !USED.includes(key));
  return { kind: "read", project: { dependencies, dagSource: dagSource as string, unused } };
}

function findUnknown(node: unknown, known: Known, path: string): { offset: number; message: string } | null {
  if (known === true || !isMap(node)) return null;
  for (const { key, value } of node.items) {
    const name = keyName(key);
    const inner = known[name] ?? known["*"];
    const full = path ? `${path}.${name}` : name;
    if (inner === undefined) {
      const offset = offsetOf(key as Node);
      return { offset, message: `unknown key ${JSON.stringify(full)}${suggestion(name, Object.keys(known))}` };
    }
    const deeper = findUnknown(value, inner, full);
    if (deeper) return deeper;
  }
  return null;
}

/** The known key one or two letters away, as a hint. */
function suggestion(name: string, known: readonly string[]): string {
  const near = known.find((key) => key !== "*" && distance(key, name) <= 2);
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

function keyName(key: unknown): string {
  return isScalar(key) ? String(key.value) : String(key);
}

function offsetOf(node: Node): number {
  return node.range?.[0] ?? 0;
}
