import { sql } from "kysely";
import type { Database } from "./database.ts";

export type JobType = "SchedulerJob" | "TriggererJob" | "DagProcessorJob";

/** A part that runs, as Airflow's Jobs page and its health check show it. */
export async function registerJob(
  db: Database,
  job: { type: JobType; hostname: string; unixname: string; executorClass?: string },
): Promise<number> {
  const row = await db
    .insertInto("job")
    .values({
      job_type: job.type,
      state: "running",
      hostname: job.hostname,
      unixname: job.unixname,
      executor_class: job.executorClass ?? null,
    })
    .returning("id")
    .executeTakeFirstOrThrow();
  return row.id;
}

export async function heartbeatJobs(db: Database, ids: readonly number[]): Promise<void> {
  await db
    .updateTable("job")
    .set({ latest_heartbeat: sql`now()` })
    .where("id", "in", ids)
    .execute();
}

export async function endJobs(db: Database, ids: readonly number[], state: "success" | "failed"): Promise<void> {
  if (ids.length === 0) return;
  await db
    .updateTable("job")
    .set({ state, end_date: sql`now()` })
    .where("id", "in", ids)
    .execute();
}

/** Jobs of a process on this host that ended without saying so; their rows are closed. */
export async function closeAbandonedJobs(db: Database, hostname: string): Promise<void> {
  await db
    .updateTable("job")
    .set({ state: "failed", end_date: sql`now()` })
    .where("state", "=", "running")
    .where("hostname", "=", hostname)
    .execute();
}
