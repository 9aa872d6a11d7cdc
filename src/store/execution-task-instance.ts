import { sql } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import type { TaskInstanceState } from "../domain/states.ts";
import type { Database } from "./database.ts";
import { prepared, type Pool } from "./execution-statement.ts";

/** What deciding the end of a try needs to know of it. */
export interface LiveTryRow {
  id: string;
  dag_run_id: number;
  dag_id: string;
  task_id: string;
  run_id: string;
  map_index: number;
  state: TaskInstanceState | null;
  try_number: number;
  max_tries: number;
  hostname: string;
  pid: number | null;
  dag_version_id: string | null;
  logical_date: Instant | null;
  fail_fast: boolean;
}

const liveTryStatement = prepared<LiveTryRow>(
  "execution-live-try",
  `select ti.id, ti.dag_run_id, ti.dag_id, ti.task_id, r.run_id, ti.map_index, ti.state, ti.try_number, ti.max_tries,
    ti.hostname, ti.pid, coalesce(ti.dag_version_id, r.dag_version_id) as dag_version_id, r.logical_date, d.fail_fast
  from task_instance ti join dag_run r on r.id = ti.dag_run_id join dag d on d.dag_id = ti.dag_id
  where ti.id = $1::uuid`,
);

/** null when the id names no live row. */
export async function findLiveTry(pool: Pool, id: string): Promise<LiveTryRow | null> {
  return (await liveTryStatement(pool, [id]))[0] ?? null;
}

const renderedFieldsStatement = prepared<{ task_id: string }>(
  "execution-rendered-fields",
  `insert into rendered_task_instance_fields (dag_run_id, task_id, map_index, rendered_fields)
  select dag_run_id, task_id, map_index, $2::json from task_instance where id = $1::uuid
  on conflict (dag_run_id, task_id, map_index) do update set rendered_fields = excluded.rendered_fields
  returning task_id`,
);

/** False when the id is no longer live. */
export async function storeRenderedFields(pool: Pool, id: string, fields: JsonText): Promise<boolean> {
  return (await renderedFieldsStatement(pool, [id, fields])).length > 0;
}

export async function storeRenderedMapIndex(db: Database, id: string, renderedMapIndex: string): Promise<boolean> {
  const result = await db
    .updateTable("task_instance")
    .set({ rendered_map_index: renderedMapIndex })
    .where("id", "=", id)
    .executeTakeFirst();
  return result.numUpdatedRows === 1n;
}

/**
 * Skips tasks of the run that the caller is running in. What runs, succeeded or failed already stays. Returns the run, or
 * null when the caller is not running.
 */
export async function skipTaskInstances(
  db: Database,
  callerId: string,
  tasks: readonly (readonly [taskId: string, mapIndex: number])[],
  now: Instant,
): Promise<{ dag_run_id: number; skipped: number } | null> {
  const { rows } = await sql<{ dag_run_id: number; skipped: number }>`
    with caller as (
      select dag_run_id from task_instance where id = ${callerId}::uuid and state is not distinct from 'running'
    ), wanted as (
      select * from unnest(${tasks.map(([taskId]) => taskId)}::text[], ${tasks.map(([, mapIndex]) => mapIndex)}::integer[])
        as w(task_id, map_index)
    ), skipped as (
      update task_instance as ti set
        state = 'skipped', start_date = ${now}::timestamptz, end_date = ${now}::timestamptz, duration = 0, wake_at = null,
        updated_at = ${now}::timestamptz
      from caller, wanted
      where ti.dag_run_id = caller.dag_run_id and ti.task_id = wanted.task_id and ti.map_index = wanted.map_index
        and (ti.state is null or ti.state not in ('running', 'success', 'failed', 'skipped'))
      returning ti.id
    )
    select dag_run_id, (select count(*)::integer from skipped) as skipped from caller`.execute(db);
  return rows[0] ?? null;
}

export interface TaskInstanceFilter {
  dagId: string;
  taskIds: readonly string[] | null;
  mapIndex: number | null;
  logicalDates: readonly Instant[] | null;
  runIds: readonly string[] | null;
}

