import { formatInstant, instantMicros, type Instant } from "../kit/instant.ts";
import { fromJsonText, type JsonText, type JsonValue } from "../kit/json-text.ts";
import { RawText } from "./raw-json.ts";
import type { DagRunState, DagRunType } from "../domain/states.ts";

/** Rows into the shapes of Airflow's REST API that more than one group of routes answers with. */

export function instantOrNull(at: Instant | null): string | null {
  return at === null ? null : formatInstant(at);
}

export function jsonOrNull(text: JsonText | null): JsonValue {
  return text === null ? null : fromJsonText(text);
}

/** Seconds from one moment to another; null while either is missing. */
export function secondsBetween(start: Instant | null, end: Instant | null): number | null {
  return start === null || end === null ? null : (instantMicros(end) - instantMicros(start)) / 1_000_000;
}

export interface TimeDelta {
  __type: "TimeDelta";
  days: number;
  seconds: number;
  microseconds: number;
}

/** Python's normal form of a timedelta: only `days` may be negative. */
export function timeDelta(seconds: number): TimeDelta;
export function timeDelta(seconds: number | null | undefined): TimeDelta | null;
export function timeDelta(seconds: number | null | undefined): TimeDelta | null {
  if (seconds === null || seconds === undefined) return null;
  const micros = Math.round(seconds * 1_000_000);
  const days = Math.floor(micros / 86_400_000_000);
  const rest = micros - days * 86_400_000_000;
  return {
    __type: "TimeDelta",
    days,
    seconds: Math.floor(rest / 1_000_000),
    microseconds: rest % 1_000_000,
  };
}

export interface DagVersionRow {
  id: string;
  version_number: number;
  dag_id: string;
  bundle_name: string;
  bundle_version: string | null;
  created_at: Instant;
  dag_display_name: string;
}

export interface DagVersionResponse {
  id: string;
  version_number: number;
  dag_id: string;
  bundle_name: string | null;
  bundle_version: string | null;
  created_at: string;
  dag_display_name: string;
  bundle_url: string | null;
}

export function toDagVersionResponse(row: DagVersionRow): DagVersionResponse {
  return {
    id: row.id,
    version_number: row.version_number,
    dag_id: row.dag_id,
    bundle_name: row.bundle_name,
    bundle_version: row.bundle_version,
    created_at: formatInstant(row.created_at),
    dag_display_name: row.dag_display_name,
    bundle_url: null,
  };
}

export interface DagRunRow {
  run_id: string;
  dag_id: string;
  logical_date: Instant | null;
  queued_at: Instant | null;
  start_date: Instant | null;
  end_date: Instant | null;
  data_interval_start: Instant | null;
  data_interval_end: Instant | null;
  run_after: Instant;
  last_scheduling_decision: Instant | null;
  run_type: DagRunType;
  state: DagRunState;
  triggered_by: string | null;
  triggering_user_name: string | null;
  conf: JsonText | null;
  note: string | null;
  bundle_version: string | null;
  partition_key: string | null;
  partition_date: Instant | null;
  dag_display_name: string;
  /** Versions its tasks ran on, oldest first. */
  dag_versions: DagVersionRow[];
}

/** Airflow's DAGRunResponse; to be sent with `sendRaw`. */
export function toDagRunResponse(row: DagRunRow) {
  return {
    dag_run_id: row.run_id,
    dag_id: row.dag_id,
    logical_date: instantOrNull(row.logical_date),
    queued_at: instantOrNull(row.queued_at),
    start_date: instantOrNull(row.start_date),
    end_date: instantOrNull(row.end_date),
    duration: secondsBetween(row.start_date, row.end_date),
    data_interval_start: instantOrNull(row.data_interval_start),
    data_interval_end: instantOrNull(row.data_interval_end),
    run_after: formatInstant(row.run_after),
    last_scheduling_decision: instantOrNull(row.last_scheduling_decision),
    run_type: row.run_type,
    state: row.state,
    triggered_by: row.triggered_by,
    triggering_user_name: row.triggering_user_name,
    conf: row.conf === null ? null : new RawText(row.conf),
    note: row.note,
    dag_versions: row.dag_versions.map(toDagVersionResponse),
    bundle_version: row.bundle_version,
    dag_display_name: row.dag_display_name,
    partition_key: row.partition_key,
    partition_date: instantOrNull(row.partition_date),
  };
}
