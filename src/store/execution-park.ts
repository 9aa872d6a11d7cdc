import type { Instant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import type { TaskInstanceState } from "../domain/states.ts";
import { HITL_COLUMNS } from "./execution-hitl.ts";
import { prepared, type Pool } from "./execution-statement.ts";
import { SETTLED_COLUMNS, SETTLED_LOGGED, SETTLED_RESULT, type SettledRow } from "./execution-settled.ts";

// What leaves "running" to come back later: retry, reschedule, deferral, waiting for a person.

// The try that ends is copied before its row gets a new id; a clear may have copied it already. History has no unfinished
// states: whatever was going on failed.
const retryStatement = prepared<SettledRow>(
  "execution-retry",
  `with live as (
    select * from task_instance where id = $1::uuid and coalesce(state, '') = any($9::text[]) for update
  ), archived as (
    insert into task_instance_history (id, dag_run_id, dag_id, task_id, map_index, state, try_number, max_tries,
      task_display_name, operator, custom_operator_name, pool, pool_slots, queue, executor, executor_config, priority_weight,
      dag_version_id, scheduled_dttm, queued_dttm, start_date, end_date, duration, hostname, unixname, pid, worker_id, retry_reason,
      trigger_id, trigger_timeout, next_method, next_kwargs, rendered_map_index, rendered_fields, note, note_user_id)
    select live.id, live.dag_run_id, live.dag_id, live.task_id, live.map_index, 'failed', live.try_number, live.max_tries,
      live.task_display_name, live.operator, live.custom_operator_name, live.pool, live.pool_slots, live.queue, live.executor,
      live.executor_config, live.priority_weight, live.dag_version_id, live.scheduled_dttm, live.queued_dttm,
      coalesce(live.start_date, $3::timestamptz), $3::timestamptz,
      extract(epoch from $3::timestamptz - coalesce(live.start_date, $3::timestamptz)), live.hostname, live.unixname, live.pid,
      live.worker_id, $6::text, live.trigger_id, live.trigger_timeout, live.next_method, live.next_kwargs,
      coalesce($7::text, live.rendered_map_index), f.rendered_fields, live.note, live.note_user_id
    from live left join rendered_task_instance_fields f
      on f.dag_run_id = live.dag_run_id and f.task_id = live.task_id and f.map_index = live.map_index
    on conflict do nothing
  ), reschedules_dropped as (
    delete from task_reschedule using live where ti_id = live.id
  ), request_kept as (
    insert into hitl_detail_history (ti_id, ${HITL_COLUMNS})
    select ti_id, ${HITL_COLUMNS} from hitl_detail where ti_id = $1::uuid and exists (select from live)
    on conflict do nothing
  ), settled as (
    update task_instance as ti set
      id = $2::uuid, state = 'up_for_retry', end_date = $3::timestamptz,
      duration = extract(epoch from $3::timestamptz - coalesce(ti.start_date, $3::timestamptz)), wake_at = $4::timestamptz,
      retry_delay_override = $5::double precision, retry_reason = $6::text, next_method = null, next_kwargs = null,
      worker_id = null, lease_until = null, trigger_id = null, trigger_timeout = null, rendered_map_index = coalesce($7::text, ti.rendered_map_index),
      updated_at = $8::timestamptz
    from live where ti.id = live.id
    returning ${SETTLED_COLUMNS}, $6::text as reason
  ), ${SETTLED_LOGGED}
  ${SETTLED_RESULT}`,
);

export interface Retry {
  id: string;
  newId: string;
  endDate: Instant;
  wakeAt: Instant;
  delayOverrideSeconds: number | null;
  reason: string | null;
  renderedMapIndex: string | null;
  now: Instant;
  from: readonly TaskInstanceState[];
}

/** Ends a try that will be made again: archives it, and gives the row a new id. null when it was in no expected state. */
export async function retryTaskInstance(pool: Pool, retry: Retry): Promise<SettledRow | null> {
  const { id, newId, endDate, wakeAt, delayOverrideSeconds, reason, renderedMapIndex, now, from } = retry;
  const values = [id, newId, endDate, wakeAt, delayOverrideSeconds, reason, renderedMapIndex, now, from];
  return (await retryStatement(pool, values))[0] ?? null;
}

const rescheduleStatement = prepared<SettledRow>(
  "execution-reschedule",
  `with live as (
    select id, dag_run_id, coalesce(start_date, $2::timestamptz) as start_date from task_instance
    where id = $1::uuid and state is not distinct from 'running' for update
  ), noted as (
    insert into task_reschedule (ti_id, dag_run_id, start_date, end_date, duration, reschedule_date)
    select id, dag_run_id, start_date, $2::timestamptz, extract(epoch from $2::timestamptz - start_date)::integer, $3::timestamptz
    from live
  ), settled as (
    update task_instance as ti set
      state = 'up_for_reschedule', end_date = $2::timestamptz, duration = extract(epoch from $2::timestamptz - live.start_date),
      wake_at = $3::timestamptz, next_method = null, next_kwargs = null, updated_at = $4::timestamptz
    from live where ti.id = live.id
    returning ${SETTLED_COLUMNS}, null::text as reason
  ), ${SETTLED_LOGGED}
  ${SETTLED_RESULT}`,
);

export async function rescheduleTaskInstance(
  pool: Pool,
  reschedule: { id: string; endDate: Instant; rescheduleDate: Instant; now: Instant },
): Promise<SettledRow | null> {
  const { id, endDate, rescheduleDate, now } = reschedule;
  return (await rescheduleStatement(pool, [id, endDate, rescheduleDate, now]))[0] ?? null;
}

const deferStatement = prepared<SettledRow>(
  "execution-defer",
  `with live as (
    select id from task_instance where id = $1::uuid and state is not distinct from 'running' for update
  ), made as (
    insert into trigger (classpath, kwargs, queue, created_date)
    select $2::text, $3::text, $4::text, $9::timestamptz from live
    returning trigger.id
  ), settled as (
    update task_instance as ti set
      state = 'deferred', trigger_id = made.id, next_method = $5::text, next_kwargs = $6::json,
      trigger_timeout = $7::timestamptz, wake_at = $7::timestamptz,
      rendered_map_index = coalesce($8::text, ti.rendered_map_index), updated_at = $9::timestamptz
    from live, made where ti.id = live.id
    returning ${SETTLED_COLUMNS}, null::text as reason
  ), ${SETTLED_LOGGED}
  ${SETTLED_RESULT}`,
);

export interface Deferral {
  id: string;
  classpath: string;
  /** Plain JSON, or what the worker encrypted: stored as it came. */
  triggerKwargs: string;
  queue: string | null;
  nextMethod: string;
  nextKwargs: JsonText;
  timeoutAt: Instant | null;
  renderedMapIndex: string | null;
  now: Instant;
}

export async function deferTaskInstance(pool: Pool, deferral: Deferral): Promise<SettledRow | null> {
  const { id, classpath, triggerKwargs, queue, nextMethod, nextKwargs, timeoutAt, renderedMapIndex, now } = deferral;
  const values = [id, classpath, triggerKwargs, queue, nextMethod, nextKwargs, timeoutAt, renderedMapIndex, now];
  return (await deferStatement(pool, values))[0] ?? null;
}

const awaitInputStatement = prepared<SettledRow>(
  "execution-await-input",
  `with settled as (
    update task_instance as ti set
      state = 'awaiting_input', trigger_id = null, next_method = $2::text, next_kwargs = $3::json,
      trigger_timeout = $4::timestamptz, wake_at = $4::timestamptz,
      rendered_map_index = coalesce($5::text, ti.rendered_map_index), updated_at = $6::timestamptz
    where ti.id = $1::uuid and ti.state is not distinct from 'running'
    returning ${SETTLED_COLUMNS}, null::text as reason
  ), ${SETTLED_LOGGED}
  ${SETTLED_RESULT}`,
);

export async function awaitInputTaskInstance(
  pool: Pool,
  waiting: Pick<Deferral, "id" | "nextMethod" | "nextKwargs" | "timeoutAt" | "renderedMapIndex" | "now">,
): Promise<SettledRow | null> {
  const { id, nextMethod, nextKwargs, timeoutAt, renderedMapIndex, now } = waiting;
  return (await awaitInputStatement(pool, [id, nextMethod, nextKwargs, timeoutAt, renderedMapIndex, now]))[0] ?? null;
}
