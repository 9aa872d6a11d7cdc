import { sql } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import type { TeamScope } from "../domain/team.ts";
import type { Database } from "./database.ts";
import { IS_ACTIVE } from "./execution-assets.ts";
import { allOf, column } from "./filters.ts";
import { dagsWithin } from "./team-scope.ts";

/** An asset that a DAG's schedule names, and what it waits for of it. */
export interface NextRunAssetRow {
  id: number;
  name: string;
  uri: string;
  last_update: Instant | null;
  /** Updated since the last run, or for a partition that waits. */
  queued: boolean;
  is_active: boolean;
}

/** The assets of a DAG's schedule; updates from before the logical date of its latest run do not count. */
export async function nextRunAssets(db: Database, dagId: string): Promise<NextRunAssetRow[]> {
  const { rows } = await sql<NextRunAssetRow>`
    with latest as (
      select logical_date from dag_run where dag_id = ${dagId} and logical_date is not null
      order by logical_date desc limit 1
    )
    select asset.id, asset.name, asset.uri, (
        select max(e.timestamp) from asset_event e
        where e.asset_id = asset.id and e.timestamp >= coalesce((select logical_date from latest), '-infinity')
      ) as last_update,
      case when dag.timetable_partitioned then exists (
        select from partitioned_asset_key_log l join asset_partition_dag_run p on p.id = l.asset_partition_dag_run_id
        where l.asset_id = asset.id and p.target_dag_id = dag.dag_id and p.created_dag_run_id is null
      ) else exists (
        select from asset_dag_run_queue q where q.asset_id = asset.id and q.target_dag_id = dag.dag_id
      ) end as queued,
      ${IS_ACTIVE} as is_active
    from dag_schedule_asset_reference r join asset on asset.id = r.asset_id join dag on dag.dag_id = r.dag_id
    where r.dag_id = ${dagId} order by asset.uri`.execute(db);
  return rows;
}

/** A partition of a DAG: waiting, or with its run. */
export interface PartitionRow {
  id: number;
  dag_id: string;
  partition_key: string;
  created_at: Instant;
  updated_at: Instant;
  run_id: string | null;
  run_state: string | null;
  /** Keys that came, by asset. */
  received: { asset_id: number; key: string }[];
}

export interface PartitionFilter {
  dagId?: string | undefined;
  partitionKey?: string;
  hasRun?: boolean | undefined;
  teams?: TeamScope;
}

/** Newest first; `oldestFirst` as they are run. */
export async function listPartitions(
  db: Database,
  filter: PartitionFilter,
  options: { oldestFirst?: boolean; limit?: number } = {},
): Promise<PartitionRow[]> {
  const { dagId = null, partitionKey = null, hasRun = null, teams } = filter;
  const { rows } = await sql<PartitionRow>`
    select p.id, p.target_dag_id as dag_id, p.partition_key, p.created_at, p.updated_at, r.run_id, r.state as run_state, (
      select coalesce(jsonb_agg(distinct jsonb_build_object('asset_id', l.asset_id, 'key', l.source_partition_key)), '[]')
      from partitioned_asset_key_log l where l.asset_partition_dag_run_id = p.id) as received
    from asset_partition_dag_run p left join dag_run r on r.id = p.created_dag_run_id
    where (${dagId}::text is null or p.target_dag_id = ${dagId})
      and (${partitionKey}::text is null or p.partition_key = ${partitionKey})
      and (${hasRun}::boolean is null or (p.created_dag_run_id is not null) = ${hasRun}::boolean)
      and ${allOf(dagsWithin(column("p.target_dag_id"), teams))}
    order by ${options.oldestFirst ? sql`p.created_at, p.id` : sql`p.created_at desc, p.id desc`}
    limit ${options.limit ?? null}`.execute(db);
  return rows;
}

export async function countPendingPartitions(db: Database, dagId: string): Promise<number> {
  const { rows } = await sql<{ count: number }>`
    select count(*) from asset_partition_dag_run where target_dag_id = ${dagId} and created_dag_run_id is null`.execute(
    db,
  );
  return rows[0]?.count ?? 0;
}

/** The schedules of DAGs that wait for assets. */
export async function assetSchedules(
  db: Database,
  dagIds: readonly string[],
): Promise<{ dag_id: string; asset_expression: JsonText | null; current_version_id: string | null }[]> {
  return await db
    .selectFrom("dag")
    .select(["dag_id", "asset_expression", "current_version_id"])
    .where("dag_id", "=", sql<string>`any(${dagIds}::text[])`)
    .execute();
}

/** An edge of the graph of what tasks read and update. */
export interface DataEdge {
  asset_id: number;
  asset_name: string;
  dag_id: string;
  task_id: string;
  direction: "inlet" | "outlet";
}

/**
 * Everything connected with an asset through tasks of these teams' DAGs, in either direction. Nothing where none of those has to
 * do with the asset.
 */
export async function dataLineage(
  db: Database,
  assetId: number,
  teams: TeamScope = null,
): Promise<{ assets: { id: number; name: string }[]; edges: DataEdge[] }> {
  const ofTeams = allOf(dagsWithin(column("dag_id"), teams));
  const known =
    teams === null
      ? ofTeams
      : sql<boolean>`exists (
          select from (
            select asset_id, dag_id from task_inlet_asset_reference
            union all select asset_id, dag_id from task_outlet_asset_reference
            union all select asset_id, dag_id from dag_schedule_asset_reference
          ) as reference where asset_id = ${assetId} and ${ofTeams})`;
  const { rows } = await sql<{ asset_id: number }>`
    with recursive port as (
      select asset_id, dag_id, task_id from task_inlet_asset_reference where ${ofTeams}
      union all select asset_id, dag_id, task_id from task_outlet_asset_reference where ${ofTeams}
    ), reached as (
      select id as asset_id from asset where id = ${assetId} and ${known}
      union
      select beside.asset_id from reached join port on port.asset_id = reached.asset_id
        join port as beside on beside.dag_id = port.dag_id and beside.task_id = port.task_id
    )
    select asset_id from reached`.execute(db);
  const ids = rows.map((row) => row.asset_id);
  const assets = await sql<{ id: number; name: string }>`
    select id, name from asset where id = any(${ids}::bigint[]) order by id`.execute(db);
  const edges = await sql<DataEdge>`
    select asset_id, asset.name as asset_name, dag_id, task_id, direction from (
      select asset_id, dag_id, task_id, 'outlet' as direction from task_outlet_asset_reference
      union all select asset_id, dag_id, task_id, 'inlet' from task_inlet_asset_reference
    ) as port join asset on asset.id = port.asset_id
    where asset_id = any(${ids}::bigint[]) and ${ofTeams} order by asset_id, direction desc, dag_id, task_id`.execute(
    db,
  );
  return { assets: assets.rows, edges: edges.rows };
}

/** The task of a DAG that updates an asset, by the asset's node. */
export async function producersIn(db: Database, dagId: string): Promise<Map<string, string>> {
  const rows = await db
    .selectFrom("task_outlet_asset_reference")
    .select(["asset_id", "task_id"])
    .where("dag_id", "=", dagId)
    .orderBy("task_id", "desc")
    .execute();
  return new Map(rows.map(({ asset_id, task_id }) => [`asset:${asset_id}`, task_id]));
}
