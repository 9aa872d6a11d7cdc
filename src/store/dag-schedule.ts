import { sql } from "kysely";
import type { Instant } from "../kit/instant.ts";
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
  next_dagrun_create_after: Instant | null;
  last_logical_date: Instant | null;
  last_interval_start: Instant | null;
  last_interval_end: Instant | null;
  last_run_after: Instant | null;
  /** Queued and running runs that are not a backfill's. */
  active_runs: number;
}

/** Schedules of all DAGs that are live, or of one. The last automated run is the latest scheduled or backfilled one. */
export async function dagSchedules(db: Database, dagId?: string): Promise<DagScheduleRow[]> {
  const { rows } = await sql<DagScheduleRow & { allowed: string | null }>`
    select dag.dag_id, is_paused, is_stale, has_import_errors, current_version_id, allowed_run_types as allowed, next_dagrun_create_after,
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
    where current_version_id is not null and ${dagId === undefined ? sql`not is_stale` : sql`dag.dag_id = ${dagId}`}`.execute(
    db,
  );
  return rows.map(({ allowed, ...row }) => ({
    ...row,
    allowed_run_types: allowed === null ? null : (JSON.parse(allowed) as string[] | null),
  }));
}

export interface NextRunFields {
  logicalDate: Instant | null;
  dataIntervalStart: Instant | null;
  dataIntervalEnd: Instant | null;
  createAfter: Instant | null;
  exceedsMaxActiveRuns: boolean;
  /** Why a timetable named no run; null: it was not at fault. */
  timetableError: string | null;
}

/** What the UI shows as the next run, and what the scheduler waits for. */
export async function setNextRun(db: Database, dagId: string, next: NextRunFields): Promise<void> {
  await db
    .updateTable("dag")
    .set({
      next_dagrun: next.logicalDate,
      next_dagrun_data_interval_start: next.dataIntervalStart,
      next_dagrun_data_interval_end: next.dataIntervalEnd,
      next_dagrun_create_after: next.createAfter,
      exceeds_max_non_backfill: next.exceedsMaxActiveRuns,
      timetable_error: next.timetableError,
    })
    .where("dag_id", "=", dagId)
    .execute();
}

/** Which of these DAGs are paused: their runs do not advance. */
export async function pausedDags(db: Database): Promise<Set<string>> {
  const rows = await db.selectFrom("dag").select("dag_id").where("is_paused", "=", true).execute();
  return new Set(rows.map((row) => row.dag_id));
}
