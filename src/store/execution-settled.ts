import type { Instant } from "../kit/instant.ts";
import type { TaskInstanceState } from "../domain/states.ts";

/** A try whose state was changed just now: what an event about it says. */
export interface SettledRow {
  id: string;
  dag_run_id: number;
  task_id: string;
  map_index: number;
  state: TaskInstanceState;
  wake_at: Instant | null;
  /** Length of what the task pushed for mapped tasks to expand on. */
  mapped_length: number | null;
}

// Statements that end a try are written as: `settled` (an update returning these columns), `logged`, and the result.

/** What `settled` returns of `task_instance ti`; a text column `reason` belongs beside it. */
export const SETTLED_COLUMNS =
  "ti.id, ti.dag_run_id, ti.dag_id, ti.task_id, ti.map_index, ti.state, ti.try_number, ti.hostname, ti.wake_at";

/** The row of the audit log that Airflow writes with each change of state. */
export const SETTLED_LOGGED = `logged as (
    insert into log (dag_id, task_id, map_index, event, logical_date, run_id, owner, extra, try_number)
    select settled.dag_id, settled.task_id, settled.map_index, settled.state, r.logical_date, r.run_id, d.owners,
      nullif(json_strip_nulls(json_build_object('host_name', nullif(settled.hostname, ''), 'reason', settled.reason))::text, '{}'),
      settled.try_number
    from settled join dag_run r on r.id = settled.dag_run_id join dag d on d.dag_id = settled.dag_id
  )`;

export const SETTLED_RESULT = `select settled.id, settled.dag_run_id, settled.task_id, settled.map_index, settled.state, settled.wake_at,
    (select m.length from task_map m where m.dag_run_id = settled.dag_run_id and m.task_id = settled.task_id
      and m.map_index = settled.map_index) as mapped_length
  from settled`;
