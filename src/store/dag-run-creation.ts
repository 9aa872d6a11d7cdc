import { sql } from "kysely";
import type { Instant } from "../kit/instant.ts";
import { toJsonText, type JsonText } from "../kit/json-text.ts";
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

/** Makes one run; see `createDagRuns`. */
export async function createDagRun(db: Database, run: NewDagRun): Promise<DagRunCreation> {
  const [made] = await createDagRuns(db, [run]);
  return made ?? { kind: "no_dag" };
}

/**
 * Makes queued runs of their DAGs' current versions, in one statement; the scheduler makes their task instances when it first
 * sees them. "exists": the DAG has a run with this run_id or this logical date. "no_dag": unknown, or never parsed without errors.
 */
export async function createDagRuns(db: Database, runs: readonly NewDagRun[]): Promise<DagRunCreation[]> {
  const wanted = runs.map((run, n) => ({
    n,
    dag_id: run.dagId,
    run_id: run.runId,
    run_type: run.runType,
    logical_date: run.logicalDate,
    data_interval_start: run.dataIntervalStart,
    data_interval_end: run.dataIntervalEnd,
    run_after: run.runAfter,
    conf: run.conf,
    triggered_by: run.triggeredBy,
    triggering_user_name: run.triggeringUserName,
    note: run.note ?? null,
    note_user_id: run.note == null ? null : (run.noteUserId ?? run.triggeringUserName),
    partition_key: run.partitionKey ?? null,
    partition_date: run.partitionDate ?? null,
  }));
  const { rows } = await sql<{ n: number; is_known: boolean; id: number | null }>`
    with wanted as (
      select * from json_to_recordset(${toJsonText(wanted)}::json) as w(n integer, dag_id text, run_id text, run_type text,
        logical_date timestamptz, data_interval_start timestamptz, data_interval_end timestamptz, run_after timestamptz,
        conf text, triggered_by text, triggering_user_name text, note text, note_user_id text, partition_key text,
        partition_date timestamptz)
    ), known as (
      select dag_id, current_version_id, bundle_version from dag
      where dag_id in (select dag_id from wanted) and current_version_id is not null
    ), made as (
      insert into dag_run (dag_id, run_id, run_type, state, logical_date, data_interval_start, data_interval_end, run_after,
        queued_at, conf, triggered_by, triggering_user_name, dag_version_id, bundle_version, note, note_user_id, partition_key,
        partition_date)
      select dag_id, run_id, run_type, 'queued', logical_date, data_interval_start, data_interval_end, run_after,
        clock_timestamp(), conf::json, triggered_by, triggering_user_name, current_version_id, bundle_version, note,
        note_user_id, partition_key, partition_date
      from wanted join known using (dag_id)
      order by n
      on conflict do nothing
      returning id, dag_id, run_id, dag_version_id, logical_date, queued_at
    ), ${DEADLINES_OF_MADE_RUN}
    select n, known.dag_id is not null as is_known, made.id
    from wanted left join known using (dag_id) left join made using (dag_id, run_id)`.execute(db);
  const creations = runs.map((): DagRunCreation => ({ kind: "no_dag" }));
  for (const { n, is_known: isKnown, id } of rows) {
    if (isKnown) creations[n] = id === null ? { kind: "exists" } : { kind: "created", id };
  }
  return creations;
}
