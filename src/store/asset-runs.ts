import { sql, type Transaction } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import { keyText, type AssetKey, type AssetLeaf, type AssetResolution } from "../domain/asset/asset-condition.ts";
import { makingHolds, type MakingHold } from "../domain/run-making.ts";
import type { Database } from "./database.ts";
import { instantJson } from "./instant-text.ts";
import type { Schema } from "./schema.ts";
import type { Executor } from "./transaction.ts";

/** Those of all DAGs, or just this one, for which assets were updated, or that have partitions waiting. */
export async function dagsWithAssetWork(db: Database, dagId?: string): Promise<string[]> {
  const one = dagId === undefined ? sql`true` : sql`target_dag_id = ${dagId}`;
  const { rows } = await sql<{ dag_id: string }>`
    select target_dag_id as dag_id from asset_dag_run_queue where ${one}
    union select target_dag_id from asset_partition_dag_run where created_dag_run_id is null and ${one}
    order by dag_id`.execute(db);
  return rows.map((row) => row.dag_id);
}

/** What decides whether a DAG gets a run for its assets. */
export interface AssetScheduleRow {
  is_paused: boolean;
  is_stale: boolean;
  has_import_errors: boolean;
  /** false: its schedule has no assets (any more). */
  has_assets: boolean;
  current_version_id: string | null;
  max_active_runs: number | null;
  /** Queued and running runs of any kind. */
  active_runs: number;
  queued: QueuedAsset[];
  pending_partitions: number;
}

/** What keeps the DAG from a run for its assets. Airflow asks for no allowed_run_types here. */
export function assetHolds(schedule: AssetScheduleRow): MakingHold[] {
  const facts = {
    isStale: schedule.is_stale,
    isPaused: schedule.is_paused,
    hasImportErrors: schedule.has_import_errors,
    maxActiveRuns: schedule.max_active_runs,
    activeRuns: schedule.active_runs,
    allowedRunTypes: null,
  };
  return makingHolds(facts, "asset_triggered");
}

export interface QueuedAsset extends AssetKey {
  asset_id: number;
  created_at: Instant;
}

export async function assetSchedule(trx: Executor, dagId: string): Promise<AssetScheduleRow | null> {
  const { rows } = await sql<AssetScheduleRow>`
    select is_paused, is_stale, has_import_errors, asset_expression is not null as has_assets, current_version_id,
      max_active_runs,
      (select count(*)::integer from dag_run r where r.dag_id = dag.dag_id and r.state in ('queued', 'running')) as active_runs,
      (select count(*)::integer from asset_partition_dag_run p
        where p.target_dag_id = dag.dag_id and p.created_dag_run_id is null) as pending_partitions,
      (select coalesce(jsonb_agg(jsonb_build_object('asset_id', q.asset_id, 'name', asset.name, 'uri', asset.uri,
          'created_at', ${instantJson("q.created_at")})), '[]')
        from asset_dag_run_queue q join asset on asset.id = q.asset_id where q.target_dag_id = dag.dag_id) as queued
    from dag where dag_id = ${dagId}`.execute(trx);
  return rows[0] ?? null;
}

/** What aliases and references of a condition stand for now. */
export async function resolveLeaves(db: Executor, leaves: readonly AssetLeaf[]): Promise<AssetResolution> {
  const names = leaves.flatMap((leaf) => (leaf.kind === "name-ref" ? [leaf.name] : []));
  const uris = leaves.flatMap((leaf) => (leaf.kind === "uri-ref" ? [leaf.uri] : []));
  const aliases = leaves.flatMap((leaf) => (leaf.kind === "alias" ? [leaf.name] : []));
  const needed = names.length + uris.length + aliases.length > 0;
  const { rows } = needed
    ? await sql<AssetKey & { alias: string | null }>`
        select name, uri, null as alias from asset_active where name = any(${names}) or uri = any(${uris})
        union all
        select asset.name, asset.uri, asset_alias.name from asset_alias
        join asset_alias_asset link on link.alias_id = asset_alias.id join asset on asset.id = link.asset_id
        where asset_alias.name = any(${aliases})`.execute(db)
    : { rows: [] };
  const active = rows.filter((row) => row.alias === null);
  return {
    alias: (name) => rows.filter((row) => row.alias === name),
    byName: (name) => active.find((row) => row.name === name) ?? null,
    byUri: (uri) => active.find((row) => row.uri === uri) ?? null,
  };
}

