import { sql } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { Database } from "./database.ts";

/** Which runs of a DAG are meant by their partition. */
export interface PartitionSelector {
  runId?: string | null;
  partitionKey?: string | null;
  from?: Instant | null;
  to?: Instant | null;
}

export interface PartitionedRun {
  id: number;
  run_id: string;
  /** false: it has no partition (any more). */
  has_partition: boolean;
  task_instances: number;
}

export async function findPartitionedRuns(
  db: Database,
  dagId: string,
  { runId = null, partitionKey = null, from = null, to = null }: PartitionSelector,
): Promise<PartitionedRun[]> {
  const { rows } = await sql<PartitionedRun>`
    select id, run_id, partition_key is not null or partition_date is not null as has_partition,
      (select count(*) from task_instance ti where ti.dag_run_id = dag_run.id) as task_instances
    from dag_run
    where dag_id = ${dagId} and (${runId}::text is null or run_id = ${runId})
      and (${partitionKey}::text is null or partition_key = ${partitionKey})
      and (${from}::timestamptz is null or partition_date >= ${from}::timestamptz)
      and (${to}::timestamptz is null or partition_date <= ${to}::timestamptz)
    order by partition_date, run_id`.execute(db);
  return rows;
}

/** These runs are of no partition any more. */
export async function forgetPartitions(db: Database, dagRunIds: readonly number[]): Promise<void> {
  await sql`
    update dag_run set partition_key = null, partition_date = null, updated_at = now()
    where id = any(${dagRunIds}::bigint[])`.execute(db);
}
