import { sql } from "kysely";
import type { Database } from "./database.ts";

/**
 * Pauses a DAG whose last runs, as many as its `max_consecutive_failed_dag_runs`, have all failed, and writes that to the audit
 * log (Airflow's DagRun._check_last_n_dagruns_failed). True when it was not paused before.
 */
export async function pauseAfterFailures(db: Database, dagId: string, limit: number): Promise<boolean> {
  const { rows } = await sql`
    with last_runs as (
      select state from dag_run where dag_id = ${dagId} order by run_after desc, id desc limit ${limit}
    ), paused as (
      update dag set is_paused = true
      where dag_id = ${dagId} and not is_paused and (select count(*) filter (where state = 'failed') from last_runs) >= ${limit}
      returning dag_id
    )
    insert into log (event, owner, owner_display_name, dag_id, extra)
    select 'paused', 'scheduler', 'Scheduler', dag_id, format('[(''dag_id'', ''%s''), (''is_paused'', True)]', dag_id) from paused
    returning dag_id`.execute(db);
  return rows.length > 0;
}
