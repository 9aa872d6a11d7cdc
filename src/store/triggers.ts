import { sql } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import type { TaskInstanceState } from "../domain/states.ts";
import type { Database } from "./database.ts";
import { DAG_RUN_COLUMNS, type ExecutionDagRunRow } from "./execution-dag-run.ts";
import { SETTLED_COLUMNS, SETTLED_RESULT, type SettledRow } from "./execution-settled.ts";
import { prepared, type Pool } from "./execution-statement.ts";

/** A trigger that a task waits for, with what its process needs to know. */
export interface WaitingTriggerRow {
  id: number;
  classpath: string;
  kwargs: string;
  ti_id: string;
  dag_run_id: number;
  dag_id: string;
  run_id: string;
  task_id: string;
  map_index: number;
  try_number: number;
  pool_slots: number;
  priority_weight: number;
  queue: string | null;
  hostname: string;
  trigger_timeout: Instant | null;
  next_kwargs: JsonText | null;
  dag_version_id: string;
  environment: string;
  archive_digest: string;
  dag_rel_path: string;
}

// Deferred rows are few among all: `state = 'deferred'` takes the index of live rows.
const waitingStatement = prepared<WaitingTriggerRow>(
  "triggers-waiting",
  `with waiting as (
    select ti.id as ti_id, ti.trigger_id from task_instance ti
    where ti.id = any($2::uuid[]) and ti.trigger_id is not null and ti.state is not distinct from 'deferred'
  ), taken as (
    update trigger t set triggerer_id = $1::bigint from (select distinct trigger_id from waiting) as w where t.id = w.trigger_id
    returning t.id, t.classpath, t.kwargs
  )
  select taken.id, taken.classpath, taken.kwargs, ti.id as ti_id, ti.dag_run_id, ti.dag_id, r.run_id, ti.task_id, ti.map_index,
    ti.try_number, ti.pool_slots, ti.priority_weight, ti.queue, ti.hostname, ti.trigger_timeout, ti.next_kwargs,
    v.id as dag_version_id, v.environment, v.archive_digest, v.dag_rel_path
  from taken join waiting w on w.trigger_id = taken.id join task_instance ti on ti.id = w.ti_id
    join dag_run r on r.id = ti.dag_run_id join dag_version v on v.id = coalesce(ti.dag_version_id, r.dag_version_id)
  order by ti.priority_weight desc, taken.id`,
);

/** The triggers that these task instances wait for, if they still do; from now on this triggerer job has them. */
export async function takeTriggers(pool: Pool, jobId: number, ids: readonly string[]): Promise<WaitingTriggerRow[]> {
  return ids.length === 0 ? [] : await waitingStatement(pool, [jobId, ids]);
}

/** What waits for a trigger now. */
export async function deferredTaskInstances(
  db: Database,
): Promise<{ id: string; trigger_id: number; trigger_timeout: Instant | null }[]> {
  const { rows } = await sql<{ id: string; trigger_id: number; trigger_timeout: Instant | null }>`
    select id, trigger_id, trigger_timeout from task_instance where state = 'deferred' and trigger_id is not null`.execute(
    db,
  );
  return rows;
}

/** The run of a task that starts from its trigger, and the DAG as Airflow serialized it. */
export async function startContextOf(
  db: Database,
  row: { dag_run_id: number; dag_version_id: string },
): Promise<(ExecutionDagRunRow & { serialized: JsonText }) | null> {
  const { rows } = await sql<ExecutionDagRunRow & { serialized: JsonText }>`
    select ${sql.raw(DAG_RUN_COLUMNS)}, v.serialized from dag_run r, dag_version v
    where r.id = ${row.dag_run_id} and v.id = ${row.dag_version_id}::uuid`.execute(db);
  return rows[0] ?? null;
}

const BACK_TO_SCHEDULED = `state = 'scheduled', scheduled_dttm = $3::timestamptz, trigger_id = null, trigger_timeout = null,
      wake_at = null, updated_at = $3::timestamptz`;

const resumeStatement = prepared<SettledRow>(
  "triggers-resume",
  `with fired as (
    select * from unnest($1::bigint[], $2::text[], $4::text[]) as f(trigger_id, next_kwargs, next_method)
  ), waiting as (
    select ti.id, fired.* from fired join task_instance ti on ti.trigger_id = fired.trigger_id
    where ti.state = 'deferred' for update of ti
  ), settled as (
    update task_instance ti set ${BACK_TO_SCHEDULED}, next_kwargs = waiting.next_kwargs::json,
      next_method = coalesce(waiting.next_method, ti.next_method)
    from waiting where ti.id = waiting.id
    returning ${SETTLED_COLUMNS}
  ), done as (
    delete from trigger using waiting where trigger.id = waiting.trigger_id
  )
  ${SETTLED_RESULT}`,
);

export interface Resumption {
  triggerId: number;
  nextKwargs: JsonText;
  /** null: the method it named when it deferred. */
  nextMethod: string | null;
}

