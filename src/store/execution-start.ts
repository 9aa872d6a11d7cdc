import type { Instant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import type { TaskInstanceState } from "../domain/states.ts";
import { prepared, type Pool } from "./execution-statement.ts";
import { DAG_RUN_COLUMNS, type ExecutionDagRunRow } from "./execution-dag-run.ts";

export interface StartRow extends ExecutionDagRunRow {
  previous_state: TaskInstanceState | null;
  /** False: the state did not allow it, and nothing was written. */
  started: boolean;
  dag_run_id: number;
  task_id: string;
  map_index: number;
  try_number: number;
  max_tries: number;
  next_method: string | null;
  next_kwargs: JsonText | null;
  ti_start_date: Instant | null;
  reschedule_count: number;
  /** Keys this task pushed before; none when it resumes. */
  xcom_keys: JsonText;
}

const startStatement = prepared<StartRow>(
  "execution-start",
  `with live as (
    select id, state, dag_run_id, dag_id, task_id, map_index, try_number, max_tries, start_date, next_method, next_kwargs,
      hostname, unixname, pid, worker_id
    from task_instance where id = $1::uuid for update
  ), started as (
    update task_instance as ti set
      state = 'running', hostname = $2::text, unixname = $3::text, pid = $4::integer,
      start_date = case when live.next_method is null then $5::timestamptz else coalesce(live.start_date, $5::timestamptz) end,
      end_date = null, duration = null, last_heartbeat_at = $6::timestamptz, wake_at = null, retry_delay_override = null,
      worker_id = $7::text, lease_until = null,
      retry_reason = null, updated_at = $6::timestamptz
    from live
    where ti.id = live.id and ($7::text is null or live.worker_id = $7::text) and (
      live.state in ('queued', 'restarting')
      or (live.state = 'running' and live.hostname = $2::text and live.unixname = $3::text and live.pid = $4::integer))
    returning ti.id, ti.start_date
  ), logged as (
    insert into log (dag_id, task_id, map_index, event, logical_date, run_id, owner, extra, try_number)
    select live.dag_id, live.task_id, live.map_index, 'running', r.logical_date, r.run_id, d.owners,
      case when $2::text <> '' then json_build_object('host_name', $2::text)::text end, live.try_number
    from live join started on true join dag_run r on r.id = live.dag_run_id join dag d on d.dag_id = live.dag_id
    where live.state <> 'running'
  )
  select live.state as previous_state, started.id is not null as started, live.dag_run_id, live.task_id, live.map_index,
    live.try_number, live.max_tries, live.next_method, live.next_kwargs, started.start_date as ti_start_date,
    (select count(*)::integer from task_reschedule where ti_id = live.id) as reschedule_count,
    case when live.next_method is null then (
      select coalesce(json_agg(distinct x.key), '[]') from xcom x
      where x.dag_run_id = live.dag_run_id and x.task_id = live.task_id and x.map_index >= live.map_index
        and x.map_index <= case when live.map_index < 0 then 2147483647 else live.map_index end
    ) else '[]'::json end as xcom_keys,
    ${DAG_RUN_COLUMNS}
  from live left join started on true join dag_run r on r.id = live.dag_run_id`,
);

export interface Starting {
  id: string;
  hostname: string;
  unixname: string;
  pid: number;
  startDate: Instant;
  now: Instant;
  /** The agent session that starts it, which must have it; null: an executor of this process. */
  workerId: string | null;
}

/** queued or restarting → running, with all that the task's context needs. null when there is no such task instance. */
export async function startTaskInstance(pool: Pool, start: Starting): Promise<StartRow | null> {
  const values = [start.id, start.hostname, start.unixname, start.pid, start.startDate, start.now, start.workerId];
  return (await startStatement(pool, values))[0] ?? null;
}
