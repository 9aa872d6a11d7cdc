import { sql } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import type { DagRunType } from "../domain/states.ts";
import type { Database } from "./database.ts";
import { DEADLINES_OF_MADE_RUN } from "./deadlines.ts";

export interface NewDagRun {
  dagId: string;
  runId: string;
  runType: DagRunType;
  logicalDate: Instant | null;
  dataIntervalStart: Instant | null;
  dataIntervalEnd: Instant | null;
  runAfter: Instant;
  conf: JsonText | null;
  /** Airflow's DagRunTriggeredByType: "rest_api", "timetable", "operator", "cli", "ui", … */
  triggeredBy: string;
  triggeringUserName: string | null;
  note?: string | null;
  noteUserId?: string | null;
  partitionKey?: string | null;
  partitionDate?: Instant | null;
}

export type DagRunCreation = { kind: "created"; id: number } | { kind: "exists" } | { kind: "no_dag" };

/**
 * Makes a queued run of the DAG's current version; its task instances are made by the scheduler when it first sees the run.
 * "exists": the DAG has a run with this run_id or this logical date. "no_dag": unknown, or never parsed without errors.
 */
export async function createDagRun(db: Database, run: NewDagRun): Promise<DagRunCreation> {
  const { rows } = await sql<{ id: number | null }>`
    with current_dag as (
      select dag_id, current_version_id, bundle_version from dag
      where dag_id = ${run.dagId} and current_version_id is not null
    ), made as (
      insert into dag_run (dag_id, run_id, run_type, state, logical_date, data_interval_start, data_interval_end, run_after,
        queued_at, conf, triggered_by, triggering_user_name, dag_version_id, bundle_version, note, note_user_id, partition_key,
        partition_date)
      select dag_id, ${run.runId}, ${run.runType}, 'queued', ${run.logicalDate}::timestamptz,
        ${run.dataIntervalStart}::timestamptz, ${run.dataIntervalEnd}::timestamptz, ${run.runAfter}::timestamptz,
        clock_timestamp(), ${run.conf}::json, ${run.triggeredBy}, ${run.triggeringUserName}, current_version_id, bundle_version,
        ${run.note ?? null}, ${run.note == null ? null : (run.noteUserId ?? run.triggeringUserName)}, ${run.partitionKey ?? null},
        ${run.partitionDate ?? null}::timestamptz
      from current_dag
      on conflict do nothing
      returning id, dag_id, dag_version_id, logical_date, queued_at
    ), ${DEADLINES_OF_MADE_RUN}
    select made.id from current_dag left join made on true`.execute(db);
  const row = rows[0];
  if (!row) return { kind: "no_dag" };
  return row.id === null ? { kind: "exists" } : { kind: "created", id: row.id };
}
