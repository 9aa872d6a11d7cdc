import { sql } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import type { Database } from "./database.ts";
import { instantText } from "./instant-text.ts";
import type { Executor } from "./transaction.ts";

/** Notes what these DAG versions promise, each with an id of its own. */
export async function insertDeadlineAlerts(db: Executor, versionIds: readonly string[]): Promise<void> {
  if (versionIds.length === 0) return;
  await sql`
    insert into deadline_alert (id, dag_version_id, position, name, reference, interval, callback_def, created_at)
    select gen_random_uuid(), v.id, alert.position, alert.value->>'name', alert.value->'reference', alert.value->'interval',
      alert.value->'callback', v.created_at
    from dag_version v
      cross join lateral json_array_elements(v.serialized->'dag'->'deadline') with ordinality as alert(value, position)
    where v.id = any(${versionIds}::uuid[])`.execute(db);
}

/** Whether a serialized DAG promises anything: cheaper than parsing it. */
export function hasDeadlines(serialized: JsonText): boolean {
  return /"deadline": ?\[ ?\{/.test(serialized);
}

/**
 * The deadlines of a run that is made by the same statement: CTEs behind `made`, which returns id, dag_id, dag_version_id,
 * logical_date and queued_at. A reference that has no time (a run without a logical date, too few runs for an average) makes
 * none, as in Airflow. What only a Variable or Python code knows is left to be resolved.
 */
export const DEADLINES_OF_MADE_RUN = sql.raw(`made_deadlines as (
      insert into deadline (id, dag_run_id, deadline_alert_id, deadline_time, unresolved, created_at, last_updated_at)
      select gen_random_uuid(), made.id, alert.id,
        reference.at + make_interval(secs => case when reference.is_custom then 0 else coalesce(allowed.seconds, 0) end),
        allowed.seconds is null or reference.is_custom,
        made.queued_at, made.queued_at
      from made join deadline_alert alert on alert.dag_version_id = made.dag_version_id
        cross join lateral (select case
          when json_typeof(alert.interval) = 'number' then (alert.interval #>> '{}')::double precision
          when json_typeof(alert.interval->'__data__') = 'number' then (alert.interval->>'__data__')::double precision
        end as seconds) as allowed
        cross join lateral (select case
          when alert.reference->>'__class_path' is not null then made.queued_at
          when alert.reference->>'reference_type' = 'DagRunQueuedAtDeadline' then made.queued_at
          when alert.reference->>'reference_type' = 'DagRunLogicalDateDeadline' then made.logical_date
          when alert.reference->>'reference_type' = 'FixedDatetimeDeadline'
            then to_timestamp((alert.reference->>'datetime')::double precision)
          when alert.reference->>'reference_type' = 'AverageRuntimeDeadline' then made.queued_at + (
            select case when count(*) >= coalesce((alert.reference->>'min_runs')::integer, (alert.reference->>'max_runs')::integer)
              then avg(r.end_date - r.start_date) end
            from (
              select start_date, end_date from dag_run
              where dag_id = made.dag_id and state = 'success' and start_date is not null and end_date is not null
              order by logical_date desc limit (alert.reference->>'max_runs')::integer
            ) as r)
        end as at, alert.reference->>'__class_path' is not null as is_custom) as reference
      where reference.at is not null
    )`);

/** A run that succeeded in time needs its deadlines no more. Those that are missed, or not looked at yet, stay. */
export async function pruneDeadlines(db: Executor, dagRunId: number): Promise<void> {
  await sql`
    delete from deadline using dag_run
    where dag_run.id = deadline.dag_run_id and dag_run.id = ${dagRunId} and not deadline.missed
      and dag_run.end_date <= deadline.deadline_time`.execute(db);
}

/** When the next deadline passes; null while there is none. */
export async function nextDeadline(db: Database): Promise<Instant | null> {
  const { rows } = await sql<{ at: Instant | null }>`
    select min(deadline_time) as at from deadline where not missed and not unresolved`.execute(db);
  return rows[0]?.at ?? null;
}

export async function anyDeadlineAlert(db: Database): Promise<boolean> {
  const { rows } = await sql`select 1 from deadline_alert limit 1`.execute(db);
  return rows.length > 0;
}

export interface UnresolvedDeadline {
  id: string;
  dag_id: string;
  run_id: string;
  reference: JsonText;
  interval: JsonText;
  environment: string;
  archive_digest: string;
  dag_rel_path: string;
}

export async function unresolvedDeadlines(db: Database): Promise<UnresolvedDeadline[]> {
  const { rows } = await sql<UnresolvedDeadline>`
    select d.id, r.dag_id, r.run_id, alert.reference, alert.interval, v.environment, v.archive_digest, v.dag_rel_path
    from deadline d join deadline_alert alert on alert.id = d.deadline_alert_id join dag_run r on r.id = d.dag_run_id
      join dag_version v on v.id = alert.dag_version_id
    where d.unresolved order by d.created_at`.execute(db);
  return rows;
}

/** Says when it is: so many seconds after `from`, or after what its reference is known to be. */
export async function resolveDeadline(
  db: Database,
  id: string,
  when: { from: Instant | null; seconds: number; now: Instant },
): Promise<void> {
  await sql`
    update deadline set unresolved = false, last_updated_at = ${when.now}::timestamptz,
      deadline_time = coalesce(${when.from}::timestamptz, deadline_time)
        + make_interval(secs => ${when.seconds}::double precision)
    where id = ${id}::uuid and unresolved`.execute(db);
}

/** It cannot be known: the run has no such deadline. */
export async function dropDeadline(db: Database, id: string): Promise<void> {
  await db.deleteFrom("deadline").where("id", "=", id).where("missed", "=", false).execute();
}

/** `dag_run r` of `dag d` as Airflow's API describes it (DAGRunResponse). */
const RUN_RESPONSE = sql.raw(`json_build_object('dag_run_id', r.run_id, 'dag_id', r.dag_id,
      ${["logical_date", "queued_at", "start_date", "end_date", "data_interval_start", "data_interval_end", "run_after", "last_scheduling_decision", "partition_date"].map((name) => `'${name}', ${instantText(`r.${name}`)}`).join(", ")},
      'duration', extract(epoch from r.end_date - r.start_date), 'run_type', r.run_type, 'state', r.state,
      'triggered_by', r.triggered_by, 'triggering_user_name', r.triggering_user_name, 'conf', r.conf, 'note', r.note,
      'dag_versions', (select coalesce(json_agg(json_build_object('id', v.id, 'version_number', v.version_number,
        'dag_id', v.dag_id, 'bundle_name', v.bundle_name, 'bundle_version', v.bundle_version,
        'created_at', ${instantText("v.created_at")}, 'dag_display_name', coalesce(d.dag_display_name, d.dag_id),
        'bundle_url', null)), '[]') from dag_version v where v.id = r.dag_version_id),
      'bundle_version', r.bundle_version, 'dag_display_name', coalesce(d.dag_display_name, d.dag_id),
      'partition_key', r.partition_key)`);

/** A datetime in UTC as the SDK serializes it. */
const SERDE_TIME = sql.raw(`json_build_object('__classname__', 'datetime.datetime', '__version__', 2,
      '__data__', json_build_object('timestamp', extract(epoch from due.deadline_time)::double precision,
        'tz', json_build_object('__classname__', 'builtins.tuple', '__version__', 1,
          '__data__', json_build_array('UTC', 'pendulum.tz.timezone.Timezone', 1, true))))`);

/**
 * Marks deadlines that have passed as missed and has their callbacks called: those of the triggerer as triggers, the others
 * by executors. Returns how many of each there were.
 */
export async function missDeadlines(
  db: Database,
  now: Instant,
  limit = 200,
): Promise<{ id: string; dag_id: string; run_id: string; alert: string | null; type: "triggerer" | "executor" }[]> {
  const { rows } = await sql<{
    id: string;
    dag_id: string;
    run_id: string;
    alert: string | null;
    type: "triggerer" | "executor";
  }>`
    with due as (
      select d.id, d.dag_run_id, d.deadline_time, alert.name, alert.callback_def->'__data__' as callback,
        alert.dag_version_id, gen_random_uuid() as callback_id,
        case when alert.callback_def->>'__classname__' like '%.AsyncCallback' then 'triggerer' else 'executor' end as type,
        case when alert.callback_def->>'__classname__' like '%.AsyncCallback'
          then nextval(pg_get_serial_sequence('trigger', 'id')) end as trigger_id
      from deadline d join deadline_alert alert on alert.id = d.deadline_alert_id
      where not d.missed and not d.unresolved and d.deadline_time < ${now}::timestamptz
      order by d.deadline_time limit ${limit} for update of d skip locked
    ), told as (
      select due.*, r.dag_id, r.run_id, coalesce(due.callback->'kwargs', '{}') as kwargs,
        json_build_object('dag_run', ${RUN_RESPONSE},
          'deadline', json_build_object('id', due.id, 'deadline_time', ${SERDE_TIME})) as context
      from due join dag_run r on r.id = due.dag_run_id join dag d on d.dag_id = r.dag_id
    ), with_context as (
      select *, case when json_typeof(kwargs) = 'object' and kwargs::text !~ '^\\s*\\{\\s*\\}\\s*$'
        then regexp_replace(kwargs::text, '\\}\\s*$', '') || ', "context": ' || context::text || '}'
        else '{"context": ' || context::text || '}' end as all_kwargs
      from told
    ), triggers as (
      insert into trigger (id, classpath, kwargs, created_date) overriding system value
      select trigger_id, 'airflow.triggers.callback.CallbackTrigger',
        '{"callback_path": ' || (callback->'path')::text || ', "callback_kwargs": ' || all_kwargs || '}', ${now}::timestamptz
      from with_context where type = 'triggerer'
    ), called as (
      insert into callback (id, type, state, dag_run_id, dag_version_id, data, trigger_id, created_at, updated_at)
      select callback_id, type, case type when 'triggerer' then 'queued' else 'pending' end, dag_run_id, dag_version_id,
        json_build_object('kind', 'path', 'path', callback->'path', 'kwargs', all_kwargs::json), trigger_id,
        ${now}::timestamptz, ${now}::timestamptz
      from with_context
    ), missed as (
      update deadline set missed = true, callback_id = due.callback_id, last_updated_at = ${now}::timestamptz
      from due where deadline.id = due.id
    )
    select id, dag_id, run_id, name as alert, type from with_context`.execute(db);
  return rows;
}
