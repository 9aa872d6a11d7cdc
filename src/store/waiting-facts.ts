import { sql } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { DagRunState, TaskInstanceState } from "../domain/states.ts";
import type { Database } from "./database.ts";

/** What decides whether a task instance may be queued, read at one moment. */
export interface WaitingFacts {
  run_state: DagRunState;
  logical_date: Instant | null;
  is_paused: boolean;
  /** Task instances of the run that take one of the DAG's slots. */
  active_in_run: number;
  /** Of this task: in all runs, and in this one. */
  active_of_task: number;
  active_of_task_in_run: number;
  /** null: there is no such pool. */
  pool: { slots: number; occupied: number } | null;
  /** The run before this one in which the task was neither done nor skipped everywhere; null: none stands in the way. */
  unfinished_before: { run_id: string; count: number } | null;
}

/** undefined when the DAG is gone. */
export async function waitingFacts(
  db: Database,
  ti: { dagId: string; dagRunId: number; taskId: string; pool: string },
): Promise<WaitingFacts | undefined> {
  const { rows } = await sql<WaitingFacts>`
    with run as (
      select * from dag_run where id = ${ti.dagRunId}
    ), previous_run as (
      select p.id, p.run_id from dag_run p, run
      where p.dag_id = run.dag_id and p.logical_date < run.logical_date
      order by p.logical_date desc limit 1
    ), unfinished as (
      select p.run_id, count(*) as count from previous_run p join task_instance t on t.dag_run_id = p.id
      where t.task_id = ${ti.taskId} and (t.state is null or t.state not in ('success', 'skipped'))
      group by p.run_id
    ), occupied as (
      select coalesce(sum(t.pool_slots) filter (where t.state in ('running', 'queued') or p.include_deferred), 0) as slots
      from pool p left join task_instance t on t.pool = p.pool and t.state in ('running', 'queued', 'deferred')
      where p.pool = ${ti.pool}
    )
    select run.state as run_state, run.logical_date, dag.is_paused,
      (select count(*) from task_instance t where t.dag_run_id = run.id and t.state in ('running', 'queued'))
        as active_in_run,
      (select count(*) from task_instance t where t.dag_id = run.dag_id and t.task_id = ${ti.taskId}
        and t.state in ('running', 'queued', 'deferred', 'awaiting_input')) as active_of_task,
      (select count(*) from task_instance t where t.dag_run_id = run.id and t.task_id = ${ti.taskId}
        and t.state in ('running', 'queued', 'deferred', 'awaiting_input')) as active_of_task_in_run,
      (select jsonb_build_object('slots', p.slots, 'occupied', occupied.slots) from pool p, occupied
        where p.pool = ${ti.pool}) as pool,
      (select jsonb_build_object('run_id', run_id, 'count', count) from unfinished) as unfinished_before
    from run join dag using (dag_id)`.execute(db);
  return rows[0];
}

/** The states of some tasks in a run. */
export async function statesOfTasks(
  db: Database,
  dagRunId: number,
  taskIds: readonly string[],
): Promise<{ task_id: string; map_index: number; state: TaskInstanceState | null }[]> {
  return await db
    .selectFrom("task_instance")
    .select(["task_id", "map_index", "state"])
    .where("dag_run_id", "=", dagRunId)
    .where("task_id", "=", sql<string>`any(${taskIds}::text[])`)
    .execute();
}