/** Forgets what was queued for a DAG that waits for no assets any more. */
export async function dropQueue(db: Executor, dagId: string): Promise<void> {
  await sql`delete from asset_dag_run_queue where target_dag_id = ${dagId}`.execute(db);
}

/**
 * Links a run that was made for these queued assets with its events, and takes the assets from the queue: all events since the
 * DAG's asset-triggered run before, those of the run's own moment included. The first run of a DAG without catchup looks back
 * no further than to when the DAG came to wait for its assets.
 */
export async function consumeQueue(
  trx: Transaction<Schema>,
  run: { id: number; dagId: string; runAfter: Instant; catchup: boolean },
  queued: readonly QueuedAsset[],
): Promise<number> {
  const { id, dagId, runAfter, catchup } = run;
  const { rows } = await sql<{ consumed: number }>`
    with floor as (
      select coalesce(
        (select max(run_after) from dag_run where dag_id = ${dagId} and run_type = 'asset_triggered' and id <> ${id}
          and run_after < ${runAfter}::timestamptz),
        case when not ${catchup}::boolean then
          (select min(created_at) from dag_schedule_asset_reference where dag_id = ${dagId}) end,
        '-infinity') as at
    ), taken as (
      delete from asset_dag_run_queue
      where target_dag_id = ${dagId} and asset_id = any(${queued.map(({ asset_id }) => asset_id)}::bigint[])
    ), consumed as (
      insert into dagrun_asset_event (dag_run_id, event_id)
      select ${id}, e.id from asset_event e, floor
      where e.timestamp <= ${runAfter}::timestamptz and e.timestamp > floor.at and (
        e.asset_id in (select asset_id from dag_schedule_asset_reference where dag_id = ${dagId})
        or e.id in (
          select link.event_id from asset_alias_asset_event link
          join dag_schedule_asset_alias_reference r on r.alias_id = link.alias_id and r.dag_id = ${dagId}))
      returning 1
    )
    select count(*)::integer as consumed from consumed`.execute(trx);
  return rows[0]?.consumed ?? 0;
}

/** A partition that waits for its assets. */
export interface PendingPartition {
  id: number;
  partition_key: string;
  partition_date: Instant | null;
  rollup_fingerprint: JsonText | null;
  /** By `keyText` of each active asset that had events for it: the keys of those. */
  received: Map<string, { asset: AssetKey; keys: Set<string> }>;
}

/** Oldest first. */
export async function pendingPartitions(trx: Transaction<Schema>, dagId: string): Promise<PendingPartition[]> {
  const { rows } = await sql<Omit<PendingPartition, "received"> & { received: [string, string, string][] }>`
    select p.id, p.partition_key, p.partition_date, p.rollup_fingerprint, (
      select coalesce(jsonb_agg(distinct jsonb_build_array(asset.name, asset.uri, l.source_partition_key)), '[]')
      from partitioned_asset_key_log l join asset on asset.id = l.asset_id join asset_active using (name, uri)
      where l.asset_partition_dag_run_id = p.id) as received
    from asset_partition_dag_run p
    where p.target_dag_id = ${dagId} and p.created_dag_run_id is null
    order by p.created_at, p.id
    for no key update of p`.execute(trx);
  return rows.map(({ received, ...row }) => {
    const byAsset: PendingPartition["received"] = new Map();
    for (const [name, uri, key] of received) {
      const known = byAsset.get(keyText({ name, uri })) ?? { asset: { name, uri }, keys: new Set() };
      byAsset.set(keyText({ name, uri }), known);
      known.keys.add(key);
    }
    return { ...row, received: byAsset };
  });
}

/** Partitions that wait under mappers the DAG no longer has. */
export async function dropPartitions(trx: Transaction<Schema>, ids: readonly number[]): Promise<void> {
  await sql`delete from asset_partition_dag_run where id = any(${ids}::bigint[])`.execute(trx);
}

/** The partition has its run now, which gets the partition's events. */
export async function settlePartition(
  trx: Transaction<Schema>,
  partitionId: number,
  dagRunId: number,
  now: Instant,
): Promise<void> {
  await sql`
    with settled as (
      update asset_partition_dag_run set created_dag_run_id = ${dagRunId}, updated_at = ${now}::timestamptz
      where id = ${partitionId} and created_dag_run_id is null
    )
    insert into dagrun_asset_event (dag_run_id, event_id)
    select distinct ${dagRunId}::bigint, asset_event_id from partitioned_asset_key_log
    where asset_partition_dag_run_id = ${partitionId}`.execute(trx);
}
