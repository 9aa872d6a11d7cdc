import { sql } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { DagRunState, TaskInstanceState } from "../domain/states.ts";
import type { Database } from "./database.ts";
import { allOf, column, inRange, type Range } from "./filters.ts";

/** As much of a run as the lists show. */
export interface RunGlance {
  id: number;
  dag_id: string;
  run_id: string;
  logical_date: Instant | null;
  run_after: Instant;
  start_date: Instant | null;
  end_date: Instant | null;
  state: DagRunState;
}

/** The latest runs of each of these DAGs, newest first. */
export async function latestRuns(db: Database, dagIds: readonly string[], perDag: number): Promise<RunGlance[]> {
  const { rows } = await sql<RunGlance>`
    select run.*
    from unnest(${dagIds}::text[]) as wanted (dag_id)
    cross join lateral (
      select dr.id, dr.dag_id, dr.run_id, dr.logical_date, dr.run_after, dr.start_date, dr.end_date, dr.state
      from dag_run dr where dr.dag_id = wanted.dag_id order by dr.run_after desc, dr.id desc limit ${perDag}
    ) run
    order by run.run_after desc, run.id desc`.execute(db);
  return rows;
}

/** Which of these DAGs the user likes. */
export async function favoritesAmong(db: Database, userId: string, dagIds: readonly string[]): Promise<Set<string>> {
  const rows = await db
    .selectFrom("dag_favorite")
    .select("dag_id")
    .where("user_id", "=", userId)
    .where("dag_id", "in", dagIds.length > 0 ? dagIds : [""])
    .execute();
  return new Set(rows.map((row) => row.dag_id));
}

/** How long the last hundred finished runs took, in seconds; undefined when there is no such run. */
export async function recentDurations(db: Database, dagId: string, runId: string): Promise<number[] | undefined> {
  const { rows } = await sql<{ known: boolean; durations: number[] }>`
    select exists (select from dag_run where dag_id = ${dagId} and run_id = ${runId}) as known,
      array(
        select extract(epoch from dr.end_date - dr.start_date)::float8 from dag_run dr
        where dr.dag_id = ${dagId} and dr.state in ('success', 'failed') and dr.start_date is not null
        order by dr.run_after desc limit 100
      ) as durations`.execute(db);
  return rows[0]?.known ? rows[0].durations : undefined;
}

export interface GanttBar {
  task_id: string;
  task_display_name: string;
  try_number: number;
  state: TaskInstanceState | null;
  scheduled_dttm: Instant | null;
  queued_dttm: Instant | null;
  start_date: Instant | null;
  end_date: Instant | null;
}

/** Every try of a run's unmapped tasks; one that waits for its retry is in the history already. */
export async function ganttBars(db: Database, dagId: string, runId: string): Promise<GanttBar[]> {
  const { rows } = await sql<GanttBar>`
    with run as (select id from dag_run where dag_id = ${dagId} and run_id = ${runId})
    select ti.task_id, coalesce(ti.task_display_name, ti.task_id) as task_display_name, ti.try_number, ti.state,
      ti.scheduled_dttm, ti.queued_dttm, ti.start_date, ti.end_date
    from task_instance ti join run on run.id = ti.dag_run_id
    where ti.map_index = -1 and ti.state is distinct from 'up_for_retry'
    union all
    select old.task_id, coalesce(old.task_display_name, old.task_id), old.try_number, old.state, old.scheduled_dttm,
      old.queued_dttm, old.start_date, old.end_date
    from task_instance_history old join run on run.id = old.dag_run_id
    where old.map_index = -1
    order by task_id, try_number`.execute(db);
  return rows;
}

export interface CalendarCell {
  date: Instant;
  state: DagRunState;
  count: number;
}

/** Past runs by day or hour, in UTC. */
export async function calendarCells(
  db: Database,
  dagId: string,
  filter: { logicalDate: Range<Instant>; partitionDate: Range<Instant>; granularity: "daily" | "hourly" },
): Promise<CalendarCell[]> {
  const conditions = [
    ...inRange(column("dr.logical_date"), filter.logicalDate),
    ...inRange(column("dr.partition_date"), filter.partitionDate),
  ];
  const unit = filter.granularity === "daily" ? "day" : "hour";
  const { rows } = await sql<CalendarCell>`
    select date_trunc(${unit}, coalesce(dr.partition_date, dr.logical_date), 'UTC') as date, dr.state, count(*) as count
    from dag_run dr
    where dr.dag_id = ${dagId} and coalesce(dr.partition_date, dr.logical_date) is not null and ${allOf(conditions)}
    group by 1, 2
    order by 1`.execute(db);
  return rows;
}
