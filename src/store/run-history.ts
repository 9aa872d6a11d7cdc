import { sql } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { PreviousRun, SkipRecord } from "../domain/decision.ts";
import type { TaskInstanceState } from "../domain/states.ts";
import type { Database } from "./database.ts";

/**
 * The run that tasks with depends_on_past look at: the one before by logical date, leaving out manual ones where the DAG
 * catches up (DagRun.get_previous_scheduled_dagrun). null: there is none. `taskIds` are those whose past matters.
 */
export async function previousRun(
  db: Database,
  run: { dag_id: string; logical_date: Instant | null },
  options: { catchup: boolean; taskIds: readonly string[] },
): Promise<PreviousRun | null> {
  if (run.logical_date === null) return null;
  const { rows } = await sql<{
    logical_date: Instant;
    states: [string, TaskInstanceState | null][];
    ever_ran: string[];
  }>`
    with previous as (
      select id, logical_date from dag_run
      where dag_id = ${run.dag_id} and logical_date < ${run.logical_date}::timestamptz
        and (not ${options.catchup} or run_type <> 'manual')
      order by logical_date desc limit 1
    )
    select logical_date,
      (select coalesce(jsonb_agg(jsonb_build_array(ti.task_id, ti.state)), '[]') from task_instance ti
        where ti.dag_run_id = previous.id) as states,
      (select coalesce(jsonb_agg(wanted.task_id), '[]') from unnest(${options.taskIds}::text[]) as wanted(task_id)
        where exists (select from task_instance ti join dag_run earlier on earlier.id = ti.dag_run_id
          where ti.dag_id = ${run.dag_id} and ti.task_id = wanted.task_id
            and earlier.logical_date < ${run.logical_date}::timestamptz)) as ever_ran
    from previous`.execute(db);
  const row = rows[0];
  if (!row) return null;
  const states = new Map<string, (TaskInstanceState | null)[]>();
  for (const [taskId, state] of row.states) states.set(taskId, [...(states.get(taskId) ?? []), state]);
  return { logicalDate: row.logical_date, states, everRan: new Set(row.ever_ran) };
}

/** What branches and short circuits of the run decided (their XCom `skipmixin_key`): a cleared task must still honour it. */
export async function skipRecords(db: Database, dagRunId: number): Promise<Map<string, Map<number, SkipRecord>>> {
  const rows = await db
    .selectFrom("xcom")
    .select(["task_id", "map_index", "value"])
    .where("dag_run_id", "=", dagRunId)
    .where("key", "=", "skipmixin_key")
    .execute();
  const records = new Map<string, Map<number, SkipRecord>>();
  for (const { task_id: taskId, map_index: mapIndex, value } of rows) {
    const record = value === null ? null : (JSON.parse(value) as SkipRecord | null);
    if (record === null || typeof record !== "object") continue;
    const ofTask = records.get(taskId) ?? new Map<number, SkipRecord>();
    records.set(taskId, ofTask.set(mapIndex, record));
  }
  return records;
}
