import { formatInstant, type Instant } from "../../kit/instant.ts";
import { parseExact, pythonStr } from "../../kit/exact-json.ts";
import type { JsonText } from "../../kit/json-text.ts";
import type { TaskInstanceRow } from "../../store/task-instances.ts";
import type { TryRow } from "../../store/task-instance-tries.ts";
import { RawText } from "../raw-json.ts";
import { instantOrNull, toDagVersionResponse } from "../serialize.ts";

/** Airflow's TaskInstanceResponse. */
export function toTaskInstanceResponse(row: TaskInstanceRow) {
  return {
    id: row.id,
    task_id: row.task_id,
    dag_id: row.dag_id,
    dag_run_id: row.run_id,
    map_index: row.map_index,
    logical_date: instantOrNull(row.logical_date),
    run_after: formatInstant(row.run_after),
    start_date: instantOrNull(row.start_date),
    end_date: instantOrNull(row.end_date),
    duration: row.duration,
    state: row.state,
    try_number: row.try_number,
    max_tries: row.max_tries,
    task_display_name: row.task_display_name,
    dag_display_name: row.dag_display_name,
    hostname: row.hostname,
    unixname: row.unixname,
    pool: row.pool,
    pool_slots: row.pool_slots,
    queue: row.queue,
    priority_weight: row.priority_weight,
    operator: row.operator,
    operator_name: row.custom_operator_name || row.operator,
    queued_when: instantOrNull(row.queued_dttm),
    scheduled_when: instantOrNull(row.scheduled_dttm),
    pid: row.pid,
    executor: row.executor,
    executor_config: executorConfig(row.executor_config),
    note: row.note,
    rendered_map_index: row.rendered_map_index,
    rendered_fields: new RawText(row.rendered_fields ?? ("{}" as JsonText)),
    trigger: triggerOf(row),
    triggerer_job: triggererJobOf(row),
    dag_version: versionOf(row),
  };
}

export function toTaskInstanceCollection(rows: readonly TaskInstanceRow[], total = rows.length) {
  return { task_instances: rows.map(toTaskInstanceResponse), total_entries: total, ...NO_CURSOR };
}

const NO_CURSOR = { total_entries_limit: null, next_cursor: null, previous_cursor: null };

/** Airflow's TaskInstanceHistoryResponse. */
export function toTryResponse(row: TryRow) {
  return {
    task_id: row.task_id,
    dag_id: row.dag_id,
    dag_run_id: row.run_id,
    map_index: row.map_index,
    start_date: instantOrNull(row.start_date),
    end_date: instantOrNull(row.end_date),
    duration: row.duration,
    state: row.state,
    try_number: row.try_number,
    max_tries: row.max_tries,
    task_display_name: row.task_display_name,
    dag_display_name: row.dag_display_name,
    hostname: row.hostname,
    unixname: row.unixname,
    pool: row.pool,
    pool_slots: row.pool_slots,
    queue: row.queue,
    priority_weight: row.priority_weight,
    operator: row.operator,
    operator_name: row.custom_operator_name,
    queued_when: instantOrNull(row.queued_dttm),
    scheduled_when: instantOrNull(row.scheduled_dttm),
    pid: row.pid,
    executor: row.executor,
    executor_config: executorConfig(row.executor_config),
    dag_version: versionOf(row),
  };
}

/** Airflow shows Python's `str()` of it. */
function executorConfig(text: JsonText | null): string {
  return text === null ? "{}" : pythonStr(parseExact(text));
}

interface VersionColumns {
  dag_id: string;
  dag_display_name: string;
  version_id: string | null;
  version_number: number | null;
  bundle_name: string | null;
  bundle_version: string | null;
  version_created_at: Instant | null;
}

function versionOf(row: VersionColumns) {
  const { version_id: id, version_number, bundle_name, version_created_at: created_at } = row;
  if (id === null || version_number === null || bundle_name === null || created_at === null) return null;
  const { dag_id, dag_display_name, bundle_version } = row;
  return toDagVersionResponse({
    id,
    version_number,
    dag_id,
    dag_display_name,
    bundle_name,
    bundle_version,
    created_at,
  });
}

/** What a trigger was given may be secret; Airflow never tells it. */
function triggerOf(row: TaskInstanceRow) {
  const { trigger_id: id, classpath, trigger_created_date: created, trigger_queue: queue, triggerer_id } = row;
  if (id === null || classpath === null || created === null) return null;
  return { id, classpath, kwargs: "{}", created_date: formatInstant(created), queue, triggerer_id };
}

/** Airflow's JobResponse of the triggerer that runs the trigger. */
function triggererJobOf(row: TaskInstanceRow) {
  if (row.triggerer_id === null || row.triggerer_job_type === null) return null;
  return {
    id: row.triggerer_id,
    dag_id: null,
    state: row.triggerer_state,
    job_type: row.triggerer_job_type,
    start_date: instantOrNull(row.triggerer_start_date),
    end_date: instantOrNull(row.triggerer_end_date),
    latest_heartbeat: instantOrNull(row.triggerer_heartbeat),
    executor_class: null,
    hostname: row.triggerer_hostname,
    unixname: row.triggerer_unixname,
    dag_display_name: null,
  };
}
