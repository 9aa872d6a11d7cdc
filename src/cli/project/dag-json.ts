import { createHash } from "node:crypto";
import { relative } from "node:path";
import type { DagJson } from "../../domain/dag-json.ts";
import type { ParsedDag } from "../../domain/parse-result.ts";
import { parseSerializedDag } from "../../domain/serialized-dag.ts";
import { ExactNumber, ExactObject, parseExact, type ExactJson } from "../../kit/exact-json.ts";
import { filesHash, type PackedFile } from "../../lite/workspace/project-pack.ts";
import type { ProjectFolder } from "./project-folder.ts";

export interface Compilation {
  dag: ParsedDag;
  files: readonly PackedFile[];
  dagVersion: string;
  image: string | null;
}

/** dag.json's text: keys sorted, numbers as Python wrote them, nothing of this machine or this moment in it. */
export function dagJsonText(project: ProjectFolder, compilation: Compilation): string {
  const fields = dagFields(project, compilation);
  const whole = new Map(Object.entries(fields).map(([key, value]) => [key, parseExact(JSON.stringify(value))]));
  whole.set("serialized_dag", portable(parseExact(compilation.dag.serialized), project.folder));
  const digest = createHash("sha256")
    .update(canonical(new ExactObject(whole)))
    .digest("hex");
  whole.set("content_hash", `sha256:${digest}`);
  return `${canonical(new ExactObject(whole), "\n")}\n`;
}

/** The hash a dag.json should have; for comparing with the one in it. */
export function contentHashOf(text: string): string {
  const whole = parseExact(text);
  if (!(whole instanceof ExactObject)) throw new SyntaxError("not a JSON object");
  const rest = new Map([...whole.entries].filter(([key]) => key !== "content_hash"));
  return `sha256:${createHash("sha256")
    .update(canonical(new ExactObject(rest)))
    .digest("hex")}`;
}

type Fields = Omit<DagJson, "serialized_dag" | "content_hash">;

function dagFields(project: ProjectFolder, { dag, files, dagVersion, image }: Compilation): Fields {
  const graph = parseSerializedDag(dag.serialized);
  const { settings } = project;
  const { python_version, base_image, system_packages, defaults, staging } = settings;
  const kept = { python_version, base_image, system_packages, defaults, staging };
  const tasks = [...graph.tasks.values()].map((task) => {
    const said = settings.tasks?.[task.taskId] ?? {};
    return {
      task_id: task.taskId,
      type: `${task.taskModule}.${task.taskType}`,
      depends_on: [...task.upstream].sort(),
      trigger_rule: task.triggerRule,
      is_mapped: task.expandInput !== null,
      retries: task.retries,
      retry_delay_seconds: task.retryDelaySeconds,
      execution_timeout_seconds: task.executionTimeoutSeconds,
      env: said.env ?? {},
      ...(said.resources && { resources: said.resources }),
      ...(said.execution && { execution: said.execution }),
    };
  });
  const declared = (key: "connections" | "variables") => {
    const ofTasks = Object.values(settings.tasks ?? {}).flatMap((task) => task[key] ?? []);
    return [...new Set([...(settings[key] ?? []), ...ofTasks])].sort();
  };
  return {
    schema_version: "1.0",
    dag_id: dag.dagId,
    dag_version: dagVersion,
    image,
    description: dag.description,
    owners: dag.owners.split(", "),
    tags: [...dag.tags],
    schedule: dag.timetableSummary,
    max_active_runs: dag.maxActiveRuns,
    max_active_tasks: dag.maxActiveTasks,
    connections: declared("connections"),
    variables: declared("variables"),
    pools: [...new Set([...(settings.pools ?? []), ...[...graph.tasks.values()].map(({ pool }) => pool)])].sort(),
    dag_source: project.dagSource,
    dependencies: [...project.dependencies].sort(),
    ...(Object.fromEntries(Object.entries(kept).filter(([, value]) => value !== undefined)) as typeof kept),
    tasks: tasks.sort((a, b) => (a.task_id < b.task_id ? -1 : 1)),
    files: files.map((file) => ({ ...file })),
    files_hash: filesHash(files),
  };
}

/** The serialized DAG without the places of this machine. */
function portable(serialized: ExactJson, folder: string): ExactJson {
  if (!(serialized instanceof ExactObject)) throw new RangeError("not a serialized DAG");
  const dag = serialized.entries.get("dag");
  if (!(dag instanceof ExactObject)) throw new RangeError("not a serialized DAG");
  const fields = new Map(dag.entries);
  fields.delete("_processor_dags_folder");
  const fileloc = fields.get("fileloc");
  if (typeof fileloc === "string") {
    const below = relative(folder, fileloc).replaceAll("\\", "/");
    fields.set("fileloc", below);
    fields.set("relative_fileloc", below);
  }
  return new ExactObject(new Map([...serialized.entries, ["dag", new ExactObject(fields)]]));
}

/** `newline`: indented by two blanks for people; "" is the form that is hashed. */
function canonical(value: ExactJson, newline = ""): string {
  if (value instanceof ExactNumber) return value.text;
  const inner = newline && `${newline}  `;
  if (Array.isArray(value)) {
    if (value.length === 0) return "[]";
    return `[${inner}${value.map((item) => canonical(item, inner)).join(`,${inner}`)}${newline}]`;
  }
  if (value instanceof ExactObject) {
    if (value.entries.size === 0) return "{}";
    const members = [...value.entries].sort(([a], [b]) => (a < b ? -1 : 1));
    const gap = newline && " ";
    const texts = members.map(([key, member]) => `${JSON.stringify(key)}:${gap}${canonical(member, inner)}`);
    return `{${inner}${texts.join(`,${inner}`)}${newline}}`;
  }
  return JSON.stringify(value);
}
