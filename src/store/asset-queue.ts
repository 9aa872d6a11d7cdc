import { sql, type SqlBool } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { TeamScope } from "../domain/team.ts";
import type { Database } from "./database.ts";
import { allOf, column, equals } from "./filters.ts";
import { dagsWithin } from "./team-scope.ts";

/** An asset that was updated, and a DAG that has not had its run for it. */
export interface QueuedEventRow {
  dag_id: string;
  asset_id: number;
  created_at: Instant;
  dag_display_name: string;
}

export interface QueuedEventFilter {
  dagId?: string;
  assetId?: number;
  /** Queued before this moment. */
  before?: Instant | undefined;
  teams?: TeamScope;
}

function conditions({ dagId, assetId, before, teams }: QueuedEventFilter) {
  return allOf([
    ...equals(column("q.target_dag_id"), dagId),
    ...equals(column("q.asset_id"), assetId),
    ...(before === undefined ? [] : [sql<SqlBool>`q.created_at < ${before}::timestamptz`]),
    ...dagsWithin(column("q.target_dag_id"), teams),
  ]);
}

export async function listQueuedEvents(db: Database, filter: QueuedEventFilter): Promise<QueuedEventRow[]> {
  const { rows } = await sql<QueuedEventRow>`
    select q.target_dag_id as dag_id, q.asset_id, q.created_at, coalesce(dag.dag_display_name, dag.dag_id) as dag_display_name
    from asset_dag_run_queue q join dag on dag.dag_id = q.target_dag_id
    where ${conditions(filter)} order by q.created_at, q.asset_id, q.target_dag_id`.execute(db);
  return rows;
}

/** How many were there. */
export async function deleteQueuedEvents(db: Database, filter: QueuedEventFilter): Promise<number> {
  const { rows } = await sql`
    delete from asset_dag_run_queue q where ${conditions(filter)} returning 1`.execute(db);
  return rows.length;
}
