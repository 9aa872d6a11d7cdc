import type { Instant } from "../kit/instant.ts";
import type { TaskInstanceState } from "../domain/states.ts";
import { prepared, type Pool } from "./execution-statement.ts";
import { SETTLED_COLUMNS, SETTLED_LOGGED, SETTLED_RESULT, type SettledRow } from "./execution-settled.ts";

const finishStatement = prepared<SettledRow>(
  "execution-finish",
  `with settled as (
    update task_instance as ti set
      state = $2::text, start_date = coalesce(ti.start_date, $3::timestamptz), end_date = $3::timestamptz,
      duration = extract(epoch from $3::timestamptz - coalesce(ti.start_date, $3::timestamptz)), next_method = null,
      next_kwargs = null, wake_at = null, rendered_map_index = coalesce($4::text, ti.rendered_map_index),
      updated_at = $5::timestamptz
    where ti.id = $1::uuid and coalesce(ti.state, '') = any($6::text[])
    returning ${SETTLED_COLUMNS}, $7::text as reason
  ), ${SETTLED_LOGGED}
  ${SETTLED_RESULT}`,
);

export interface Finish {
  id: string;
  state: "success" | "failed" | "skipped" | "removed" | "upstream_failed";
  endDate: Instant;
  renderedMapIndex: string | null;
  now: Instant;
  /** States it may be in; a report of the task itself finds it running. */
  from?: readonly TaskInstanceState[];
  reason?: string | null;
}

const RUNNING: readonly TaskInstanceState[] = ["running"];

/** Ends a try for good. null when it was in none of the expected states. */
export async function finishTaskInstance(pool: Pool, finish: Finish): Promise<SettledRow | null> {
  const { id, state, endDate, renderedMapIndex, now, from = RUNNING, reason = null } = finish;
  const values = [id, state, endDate, renderedMapIndex, now, from, reason];
  return (await finishStatement(pool, values))[0] ?? null;
}

const failFastStatement = prepared<SettledRow & { stopped: { id: string; killed: boolean }[] }>(
  "execution-fail-fast",
  `with settled as (
    update task_instance as ti set
      state = 'failed', start_date = coalesce(ti.start_date, $2::timestamptz), end_date = $2::timestamptz,
      duration = extract(epoch from $2::timestamptz - coalesce(ti.start_date, $2::timestamptz)), next_method = null,
      next_kwargs = null, wake_at = null, rendered_map_index = coalesce($3::text, ti.rendered_map_index),
      updated_at = $4::timestamptz
    where ti.id = $1::uuid and coalesce(ti.state, '') = any($5::text[])
    returning ${SETTLED_COLUMNS}, $6::text as reason
  ), ${SETTLED_LOGGED}, others as (
    select ti.id, ti.state from task_instance ti join settled on ti.dag_run_id = settled.dag_run_id
    where ti.task_id <> settled.task_id and ti.task_id <> all($7::text[])
      and (ti.state is null or ti.state not in ('success', 'failed', 'skipped', 'upstream_failed', 'removed'))
    for update of ti
  ), stopped as (
    update task_instance as ti set
      state = case when others.state = 'running' then 'failed' else 'skipped' end,
      start_date = coalesce(ti.start_date, $4::timestamptz), end_date = $4::timestamptz,
      duration = extract(epoch from $4::timestamptz - coalesce(ti.start_date, $4::timestamptz)), wake_at = null,
      updated_at = $4::timestamptz
    from others where ti.id = others.id
    returning ti.id, ti.dag_id, ti.dag_run_id, ti.task_id, ti.map_index, ti.try_number, others.state as previous
  ), stops_logged as (
    insert into log (dag_id, task_id, map_index, event, logical_date, run_id, extra, try_number)
    select stopped.dag_id, stopped.task_id, stopped.map_index,
      case when previous = 'running' then 'fail task' else 'skip task' end, r.logical_date, r.run_id,
      case when previous = 'running' then 'Forcing task to fail due to dag''s \`fail_fast\` setting.'
        else 'Skipping task due to dag''s \`fail_fast\` setting.' end, stopped.try_number
    from stopped join dag_run r on r.id = stopped.dag_run_id
  )
  select outcome.*, (select coalesce(jsonb_agg(jsonb_build_object('id', id, 'killed', coalesce(previous in ('running', 'queued', 'deferred'), false))), '[]')
    from stopped) as stopped
  from (${SETTLED_RESULT}) as outcome`,
);

export type FailFast = Omit<Finish, "state" | "reason"> & {
  reason?: string | null;
  /** Tasks that run even so. */
  teardownTaskIds: readonly string[];
};

/** Fails a try of a `fail_fast` DAG: what runs beside it fails too, what has not run is skipped, teardowns go on. */
export async function failFastTaskInstance(
  pool: Pool,
  fail: FailFast,
): Promise<(SettledRow & { stopped: { id: string; killed: boolean }[] }) | null> {
  const { id, endDate, renderedMapIndex, now, from = RUNNING, reason = null, teardownTaskIds } = fail;
  const values = [id, endDate, renderedMapIndex, now, from, reason, teardownTaskIds];
  return (await failFastStatement(pool, values))[0] ?? null;
}
