import { sql, type RawBuilder, type SqlBool } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import type { TeamScope } from "../domain/team.ts";
import type { Database } from "./database.ts";
import { IS_ACTIVE, type CreatedRun } from "./execution-assets.ts";
import {
  allOf,
  column,
  equals,
  inRange,
  matches,
  orderExpressions,
  paginated,
  totalOf,
  type Condition,
  type Order,
  type Page,
  type Patterns,
  type Range,
  type Sortable,
} from "./filters.ts";
import { CREATED_RUN_FIELDS, instantJson } from "./instant-text.ts";
import { dagsWithinOrNone } from "./team-scope.ts";

/** An asset with all that refers to it; times within lists are Instants. */
export interface AssetRow {
  id: number;
  name: string;
  uri: string;
  group: string;
  extra: JsonText;
  created_at: Instant;
  updated_at: Instant;
  scheduled_dags: { dag_id: string; created_at: Instant; updated_at: Instant }[];
  producing_tasks: TaskReference[];
  consuming_tasks: TaskReference[];
  aliases: AliasRow[];
  watchers: { name: string; trigger_id: number; created_date: Instant }[];
  last_event_id: number | null;
  last_event_timestamp: Instant | null;
}

interface TaskReference {
  dag_id: string;
  task_id: string;
  created_at: Instant;
  updated_at: Instant;
}

export interface AliasRow {
  id: number;
  name: string;
  group: string;
}

export const ASSET_SORTABLE: Sortable = {
  id: column("asset.id"),
  name: column("asset.name"),
  uri: column("asset.uri"),
  created_at: column("asset.created_at"),
  updated_at: column("asset.updated_at"),
};

const TIMES = sql`'created_at', ${instantJson("r.created_at")}, 'updated_at', ${instantJson("r.updated_at")}`;

const tasksOf = (table: string) => sql`(
    select coalesce(jsonb_agg(jsonb_build_object('dag_id', r.dag_id, 'task_id', r.task_id, ${TIMES})
      order by r.dag_id, r.task_id), '[]')
    from ${sql.table(table)} r where r.asset_id = asset.id)`;

const ASSET_COLUMNS = sql`asset.*, (
    select coalesce(jsonb_agg(jsonb_build_object('dag_id', r.dag_id, ${TIMES}) order by r.dag_id), '[]')
    from dag_schedule_asset_reference r where r.asset_id = asset.id) as scheduled_dags,
  ${tasksOf("task_outlet_asset_reference")} as producing_tasks, ${tasksOf("task_inlet_asset_reference")} as consuming_tasks, (
    select coalesce(jsonb_agg(jsonb_build_object('id', al.id, 'name', al.name, 'group', al."group") order by al.id), '[]')
    from asset_alias_asset link join asset_alias al on al.id = link.alias_id where link.asset_id = asset.id) as aliases, (
    select coalesce(jsonb_agg(distinct jsonb_build_object('name', w.name, 'trigger_id', trigger.id,
      'created_date', ${instantJson("trigger.created_date")})), '[]')
    from asset_watcher w join trigger on trigger.id = w.trigger_id where w.asset_id = asset.id) as watchers,
  last_event.id as last_event_id, last_event.timestamp as last_event_timestamp
  from asset left join lateral (
    select id, timestamp from asset_event where asset_id = asset.id order by timestamp desc, id desc limit 1
  ) as last_event on true`;

export interface AssetFilter {
  name: Patterns;
  uri: Patterns;
  /** Referred to by one of these DAGs. */
  dagIds: readonly string[] | undefined;
  onlyActive: boolean;
}

export async function listAssets(
  db: Database,
  filter: AssetFilter,
  { orders, page }: { orders: readonly Order[]; page: Page },
): Promise<{ rows: AssetRow[]; total: number }> {
  const where = allOf([
    ...matches(column("asset.name"), filter.name),
    ...matches(column("asset.uri"), filter.uri),
    ...(filter.onlyActive ? [IS_ACTIVE] : []),
    ...(filter.dagIds ? [referredToBy(filter.dagIds)] : []),
  ]);
  const { rows } = await sql<AssetRow>`
    select ${ASSET_COLUMNS} where ${where} order by ${sql.join(orderExpressions(orders, ASSET_SORTABLE))}
    limit ${page.limit} offset ${page.offset}`.execute(db);
  return { rows, total: await totalOf(rows.length, page, () => countOf(db, sql`asset where ${where}`)) };
}

function referredToBy(dagIds: readonly string[]): Condition {
  return sql<SqlBool>`asset.id in (
    select asset_id from dag_schedule_asset_reference where dag_id = any(${dagIds})
    union select asset_id from task_outlet_asset_reference where dag_id = any(${dagIds})
    union select asset_id from task_inlet_asset_reference where dag_id = any(${dagIds}))`;
}

async function countOf(db: Database, from: RawBuilder<unknown>): Promise<number> {
  const { rows } = await sql<{ total: number }>`select count(*) as total from ${from}`.execute(db);
  return rows[0]?.total ?? 0;
}

export async function findAsset(db: Database, id: number): Promise<AssetRow | null> {
  const { rows } = await sql<AssetRow>`select ${ASSET_COLUMNS} where asset.id = ${id}`.execute(db);
  return rows[0] ?? null;
}

