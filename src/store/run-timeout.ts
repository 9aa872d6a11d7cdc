import { sql } from "kysely";
import type { Instant } from "../kit/instant.ts";
import { addDagCallback } from "./callbacks.ts";
import type { Database } from "./database.ts";

/**
 * Fails a run that took too long and skips what has not finished (Airflow's SchedulerJobRunner._schedule_dag_run). Returns the
 * ids of tries that had a process; null when the run was no longer running.
 */
export async function timeOutRun(
  db: Database,
  dagRunId: number,
  now: Instant,
  { callsBack }: { callsBack: boolean },
): Promise<string[] | null> {
  return await db.transaction().execute(async (trx) => {
    const failed = await trx
      .updateTable("dag_run")
      .set({ state: "failed", end_date: now, last_scheduling_decision: now, updated_at: now })
      .where("id", "=", dagRunId)
      .where("state", "=", "running")
      .executeTakeFirst();
    if (failed.numUpdatedRows === 0n) return null;
    if (callsBack) {
      const relevant = "last-begun-unfinished";
      await addDagCallback(trx, { id: dagRunId, state: "failed", reason: "timed_out", relevant, now });
    }
    const { rows } = await sql<{ id: string; had_process: boolean }>`
      with unfinished as (
        select id, state from task_instance
        where dag_run_id = ${dagRunId}
          and (state is null or state not in ('success', 'failed', 'skipped', 'upstream_failed', 'removed'))
        for update
      )
      update task_instance ti set state = 'skipped', wake_at = null, end_date = ${now}::timestamptz,
        start_date = coalesce(ti.start_date, ${now}::timestamptz),
        duration = extract(epoch from ${now}::timestamptz - coalesce(ti.start_date, ${now}::timestamptz))
      from unfinished where ti.id = unfinished.id
      returning ti.id, coalesce(unfinished.state in ('queued', 'running', 'restarting', 'deferred'), false) as had_process`.execute(
      trx,
    );
    return rows.filter((row) => row.had_process).map((row) => row.id);
  });
}
