import { sql } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import type { TaskInstanceState } from "../domain/states.ts";
import type { Database } from "./database.ts";

/** One try of a task instance, over or not. */
export interface TryRow {
  id: string;
  task_id: string;
  dag_id: string;
  run_id: string;
  map_index: number;
  start_date: Instant | null;
  end_date: Instant | null;
  duration: number | null;
  state: TaskInstanceState | null;
  try_number: number;
  max_tries: number;
  task_display_name: string;
  dag_display_name: string;
  hostname: string;
  unixname: string;
  pool: string;
  pool_slots: number;
  queue: string | null;
  priority_weight: number | null;
  operator: string | null;
  custom_operator_name: string | null;
  queued_dttm: Instant | null;
  scheduled_dttm: Instant | null;
  pid: number | null;
  executor: string | null;
  executor_config: JsonText | null;
  version_id: string | null;
  version_number: number | null;
  bundle_name: string | null;
  bundle_version: string | null;
  version_created_at: Instant | null;
  /** Whether it is the row that lives on, not one of the history. */
  live: boolean;
}

/**
 * The tries of a task instance, earlier ones first. While it is up_for_retry the live row only waits: the try it tells of is in
 * the history already.
 */
export async function findTries(
  db: Database,
  place: { dagId: string; runId: string; taskId: string; mapIndex: number },
  tryNumber?: number,
): Promise<TryRow[]> {
  const columns = sql`id, dag_run_id, task_id, dag_id, map_index, start_date, end_date, duration, state, try_number, max_tries,
    task_display_name, hostname, unixname, pool, pool_slots, queue, priority_weight, operator, custom_operator_name, queued_dttm,
    scheduled_dttm, pid, executor, executor_config, dag_version_id`;
  const { rows } = await sql<TryRow>`
    with run as (
      select id, run_id from dag_run where dag_id = ${place.dagId} and run_id = ${place.runId}
    ), one_try as (
      select ${columns}, false as live from task_instance_history
      union all
      select ${columns}, true as live from task_instance
      where ${tryNumber !== undefined} or state is distinct from 'up_for_retry'
    )
    select t.id, t.task_id, t.dag_id, run.run_id, t.map_index, t.start_date, t.end_date, t.duration, t.state, t.try_number,
      t.max_tries, coalesce(t.task_display_name, t.task_id) as task_display_name,
      coalesce(dag.dag_display_name, t.dag_id) as dag_display_name, t.hostname, t.unixname, t.pool, t.pool_slots, t.queue,
      t.priority_weight, t.operator, t.custom_operator_name, t.queued_dttm, t.scheduled_dttm, t.pid, t.executor,
      t.executor_config, dv.id as version_id, dv.version_number, dv.bundle_name, dv.bundle_version,
      dv.created_at as version_created_at, t.live
    from run join one_try t on t.dag_run_id = run.id
    left join dag using (dag_id)
    left join dag_version dv on dv.id = t.dag_version_id
    where t.task_id = ${place.taskId} and t.map_index = ${place.mapIndex}
      and (${tryNumber ?? null}::integer is null or t.try_number = ${tryNumber ?? null})
    order by t.live, t.try_number`.execute(db);
  return rows;
}
