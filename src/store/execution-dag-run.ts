import { sql } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import type { DagRunState, DagRunType } from "../domain/states.ts";
import type { Database } from "./database.ts";
import { instantText } from "./instant-text.ts";

/** What the Execution API says of a run. */
export interface ExecutionDagRunRow {
  dag_id: string;
  run_id: string;
  logical_date: Instant | null;
  data_interval_start: Instant | null;
  data_interval_end: Instant | null;
  run_after: Instant;
  start_date: Instant | null;
  end_date: Instant | null;
  clear_number: number;
  run_type: DagRunType;
  state: DagRunState;
  conf: JsonText | null;
  triggering_user_name: string | null;
  partition_key: string | null;
  partition_date: Instant | null;
  note: string | null;
  /** The events it was made for, as Airflow's AssetEventDagRunReference; null when assets did not make it. */
  consumed_asset_events: JsonText | null;
}

/** Only for runs that assets made: of others, PostgreSQL does not look. Extras stay as they were written. */
const CONSUMED_ASSET_EVENTS = `case when r.run_type = 'asset_triggered' then (
    select json_agg(json_build_object('asset', json_build_object('name', a.name, 'uri', a.uri, 'extra', a.extra),
      'extra', e.extra, 'source_task_id', e.source_task_id, 'source_dag_id', e.source_dag_id,
      'source_run_id', e.source_run_id, 'source_map_index', e.source_map_index,
      'source_aliases', (select coalesce(json_agg(json_build_object('name', al.name) order by al.id), '[]')
        from asset_alias_asset_event link join asset_alias al on al.id = link.alias_id where link.event_id = e.id),
      'timestamp', ${instantText("e.timestamp")},
      'partition_key', e.partition_key) order by e.timestamp, e.id)
    from dagrun_asset_event consumed join asset_event e on e.id = consumed.event_id join asset a on a.id = e.asset_id
    where consumed.dag_run_id = r.id) end as consumed_asset_events`;

/** Columns of `dag_run r` that make an ExecutionDagRunRow. */
export const DAG_RUN_COLUMNS =
  "r.dag_id, r.run_id, r.logical_date, r.data_interval_start, r.data_interval_end, r.run_after, r.start_date, r.end_date, " +
  "r.clear_number, r.run_type, r.state, r.conf, r.triggering_user_name, r.partition_key, r.partition_date, r.note, " +
  CONSUMED_ASSET_EVENTS;

export async function findDagRun(db: Database, dagId: string, runId: string): Promise<ExecutionDagRunRow | null> {
  const { rows } = await sql<ExecutionDagRunRow>`
    select ${sql.raw(DAG_RUN_COLUMNS)} from dag_run r where dag_id = ${dagId} and run_id = ${runId}`.execute(db);
  return rows[0] ?? null;
}

/** The run with the newest logical date before this one. */
export async function findPreviousDagRun(
  db: Database,
  dagId: string,
  logicalDate: Instant,
  state: DagRunState | null,
): Promise<ExecutionDagRunRow | null> {
  const { rows } = await sql<ExecutionDagRunRow>`
    select ${sql.raw(DAG_RUN_COLUMNS)} from dag_run r
    where dag_id = ${dagId} and logical_date < ${logicalDate}::timestamptz and (${state}::text is null or state = ${state})
    order by logical_date desc limit 1`.execute(db);
  return rows[0] ?? null;
}

/** The last successful run before the one this task instance belongs to; null also when that run has no logical date. */
export async function findPreviousSuccessfulDagRun(db: Database, taskInstanceId: string) {
  const { rows } = await sql<
    Pick<ExecutionDagRunRow, "data_interval_start" | "data_interval_end" | "start_date" | "end_date">
  >`
    with own_run as (
      select r.dag_id, r.logical_date from task_instance ti join dag_run r on r.id = ti.dag_run_id
      where ti.id = ${taskInstanceId}::uuid
    )
    select r.data_interval_start, r.data_interval_end, r.start_date, r.end_date
    from own_run join dag_run r on r.dag_id = own_run.dag_id and r.logical_date < own_run.logical_date
    where r.state = 'success' order by r.logical_date desc limit 1`.execute(db);
  return rows[0] ?? null;
}

export interface DagRunFilter {
  dagId: string;
  logicalDates: readonly Instant[] | null;
  runIds: readonly string[] | null;
  states: readonly string[] | null;
}

export async function countDagRuns(db: Database, filter: DagRunFilter): Promise<number> {
  let query = db
    .selectFrom("dag_run")
    .select(sql<number>`count(*)`.as("count"))
    .where("dag_id", "=", filter.dagId);
  if (filter.logicalDates?.length) query = query.where("logical_date", "in", filter.logicalDates);
  if (filter.runIds?.length) query = query.where("run_id", "in", filter.runIds);
  if (filter.states?.length) query = query.where("state", "in", filter.states as DagRunState[]);
  return (await query.executeTakeFirstOrThrow()).count;
}

export interface ExecutionDagRow {
  dag_id: string;
  is_paused: boolean;
  is_stale: boolean;
  has_import_errors: boolean;
  allowed_run_types: JsonText | null;
  bundle_name: string;
  bundle_version: string | null;
  relative_fileloc: string;
  owners: string | null;
  next_dagrun: Instant | null;
  current_version_id: string | null;
  tags: string[];
}

export async function findDag(db: Database, dagId: string): Promise<ExecutionDagRow | null> {
  const { rows } = await sql<ExecutionDagRow>`
    select dag_id, is_paused, is_stale, has_import_errors, allowed_run_types, bundle_name, bundle_version, relative_fileloc,
      owners, next_dagrun, current_version_id, array(select name from dag_tag t where t.dag_id = dag.dag_id order by name) as tags
    from dag where dag_id = ${dagId}`.execute(db);
  return rows[0] ?? null;
}

/** Who began the run that a task instance belongs to. */
export async function triggeringUserOf(db: Database, taskInstanceId: string): Promise<string | null> {
  const row = await db
    .selectFrom("task_instance as ti")
    .innerJoin("dag_run as r", "r.id", "ti.dag_run_id")
    .where("ti.id", "=", taskInstanceId)
    .select("r.triggering_user_name")
    .executeTakeFirst();
  return row?.triggering_user_name ?? null;
}
