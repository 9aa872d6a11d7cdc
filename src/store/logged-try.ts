import { sql } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { TaskInstanceState } from "../domain/states.ts";
import type { Database } from "./database.ts";

/** What the reader of a try's log needs to know of the try. */
export interface LoggedTry {
  state: TaskInstanceState | null;
  /** Whether it is the row that lives on: only such a try may still write. */
  live: boolean;
  updated_at: Instant | null;
}

export async function findLoggedTry(
  db: Database,
  place: { dagId: string; runId: string; taskId: string; mapIndex: number; tryNumber: number },
): Promise<LoggedTry | null> {
  const { rows } = await sql<LoggedTry>`
    with run as (
      select id from dag_run where dag_id = ${place.dagId} and run_id = ${place.runId}
    ), one_try as (
      select dag_run_id, task_id, map_index, try_number, state, true as live, updated_at from task_instance
      union all
      select dag_run_id, task_id, map_index, try_number, state, false, end_date from task_instance_history
    )
    select t.state, t.live, t.updated_at from run join one_try t on t.dag_run_id = run.id
    where t.task_id = ${place.taskId} and t.map_index = ${place.mapIndex} and t.try_number = ${place.tryNumber}
    order by t.live desc limit 1`.execute(db);
  return rows[0] ?? null;
}
