import { sql, type RawBuilder, type SqlBool } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import type { AssetKey } from "../domain/asset/asset-condition.ts";
import type { Database } from "./database.ts";
import { CREATED_RUN_FIELDS } from "./instant-text.ts";

export interface ExecutionAsset extends AssetKey {
  id: number;
  group: string;
  extra: JsonText;
}

/** How a task names an asset. */
export type AssetRef = { name: string; uri?: null } | { name?: null; uri: string };

export const IS_ACTIVE = sql<SqlBool>`exists (select from asset_active a where a.name = asset.name and a.uri = asset.uri)`;

/** The active asset of this name or URI. */
export async function findActiveAsset(db: Database, ref: AssetRef): Promise<ExecutionAsset | null> {
  const named = ref.uri == null ? sql<SqlBool>`asset.name = ${ref.name}` : sql<SqlBool>`asset.uri = ${ref.uri}`;
  const { rows } = await sql<ExecutionAsset>`
    select id, name, uri, "group", extra from asset where ${named} and ${IS_ACTIVE}`.execute(db);
  return rows[0] ?? null;
}

/** The assets that were updated through an alias so far. */
export async function assetsOfAlias(db: Database, alias: string): Promise<ExecutionAsset[]> {
  const { rows } = await sql<ExecutionAsset>`
    select asset.id, asset.name, asset.uri, asset."group", asset.extra
    from asset_alias join asset_alias_asset link on link.alias_id = asset_alias.id join asset on asset.id = link.asset_id
    where asset_alias.name = ${alias} order by asset.id`.execute(db);
  return rows;
}

export interface ExecutionAssetEvent {
  id: number;
  timestamp: Instant;
  extra: JsonText;
  asset: { name: string; uri: string; group: string };
  asset_extra: JsonText;
  created_dagruns: CreatedRun[];
  source_task_id: string | null;
  source_dag_id: string | null;
  source_run_id: string | null;
  source_map_index: number | null;
  partition_key: string | null;
}

/** A run that was made for an event; times as Instants. */
export interface CreatedRun {
  run_id: string;
  dag_id: string;
  logical_date: Instant | null;
  start_date: Instant | null;
  end_date: Instant | null;
  state: string;
  data_interval_start: Instant | null;
  data_interval_end: Instant | null;
  partition_key: string | null;
}

// The SDK cannot read a run that has no start yet (or again), where Airflow fails the task that asks.
const CREATED_RUNS = sql`(
  select coalesce(jsonb_agg(jsonb_build_object(${CREATED_RUN_FIELDS}) order by r.id), '[]')
  from dagrun_asset_event made join dag_run r on r.id = made.dag_run_id
  where made.event_id = event.id and r.start_date is not null)`;

export interface AssetEventFilter {
  after: Instant | null;
  before: Instant | null;
  ascending: boolean;
  limit: number | null;
}

/** Events of an asset: of the active one by name or URI, or of the very one by both. */
export async function assetEvents(
  db: Database,
  of: { name: string | null; uri: string | null } | { alias: string },
  filter: AssetEventFilter,
): Promise<ExecutionAssetEvent[]> {
  const { after, before, ascending, limit } = filter;
  const { rows } = await sql<ExecutionAssetEvent>`
    select event.id, event.timestamp, event.extra, event.source_task_id, event.source_dag_id, event.source_run_id,
      event.source_map_index, event.partition_key, asset.extra as asset_extra,
      jsonb_build_object('name', asset.name, 'uri', asset.uri, 'group', asset."group") as asset,
      ${CREATED_RUNS} as created_dagruns
    from asset_event event join asset on asset.id = event.asset_id
    where ${"alias" in of ? ofAlias(of.alias) : ofAsset(of)}
      and (${after}::timestamptz is null or event.timestamp >= ${after}::timestamptz)
      and (${before}::timestamptz is null or event.timestamp <= ${before}::timestamptz)
    order by event.timestamp ${ascending ? sql`asc` : sql`desc`}, event.id ${ascending ? sql`asc` : sql`desc`}
    limit ${limit || null}`.execute(db);
  return rows;
}

function ofAlias(alias: string): RawBuilder<SqlBool> {
  return sql<SqlBool>`event.id in (
    select link.event_id from asset_alias_asset_event link join asset_alias on asset_alias.id = link.alias_id
    where asset_alias.name = ${alias})`;
}

function ofAsset({ name, uri }: { name: string | null; uri: string | null }): RawBuilder<SqlBool> {
  if (name && uri) return sql<SqlBool>`asset.name = ${name} and asset.uri = ${uri}`;
  return uri ? sql<SqlBool>`asset.uri = ${uri} and ${IS_ACTIVE}` : sql<SqlBool>`asset.name = ${name} and ${IS_ACTIVE}`;
}

/** Those of a task's declared inlets and outlets that are not active. undefined: there is no such task instance. */
export async function inactivePorts(db: Database, taskInstanceId: string): Promise<AssetKey[] | undefined> {
  const { rows } = await sql<{ name: string | null; uri: string | null }>`
    with live as (
      select ti.id, ti.task_id, coalesce(ti.dag_version_id, r.dag_version_id) as version_id
      from task_instance ti join dag_run r on r.id = ti.dag_run_id where ti.id = ${taskInstanceId}::uuid
    ), task as (
      select task -> '__var' as body from live join dag_version v on v.id = live.version_id,
        json_array_elements(v.serialized -> 'dag' -> 'tasks') as task
      where task -> '__var' ->> 'task_id' = live.task_id
    ), port as (
      select port -> '__var' ->> 'name' as name, port -> '__var' ->> 'uri' as uri
      from task, lateral (values (body), (body -> 'partial_kwargs')) as given(fields),
        lateral (values (fields -> 'inlets'), (fields -> 'outlets')) as side(ports),
        json_array_elements(case when json_typeof(ports) = 'array' then ports else '[]'::json end) as port
      where port ->> '__type' = 'asset'
    )
    select port.name, port.uri from live left join (
      select distinct name, uri from port
      where not exists (select from asset_active a where a.name = port.name and a.uri = port.uri)
    ) as port on true`.execute(db);
  if (rows.length === 0) return undefined;
  return rows.flatMap(({ name, uri }) => (name === null ? [] : [{ name, uri: uri ?? "" }]));
}
