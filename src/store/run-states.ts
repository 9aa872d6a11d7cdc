import { sql } from "kysely";
import type { DagRunState } from "../domain/states.ts";
import type { Instant } from "../kit/instant.ts";
import type { Database } from "./database.ts";

export interface RunState {
  run_id: string;
  state: DagRunState;
  end_date: Instant | null;
}

/** Of these runs of a DAG those that exist. */
export async function runStates(db: Database, dagId: string, runIds: readonly string[]): Promise<RunState[]> {
  return await db
    .selectFrom("dag_run")
    .select(["run_id", "state", "end_date"])
    .where("dag_id", "=", dagId)
    .where("run_id", "=", sql<string>`any(${runIds}::text[])`)
    .execute();
}