export async function assetExists(db: Database, id: number): Promise<boolean> {
  return (await db.selectFrom("asset").select("id").where("id", "=", id).executeTakeFirst()) !== undefined;
}

export const ALIAS_SORTABLE: Sortable = { id: column("asset_alias.id"), name: column("asset_alias.name") };

export async function listAssetAliases(
  db: Database,
  name: Patterns,
  { orders, page }: { orders: readonly Order[]; page: Page },
): Promise<{ rows: AliasRow[]; total: number }> {
  const query = db
    .selectFrom("asset_alias")
    .selectAll()
    .where(allOf(matches(column("asset_alias.name"), name)));
  return await paginated(query, { orders, sortable: ALIAS_SORTABLE, page });
}

export async function findAssetAlias(db: Database, id: number): Promise<AliasRow | null> {
  return (await db.selectFrom("asset_alias").selectAll().where("id", "=", id).executeTakeFirst()) ?? null;
}

/** The DAGs whose tasks update an asset; two are enough to know. */
export async function dagsProducing(db: Database, assetId: number): Promise<string[]> {
  const { rows } = await sql<{ dag_id: string }>`
    select distinct dag_id from task_outlet_asset_reference where asset_id = ${assetId} order by dag_id limit 2`.execute(
    db,
  );
  return rows.map((row) => row.dag_id);
}

export interface AssetEventRow {
  id: number;
  asset_id: number;
  uri: string | null;
  name: string | null;
  group: string | null;
  extra: JsonText;
  source_task_id: string | null;
  source_dag_id: string | null;
  source_run_id: string | null;
  source_map_index: number | null;
  created_dagruns: (CreatedRun & { triggering: boolean })[];
  timestamp: Instant;
  partition_key: string | null;
}

export const EVENT_SORTABLE: Sortable = {
  id: column("event.id"),
  source_task_id: column("event.source_task_id"),
  source_dag_id: column("event.source_dag_id"),
  source_run_id: column("event.source_run_id"),
  source_map_index: column("event.source_map_index"),
  timestamp: column("event.timestamp"),
};

// Of the events of a run only the last triggered it. A run that has not started yet would break Airflow's own document, in
// which every one has a start.
const EVENT_COLUMNS = sql`event.id, event.asset_id, asset.uri, asset.name, asset."group", event.extra, event.source_task_id,
  event.source_dag_id, event.source_run_id, event.source_map_index, event.timestamp, event.partition_key, (
    select coalesce(jsonb_agg(jsonb_build_object(${CREATED_RUN_FIELDS},
      'triggering', event.id = (
        select e.id from dagrun_asset_event l join asset_event e on e.id = l.event_id
        where l.dag_run_id = r.id order by e.timestamp desc, e.id desc limit 1)) order by r.id), '[]')
    from dagrun_asset_event made join dag_run r on r.id = made.dag_run_id
    where made.event_id = event.id and r.start_date is not null) as created_dagruns
  from asset_event event left join asset on asset.id = event.asset_id`;

export interface AssetEventQuery {
  assetId?: number | undefined;
  sourceDagId?: string | undefined;
  sourceTaskId?: string | undefined;
  sourceRunId?: string | undefined;
  sourceMapIndex?: number | undefined;
  name: Patterns;
  timestamp: Range<Instant>;
  teams?: TeamScope;
}

export async function listAssetEvents(
  db: Database,
  filter: AssetEventQuery,
  { orders, page }: { orders: readonly Order[]; page: Page },
): Promise<{ rows: AssetEventRow[]; total: number }> {
  const where = allOf([
    ...equals(column("event.asset_id"), filter.assetId),
    ...equals(column("event.source_dag_id"), filter.sourceDagId),
    ...equals(column("event.source_task_id"), filter.sourceTaskId),
    ...equals(column("event.source_run_id"), filter.sourceRunId),
    ...equals(column("event.source_map_index"), filter.sourceMapIndex),
    ...matches(column("asset.name"), filter.name),
    ...inRange(column("event.timestamp"), filter.timestamp),
    ...dagsWithinOrNone(column("event.source_dag_id"), filter.teams),
  ]);
  const { rows } = await sql<AssetEventRow>`
    select ${EVENT_COLUMNS} where ${where} order by ${sql.join(orderExpressions(orders, EVENT_SORTABLE))}
    limit ${page.limit} offset ${page.offset}`.execute(db);
  const matching = sql`asset_event event left join asset on asset.id = event.asset_id where ${where}`;
  return { rows, total: await totalOf(rows.length, page, () => countOf(db, matching)) };
}

export async function findAssetEvent(db: Database, id: number): Promise<AssetEventRow | null> {
  const { rows } = await sql<AssetEventRow>`select ${EVENT_COLUMNS} where event.id = ${id}`.execute(db);
  return rows[0] ?? null;
}

/** The events a run was made for. */
export async function eventsOfRun(db: Database, dagId: string, runId: string): Promise<AssetEventRow[]> {
  const { rows } = await sql<AssetEventRow>`
    select ${EVENT_COLUMNS} where event.id in (
      select l.event_id from dagrun_asset_event l join dag_run on dag_run.id = l.dag_run_id
      where dag_run.dag_id = ${dagId} and dag_run.run_id = ${runId})
    order by event.timestamp, event.id`.execute(db);
  return rows;
}
