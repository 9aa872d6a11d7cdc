import { sql, type Transaction } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import type { AssetKey } from "../domain/asset/asset-condition.ts";
import type { DagGraph } from "../domain/dag-graph.ts";
import { queuePartitions } from "./asset-partitions.ts";
import { teamRule, type ApiAccess } from "./asset-teams.ts";
import type { Schema } from "./schema.ts";

/** An asset was updated: by a task, through the API, or as a watcher saw. */
export interface AssetChange {
  asset: AssetKey;
  extra: JsonText;
  /** Aliases a task updated it through. */
  aliases: readonly string[];
  partitionKey: string | null;
  /** Of the run that made the event. */
  partitionDate: Instant | null;
  source: EventSource | null;
  /** Of an update through the API; counts in multi-team mode. */
  api?: ApiAccess;
}

export interface EventSource {
  dagId: string;
  runId: string;
  taskId: string;
  mapIndex: number;
}

export interface ChangeContext {
  now: Instant;
  /** The graph of a DAG version. */
  graph(dagVersionId: string): Promise<DagGraph>;
  /** `[core] multi_team`: other teams' DAGs hear of an update only where both sides say so. */
  multiTeam?: boolean | undefined;
}

export interface RegisteredChange {
  eventId: number;
  /** DAGs that wait for the asset, and may run now. */
  dagIds: string[];
}

/**
 * Airflow's `AssetManager.register_asset_change`: writes the event and queues the DAGs that wait for the asset, for its name, its
 * URI, or for an alias it was updated through. Paused ones are left out. null: there is no such asset.
 */
export async function registerAssetChange(
  trx: Transaction<Schema>,
  change: AssetChange,
  context: ChangeContext,
): Promise<RegisteredChange | null> {
  const found = await writeEvent(trx, change, context);
  if (!found) return null;
  const { event_id: eventId, asset_id: assetId, listeners } = found;
  const plain = listeners.filter(({ partitioned }) => !partitioned).map(({ dag_id }) => dag_id);
  const partitioned = listeners.filter((listener) => listener.partitioned);
  const queued = await queuePartitions(trx, { ...change, eventId, assetId, targets: partitioned }, context);
  // An event of one partition means nothing to a DAG that knows no partitions.
  if (plain.length === 0 || change.partitionKey !== null) return { eventId, dagIds: queued };
  await sql`
    insert into asset_dag_run_queue (asset_id, target_dag_id, created_at)
    select ${assetId}, dag_id, ${context.now}::timestamptz from unnest(${plain}::text[]) as listener(dag_id) order by dag_id
    on conflict do nothing`.execute(trx);
  return { eventId, dagIds: [...plain, ...queued] };
}

interface WrittenEvent {
  event_id: number;
  asset_id: number;
  listeners: { dag_id: string; version_id: string | null; partitioned: boolean }[];
}

const OPEN_TO_ALL = { producer: sql`select`, mayListen: sql<boolean>`true` };

async function writeEvent(
  trx: Transaction<Schema>,
  change: AssetChange,
  { now, multiTeam }: ChangeContext,
): Promise<WrittenEvent | null> {
  const { asset, source, aliases } = change;
  const { producer, mayListen } = multiTeam ? teamRule(change) : OPEN_TO_ALL;
  const { rows } = await sql<WrittenEvent>`
    with updated as (
      select id, name, uri from asset where name = ${asset.name} and uri = ${asset.uri}
    ), new_alias as (
      insert into asset_alias (name, "group")
      select given.name, '' from unnest(${aliases}::text[]) as given(name), updated
      where not exists (select from asset_alias where asset_alias.name = given.name)
      on conflict (name) do nothing
      returning id, name
    ), alias as (
      select id from new_alias
      union select asset_alias.id from asset_alias, updated where asset_alias.name = any(${aliases}::text[])
    ), association as (
      insert into asset_alias_asset (alias_id, asset_id) select alias.id, updated.id from alias, updated
      on conflict do nothing
    ), event as (
      insert into asset_event (asset_id, extra, source_task_id, source_dag_id, source_run_id, source_map_index, timestamp,
        partition_key)
      select id, ${change.extra}::json, ${source?.taskId ?? null}, ${source?.dagId ?? null}, ${source?.runId ?? null},
        ${source?.mapIndex ?? -1}, ${now}::timestamptz, ${change.partitionKey}
      from updated
      returning id, asset_id
    ), event_alias as (
      insert into asset_alias_asset_event (alias_id, event_id) select alias.id, event.id from alias, event
    ), listening as (
      select r.dag_id from dag_schedule_asset_reference r join updated on updated.id = r.asset_id
      union select r.dag_id from dag_schedule_asset_alias_reference r join alias on alias.id = r.alias_id
      union select r.dag_id from dag_schedule_asset_name_reference r join updated using (name)
      union select r.dag_id from dag_schedule_asset_uri_reference r join updated using (uri)
    ), producer as (${producer}
    )
    select event.id as event_id, event.asset_id, (
      select coalesce(jsonb_agg(jsonb_build_object('dag_id', dag.dag_id, 'version_id', dag.current_version_id,
        'partitioned', dag.timetable_partitioned) order by dag.dag_id), '[]')
      from listening join dag using (dag_id)
        left join dag_schedule_asset_reference reference
          on reference.dag_id = dag.dag_id and reference.asset_id = event.asset_id
      where not dag.is_paused and ${mayListen}) as listeners
    from event`.execute(trx);
  return rows[0] ?? null;
}

/** An asset that a task made up as it ran, through an alias. */
export async function createAsset(
  trx: Transaction<Schema>,
  asset: AssetKey & { group: string; extra: JsonText },
  now: Instant,
): Promise<void> {
  await sql`
    insert into asset (name, uri, "group", extra, created_at, updated_at)
    values (${asset.name}, ${asset.uri}, ${asset.group}, ${asset.extra}::json, ${now}::timestamptz, ${now}::timestamptz)
    on conflict do nothing`.execute(trx);
}

/** Those of the assets that are active, and the active ones of these names and URIs. */
export async function activeAssets(
  trx: Transaction<Schema>,
  wanted: { keys: readonly AssetKey[]; names: readonly string[]; uris: readonly string[] },
): Promise<AssetKey[]> {
  const { rows } = await sql<AssetKey>`
    select name, uri from asset_active
    where name = any(${wanted.names}) or uri = any(${wanted.uris}) or (name, uri) in (
      select * from unnest(${wanted.keys.map(({ name }) => name)}::text[], ${wanted.keys.map(({ uri }) => uri)}::text[]))`.execute(
    trx,
  );
  return rows;
}