function matching(db: Database, filter: TaskInstanceFilter) {
  let query = db
    .selectFrom("task_instance as ti")
    .innerJoin("dag_run as r", "r.id", "ti.dag_run_id")
    .where("ti.dag_id", "=", filter.dagId);
  if (filter.taskIds?.length) query = query.where("ti.task_id", "in", filter.taskIds);
  if (filter.mapIndex !== null) query = query.where("ti.map_index", "=", filter.mapIndex);
  if (filter.logicalDates?.length) query = query.where("r.logical_date", "in", filter.logicalDates);
  if (filter.runIds?.length) query = query.where("r.run_id", "in", filter.runIds);
  return query;
}

/** `states` may hold "null" for task instances without one. */
export async function countTaskInstances(
  db: Database,
  filter: TaskInstanceFilter,
  states: readonly string[] | null,
): Promise<number> {
  let query = matching(db, filter).select(sql<number>`count(*)`.as("count"));
  if (states?.length) {
    const named = states.filter((state) => state !== "null") as TaskInstanceState[];
    query = query.where((eb) =>
      eb.or([
        ...(named.length > 0 ? [eb("ti.state", "in", named)] : []),
        ...(states.includes("null") ? [eb("ti.state", "is", null)] : []),
      ]),
    );
  }
  return (await query.executeTakeFirstOrThrow()).count;
}

export async function taskInstanceStates(
  db: Database,
  filter: TaskInstanceFilter,
): Promise<{ run_id: string; task_id: string; map_index: number; state: TaskInstanceState | null }[]> {
  return await matching(db, filter)
    .select(["r.run_id", "ti.task_id", "ti.map_index", sql<TaskInstanceState | null>`ti.state`.as("state")])
    .execute();
}

/** Finished task instances of a run, briefly. */
export async function taskInstanceBreadcrumbs(db: Database, dagId: string, runId: string) {
  return await db
    .selectFrom("task_instance as ti")
    .innerJoin("dag_run as r", "r.id", "ti.dag_run_id")
    .where("r.dag_id", "=", dagId)
    .where("r.run_id", "=", runId)
    .where("ti.state", "in", ["success", "failed", "skipped", "upstream_failed", "removed"])
    .orderBy("ti.task_id")
    .orderBy("ti.map_index")
    .select(["ti.task_id", "ti.map_index", "ti.state", "ti.operator", "ti.duration"])
    .execute();
}

export interface PreviousTaskInstanceFilter {
  dagId: string;
  taskId: string;
  mapIndex: number;
  before: Instant | null;
  state: TaskInstanceState | null;
}

/** The same task in the run with the newest logical date (before the one given). */
export async function findPreviousTaskInstance(db: Database, filter: PreviousTaskInstanceFilter) {
  let query = db
    .selectFrom("task_instance as ti")
    .innerJoin("dag_run as r", "r.id", "ti.dag_run_id")
    .where("ti.dag_id", "=", filter.dagId)
    .where("ti.task_id", "=", filter.taskId)
    .where("ti.map_index", "=", filter.mapIndex);
  if (filter.before !== null) query = query.where("r.logical_date", "<", filter.before);
  if (filter.state !== null) query = query.where("ti.state", "=", filter.state);
  const row = await query
    .orderBy("r.logical_date", (order) => order.desc().nullsLast())
    .orderBy("r.id", "desc")
    .limit(1)
    .select(["ti.task_id", "ti.dag_id", "r.run_id", "r.logical_date", "ti.start_date", "ti.end_date", "ti.state"])
    .select(["ti.try_number", "ti.map_index", "ti.duration"])
    .executeTakeFirst();
  return row ?? null;
}

/** When the first poke of this try began; null when it was never rescheduled. */
export async function firstRescheduleStart(db: Database, id: string): Promise<Instant | null> {
  const row = await db
    .selectFrom("task_reschedule")
    .where("ti_id", "=", id)
    .orderBy("id")
    .limit(1)
    .select("start_date")
    .executeTakeFirst();
  return row?.start_date ?? null;
}
