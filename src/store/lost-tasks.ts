import { sql } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { TaskInstanceState } from "../domain/states.ts";
import type { Database } from "./database.ts";

export interface ExecutingRow {
  id: string;
  dag_run_id: number;
  dag_id: string;
  run_id: string;
  task_id: string;
  map_index: number;
  try_number: number;
  state: TaskInstanceState;
  queued_dttm: Instant | null;
  last_heartbeat_at: Instant | null;
  queue: string;
  /** The agent session that has it, or the token that a stock Airflow worker got it with; null: an executor of the server. */
  worker_id: string | null;
  /** Whether that session is not over. */
  session_lives: boolean;
  /** Whether it is that of a stock Airflow worker, under a token that still counts. */
  has_airflow_worker: boolean;
}

/** Every try that some process should hold: few rows, found by a partial index. */
export async function executingTaskInstances(db: Database): Promise<ExecutingRow[]> {
  return await db
    .selectFrom("task_instance as ti")
    .innerJoin("dag_run", "dag_run.id", "ti.dag_run_id")
    .select(["ti.id", "ti.dag_run_id", "ti.dag_id", "dag_run.run_id", "ti.task_id", "ti.map_index", "ti.try_number"])
    .select(["ti.queued_dttm", "ti.last_heartbeat_at", sql<TaskInstanceState>`ti.state`.as("state")])
    .select(["ti.worker_id", sql<string>`coalesce(ti.queue, 'default')`.as("queue")])
    .select(sql<boolean>`exists (select from agent_session s where s.id::text = ti.worker_id)`.as("session_lives"))
    .select(sql<boolean>`exists (select from agent_token t where t.jti = ti.worker_id)`.as("has_airflow_worker"))
    .where("ti.state", "in", ["queued", "running", "restarting"])
    .execute();
}
