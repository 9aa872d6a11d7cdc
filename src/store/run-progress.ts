import { sql } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { DagRunState, TaskInstanceState } from "../domain/states.ts";
import type { Database } from "./database.ts";
import { instantJson } from "./instant-text.ts";

export interface TaskProgress {
  task_id: string;
  /** -1: not mapped. */
  map_index: number;
  /** null: not scheduled yet. */
  state: TaskInstanceState | null;
  try_number: number;
  start_date: Instant | null;
  end_date: Instant | null;
}

/** How far a run is, in one round trip; undefined when it is gone. */
export async function runProgress(
  db: Database,
  dagRunId: number,
): Promise<{ state: DagRunState; tasks: TaskProgress[] } | undefined> {
  type Row = [string, number, TaskInstanceState | null, number, string | null, string | null];
  const { rows } = await sql<{ state: DagRunState; tasks: Row[] }>`
    select state, (select coalesce(jsonb_agg(jsonb_build_array(task_id, map_index, ti.state, try_number,
        ${instantJson("ti.start_date")}, ${instantJson("ti.end_date")}) order by task_id, map_index), '[]')
      from task_instance ti where ti.dag_run_id = dag_run.id) as tasks
    from dag_run where id = ${dagRunId}`.execute(db);
  const [row] = rows;
  return (
    row && {
      state: row.state,
      tasks: row.tasks.map(([task_id, map_index, state, try_number, start_date, end_date]) => ({
        ...{ task_id, map_index, state, try_number },
        start_date: start_date as Instant | null,
        end_date: end_date as Instant | null,
      })),
    }
  );
}
