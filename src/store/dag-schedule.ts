import { sql } from "kysely";
import type { Instant } from "../kit/instant.ts";
import { toJsonText } from "../kit/json-text.ts";
import { makingHolds, type MakingHold } from "../domain/run-making.ts";
import type { Database } from "./database.ts";

/** What decides when a DAG's next scheduled run is made. */
export interface DagScheduleRow {
  dag_id: string;
  is_paused: boolean;
  is_stale: boolean;
  /** Its file does not parse any more: the version that did gets no new runs. */
  has_import_errors: boolean;
  current_version_id: string;
  allowed_run_types: string[] | null;
  /** What `setNextRuns` wrote last. */
  next_dagrun: Instant | null;
  next_dagrun_data_interval_start: Instant | null;
  next_dagrun_data_interval_end: Instant | null;
  next_dagrun_create_after: Instant | null;
  exceeds_max_non_backfill: boolean;
  timetable_error: string | null;
  last_logical_date: Instant | null;
  last_interval_start: Instant | null;
  last_interval_end: Instant | null;
  last_run_after: Instant | null;
  /** Queued and running runs that are not a backfill's. */
  active_runs: number;
}

/** Schedules of all DAGs that are live, or of these. The last automated run is the latest scheduled or backfilled one. */
export async function dagSchedules(db: Database, dagIds?: readonly string[]): Promise<DagScheduleRow[]> {
  const { rows } = await sql<DagScheduleRow & { allowed: string | null }>`
    select dag.dag_id, is_paused, is_stale, has_import_errors, current_version_id, allowed_run_types as allowed,
      next_dagrun, next_dagrun_data_interval_start, next_dagrun_data_interval_end, next_dagrun_create_after,
      exceeds_max_non_backfill, timetable_error,
      last_run.logical_date as last_logical_date, last_run.data_interval_start as last_interval_start,
      last_run.data_interval_end as last_interval_end, last_run.run_after as last_run_after,
      (select count(*)::integer from dag_run r where r.dag_id = dag.dag_id and r.state in ('queued', 'running')
        and r.run_type <> 'backfill') as active_runs
    from dag left join lateral (
      (select logical_date, data_interval_start, data_interval_end, run_after from dag_run r
      where r.dag_id = dag.dag_id and r.run_type in ('scheduled', 'backfill') and r.logical_date is not null
        and not dag.timetable_partitioned
      order by r.logical_date desc limit 1)
      union all
      (select logical_date, data_interval_start, data_interval_end, run_after from dag_run r
      where r.dag_id = dag.dag_id and r.run_type in ('scheduled', 'backfill') and r.partition_key is not null
        and dag.timetable_partitioned
      order by r.partition_date desc nulls last, r.run_after desc limit 1)
    ) last_run on true
    where current_version_id is not null and ${dagIds === undefined ? sql`not is_stale` : sql`dag.dag_id = any(${dagIds}::text[])`}`.execute(
    db,
  );
  return rows.map(({ allowed, ...row }) => ({
    ...row,
    allowed_run_types: allowed === null ? null : (JSON.parse(allowed) as string[] | null),
  }));
}

/** What keeps the DAG from its next scheduled run. */
export function scheduleHolds(row: DagScheduleRow, maxActiveRuns: number | null): MakingHold[] {
  const facts = {
    isStale: row.is_stale,
    isPaused: row.is_paused,
    hasImportErrors: row.has_import_errors,
    maxActiveRuns,
    activeRuns: row.active_runs,
    allowedRunTypes: row.allowed_run_types,
  };
  return makingHolds(facts, "scheduled");
}

export interface NextRunFields {
  dagId: string;
  logicalDate: Instant | null;
  dataIntervalStart: Instant | null;
  dataIntervalEnd: Instant | null;
  createAfter: Instant | null;
  exceedsMaxActiveRuns: boolean;
  /** Why a timetable named no run; null: it was not at fault. */
  timetableError: string | null;
}

/** Whether the row says so already. */
export function saysNextRun(row: DagScheduleRow, next: NextRunFields): boolean {
  return (
    row.next_dagrun === next.logicalDate &&
    row.next_dagrun_data_interval_start === next.dataIntervalStart &&
    row.next_dagrun_data_interval_end === next.dataIntervalEnd &&
    row.next_dagrun_create_after === next.createAfter &&
    row.exceeds_max_non_backfill === next.exceedsMaxActiveRuns &&
    row.timetable_error === next.timetableError
  );
}

/** What the UI shows as the next runs, and what the scheduler waits for. */
export async function setNextRuns(db: Database, next: readonly NextRunFields[]): Promise<void> {
  const fields = next.map((each) => ({
    dag_id: each.dagId,
    logical_date: each.logicalDate,
    interval_start: each.dataIntervalStart,
    interval_end: each.dataIntervalEnd,
    create_after: each.createAfter,
    exceeds: each.exceedsMaxActiveRuns,
    error: each.timetableError,
  }));
  await sql`
    with wanted as (
      select * from json_to_recordset(${toJsonText(fields)}::json) as w(dag_id text, logical_date timestamptz,
        interval_start timestamptz, interval_end timestamptz, create_after timestamptz, exceeds boolean, error text)
    )
    update dag set next_dagrun = wanted.logical_date, next_dagrun_data_interval_start = wanted.interval_start,
      next_dagrun_data_interval_end = wanted.interval_end, next_dagrun_create_after = wanted.create_after,
      exceeds_max_non_backfill = wanted.exceeds, timetable_error = wanted.error
    from wanted where dag.dag_id = wanted.dag_id`.execute(db);
}

/** Which of these DAGs are paused: their runs do not advance. */
export async function pausedDags(db: Database): Promise<Set<string>> {
  const rows = await db.selectFrom("dag").select("dag_id").where("is_paused", "=", true).execute();
  return new Set(rows.map((row) => row.dag_id));
}