/** Sends tasks whose triggers fired, or failed, back to be scheduled. Those that no longer wait are left alone. */
export async function resumeDeferred(
  pool: Pool,
  resumptions: readonly Resumption[],
  now: Instant,
): Promise<SettledRow[]> {
  if (resumptions.length === 0) return [];
  // A trigger that fired twice counts once.
  const first = new Map([...resumptions].reverse().map((one) => [one.triggerId, one]));
  const all = [...first.values()];
  return await resumeStatement(pool, [
    all.map(({ triggerId }) => triggerId),
    all.map(({ nextKwargs }) => nextKwargs),
    now,
    all.map(({ nextMethod }) => nextMethod),
  ]);
}

const timeOutStatement = prepared<SettledRow>(
  "triggers-time-out",
  `with settled as (
    update task_instance ti set ${BACK_TO_SCHEDULED}, next_method = '__fail__', next_kwargs = $2::json
    where ti.state = 'deferred' and ti.trigger_timeout <= $3::timestamptz
      and ($1::uuid[] is null or ti.id = any($1::uuid[]))
    returning ${SETTLED_COLUMNS}
  )
  ${SETTLED_RESULT}`,
);

/** Sends deferred tasks whose time is up back to fail in a process. */
export async function timeOutDeferred(
  pool: Pool,
  given: { ids: readonly string[]; nextKwargs: JsonText; now: Instant },
): Promise<SettledRow[]> {
  return given.ids.length === 0 ? [] : await timeOutStatement(pool, [given.ids, given.nextKwargs, given.now]);
}

/** The task instances that wait for a trigger. */
export async function waitingFor(db: Database, triggerId: number): Promise<string[]> {
  const rows = await db
    .selectFrom("task_instance")
    .select("id")
    .where("trigger_id", "=", triggerId)
    .where("state", "=", "deferred")
    .execute();
  return rows.map(({ id }) => id);
}

/**
 * Airflow's `Trigger.clean_unused`: what left "deferred" no longer names its trigger, and a trigger goes that no task, no
 * callback and no asset waits for. Returns how many went.
 */
export async function cleanUnusedTriggers(db: Database): Promise<number> {
  await sql`
    update task_instance set trigger_id = null
    where trigger_id is not null and state is distinct from 'deferred'`.execute(db);
  const { rows } = await sql`
    delete from trigger t
    where not exists (select 1 from task_instance ti where ti.trigger_id = t.id)
      and not exists (
        select 1 from callback c where c.trigger_id = t.id and c.state in ('pending', 'queued', 'running'))
      and not exists (select 1 from asset_watcher w where w.trigger_id = t.id)
    returning t.id`.execute(db);
  return rows.length;
}

const startFromTriggerStatement = prepared<SettledRow>(
  "triggers-start",
  `with live as (
    select ti.id, coalesce(ti.dag_version_id, r.dag_version_id) as dag_version_id, ti.task_id
    from task_instance ti join dag_run r on r.id = ti.dag_run_id
    where ti.id = $1::uuid and ti.state is not distinct from $2::text for update of ti
  ), args as (
    select task->'__var'->'start_trigger_args' as given
    from live join dag_version v on v.id = live.dag_version_id, json_array_elements(v.serialized->'dag'->'tasks') as task
    where task->'__var'->>'task_id' = live.task_id
  ), made as (
    insert into trigger (classpath, kwargs, created_date)
    select given->>'trigger_cls', case when json_typeof(given->'trigger_kwargs') = 'object'
      then (given->'trigger_kwargs')::text else '{}' end, $4::timestamptz
    from args
    returning trigger.id
  ), due as (
    select least($4::timestamptz + make_interval(secs => (given->>'timeout')::double precision),
      $4::timestamptz + make_interval(secs => $5::double precision)) as at from args
  ), settled as (
    update task_instance as ti set
      state = 'deferred', trigger_id = made.id, next_method = given->>'next_method',
      next_kwargs = case when json_typeof(given->'next_kwargs') = 'object' then given->'next_kwargs' else '{}'::json end,
      start_date = $4::timestamptz, try_number = $3::integer, trigger_timeout = due.at, wake_at = due.at,
      updated_at = $4::timestamptz
    from live, made, args, due where ti.id = live.id
    returning ${SETTLED_COLUMNS}
  )
  ${SETTLED_RESULT}`,
);

export interface StartFromTrigger {
  id: string;
  expected: TaskInstanceState | null;
  tryNumber: number;
  now: Instant;
  executionTimeoutSeconds: number | null;
}

/** Defers a task without starting it (`start_from_trigger`). null when it was no longer in the expected state. */
export async function startFromTrigger(pool: Pool, start: StartFromTrigger): Promise<SettledRow | null> {
  const { id, expected, tryNumber, now, executionTimeoutSeconds } = start;
  return (await startFromTriggerStatement(pool, [id, expected, tryNumber, now, executionTimeoutSeconds]))[0] ?? null;
}
