import { sql } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { TaskInstanceState } from "../domain/states.ts";
import type { Database } from "./database.ts";

export interface ExecutingRow {
  id: string;
  dag_run_id: number;
  state: TaskInstanceState;
  queued_dttm: Instant | null;
  last_heartbeat_at: Instant | null;
}

/** Every try that some process should hold: few rows, found by a partial index. */
export async function executingTaskInstances(db: Database): Promise<ExecutingRow[]> {
  return await db
    .selectFrom("task_instance")
    .select(["id", "dag_run_id", "queued_dttm", "last_heartbeat_at", sql<TaskInstanceState>`state`.as("state")])
    .where("state", "in", ["queued", "running", "restarting"])
    .execute();
}
