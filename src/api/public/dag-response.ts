import { formatInstant } from "../../kit/instant.ts";
import { fromJsonText, type JsonText, type JsonValue } from "../../kit/json-text.ts";
import type { DagGraph, DagParam } from "../../domain/dag-graph.ts";
import {
  decodeValue,
  instantFromSeconds,
  isObject,
  objectOf,
  textsOf,
  unwrap,
  type JsonObject,
} from "../../domain/serialized-value.ts";
import type { DagRow } from "../../store/query-dags.ts";
import { instantOrNull, jsonOrNull, toDagVersionResponse, type DagVersionRow } from "../serialize.ts";
import { encodeFileToken } from "./file-token.ts";

/** A DAG as Airflow's API shows it. */
export function toDagResponse(row: DagRow) {
  const allowedRunTypes = jsonOrNull(row.allowed_run_types) as string[] | null;
  return {
    dag_id: row.dag_id,
    dag_display_name: row.dag_display_name ?? row.dag_id,
    is_paused: row.is_paused,
    is_stale: row.is_stale,
    last_parsed_time: instantOrNull(row.last_parsed_time),
    last_parse_duration: row.last_parse_duration,
    last_expired: instantOrNull(row.last_expired),
    bundle_name: row.bundle_name,
    bundle_version: row.bundle_version,
    relative_fileloc: row.relative_fileloc,
    fileloc: row.fileloc,
    description: row.description,
    timetable_summary: row.timetable_summary === "None" ? null : row.timetable_summary,
    timetable_description: row.timetable_description,
    timetable_partitioned: row.timetable_partitioned,
    timetable_periodic: row.timetable_periodic,
    tags: row.tags.map((name) => ({ name, dag_id: row.dag_id, dag_display_name: row.dag_display_name ?? row.dag_id })),
    max_active_tasks: row.max_active_tasks,
    max_active_runs: row.max_active_runs,
    max_consecutive_failed_dag_runs: row.max_consecutive_failed_dag_runs,
    has_task_concurrency_limits: row.has_task_concurrency_limits,
    has_import_errors: row.has_import_errors,
    next_dagrun_logical_date: instantOrNull(row.next_dagrun),
    next_dagrun_data_interval_start: instantOrNull(row.next_dagrun_data_interval_start),
    next_dagrun_data_interval_end: instantOrNull(row.next_dagrun_data_interval_end),
    next_dagrun_run_after: instantOrNull(row.next_dagrun_create_after),
    allowed_run_types: allowedRunTypes,
    owners: row.owners === null ? [] : row.owners.split(",").map((owner) => owner.trim()),
    is_backfillable: row.timetable_periodic && (allowedRunTypes === null || allowedRunTypes.includes("backfill")),
    file_token: encodeFileToken({ bundleName: row.bundle_name, relativeFileloc: row.relative_fileloc }),
  };
}

export interface DagDetails {
  row: DagRow;
  graph: DagGraph;
  serialized: JsonText;
  isFavorite: boolean;
  activeRunsCount: number;
  latestVersion: DagVersionRow | undefined;
}

export function toDagDetailsResponse(details: DagDetails) {
  const { row, graph } = details;
  const dag = objectOf(fromJsonText<JsonObject>(details.serialized).dag);
  return {
    ...toDagResponse(row),
    catchup: graph.catchup,
    dag_run_timeout: isoDuration(graph.dagrunTimeoutSeconds),
    asset_expression: jsonOrNull(row.asset_expression),
    doc_md: graph.docMd === null ? null : cleanDoc(graph.docMd),
    start_date: instantOrNull(graph.startDate),
    end_date: instantOrNull(graph.endDate),
    is_paused_upon_creation: graph.isPausedUponCreation,
    params: paramsResponse(graph.params),
    render_template_as_native_obj: graph.renderTemplateAsNativeObj,
    template_search_path: dag.template_searchpath === undefined ? null : textsOf(dag.template_searchpath),
    timezone: graph.timezone,
    last_parsed: row.last_parsed_time === null ? null : formatInstant(row.last_parsed_time),
    default_args: defaultArgs(dag.default_args),
    rerun_with_latest_version:
      typeof dag.rerun_with_latest_version === "boolean" ? dag.rerun_with_latest_version : null,
    owner_links: graph.ownerLinks,
    is_favorite: details.isFavorite,
    active_runs_count: details.activeRunsCount,
    concurrency: row.max_active_tasks,
    latest_dag_version: details.latestVersion ? toDagVersionResponse(details.latestVersion) : null,
  };
}

/** Params by name, as both DAGs and tasks show them. */
export function paramsResponse(params: readonly DagParam[]): Record<string, JsonValue> {
  return Object.fromEntries(params.map(([name, param]) => [name, { ...param }]));
}

function defaultArgs(serialized: JsonValue | undefined): JsonValue {
  if (serialized === undefined) return {};
  const args = spoken(serialized);
  return isObject(args) ? args : {};
}

/** As pydantic writes Python's values: durations in ISO 8601, times without a fraction where there is none. */
function spoken(value: JsonValue): JsonValue {
  if (Array.isArray(value)) return value.map(spoken);
  if (!isObject(value)) return value;
  const content = unwrap(value);
  if (value.__type === "timedelta" && typeof content === "number") return isoDuration(content);
  if (value.__type === "datetime" && typeof content === "number") return formatInstant(instantFromSeconds(content));
  const plain = value.__type === "dict" || content === value ? content : decodeValue(value);
  if (!isObject(plain)) return plain ?? null;
  return Object.fromEntries(Object.entries(plain).map(([key, item]) => [key, spoken(item)]));
}

/** As pydantic writes a timedelta. */
export function isoDuration(seconds: number | null): string | null {
  if (seconds === null) return null;
  const sign = seconds < 0 ? "-" : "";
  let rest = Math.round(Math.abs(seconds) * 1e6);
  const take = (unit: number) => {
    const count = Math.floor(rest / unit);
    rest -= count * unit;
    return count;
  };
  const days = take(86_400e6);
  const hours = take(3600e6);
  const minutes = take(60e6);
  const part = (count: number, name: string) => (count > 0 ? `${count}${name}` : "");
  const secs = rest > 0 ? `${Number((rest / 1e6).toFixed(6))}S` : "";
  const time = part(hours, "H") + part(minutes, "M") + secs;
  const text = part(days, "D") + (time === "" ? "" : `T${time}`);
  return `${sign}P${text === "" ? "T0S" : text}`;
}

/** Python's inspect.cleandoc: common indentation off all lines but the first, blank lines off both ends. */
export function cleanDoc(text: string): string {
  const lines = text.replaceAll("\t", "        ").split("\n");
  const margins = lines
    .slice(1)
    .filter((line) => line.trim() !== "")
    .map((line) => line.length - line.trimStart().length);
  const margin = margins.length > 0 ? Math.min(...margins) : 0;
  const cleaned = [(lines[0] ?? "").trimStart(), ...lines.slice(1).map((line) => line.slice(margin))];
  while (cleaned.length > 0 && cleaned.at(-1) === "") cleaned.pop();
  while (cleaned.length > 0 && cleaned[0] === "") cleaned.shift();
  return cleaned.join("\n");
}
