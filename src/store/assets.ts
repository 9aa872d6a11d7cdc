import { sql, type Transaction } from "kysely";
import type { Instant } from "../kit/instant.ts";
import { toJsonText, type JsonText, type JsonValue } from "../kit/json-text.ts";
import { declaredAssets, type DeclaredAssets } from "../domain/asset/declared-assets.ts";
import type { ParsedDag } from "../domain/parse-result.ts";
import type { Schema } from "./schema.ts";

/**
 * What DAGs say about assets, as Airflow's `AssetModelOperation` keeps it: the assets and aliases themselves, and which DAG or
 * task refers to which. Runs in the transaction that registers the DAGs.
 */
export async function syncAssets(
  trx: Transaction<Schema>,
  dags: readonly Pick<ParsedDag, "dagId" | "serialized">[],
  at: Instant,
): Promise<void> {
  const declared = new Map(dags.map(({ dagId, serialized }) => [dagId, declaredAssets(serialized)]));
  const all = [...declared.values()];
  const namesAny = all.some(({ assets, aliases, scheduleNames, scheduleUris }) =>
    [assets, aliases, scheduleNames, scheduleUris].some((list) => list.length > 0),
  );
  if (!namesAny && !(await refersToAssets(trx, [...declared.keys()]))) return;
  await upsertAssets(trx, all, at);
  await replaceReferences(trx, declared, at);
  await updateActiveAssets(trx, at);
  await expandExpressions(trx, [...declared.keys()]);
}

/** The expressions that the UI shows name assets by their ids, which only the database knows. */
async function expandExpressions(trx: Transaction<Schema>, dagIds: readonly string[]): Promise<void> {
  const { rows } = await sql<{ dag_id: string; asset_expression: JsonText }>`
    select dag_id, asset_expression from dag where dag_id = any(${dagIds}) and asset_expression is not null`.execute(
    trx,
  );
  if (rows.length === 0) return;
  const ids = await sql<{ key: string; id: number }>`
    select jsonb_build_array(name, uri)::text as key, id from asset where id in (
      select asset_id from dag_schedule_asset_reference where dag_id = any(${dagIds}))`.execute(trx);
  const idOf = new Map(ids.rows.map(({ key, id }) => [JSON.stringify(JSON.parse(key)), id]));
  const expanded = rows.map(({ dag_id, asset_expression }) => ({
    dag_id,
    expression: JSON.stringify(withIds(JSON.parse(asset_expression) as JsonValue, idOf)),
  }));
  await sql`
    update dag set asset_expression = given.expression::json
    from unnest(${expanded.map((one) => one.dag_id)}::text[], ${expanded.map((one) => one.expression)}::text[])
      as given(dag_id, expression)
    where dag.dag_id = given.dag_id`.execute(trx);
}

function withIds(expression: JsonValue, idOf: ReadonlyMap<string, number>): JsonValue {
  if (Array.isArray(expression)) return expression.map((part) => withIds(part, idOf));
  if (typeof expression !== "object" || expression === null) return expression;
  const { name, uri } = expression;
  if (typeof name === "string" && typeof uri === "string") {
    return { ...expression, id: idOf.get(JSON.stringify([name, uri])) ?? null };
  }
  return Object.fromEntries(Object.entries(expression).map(([key, part]) => [key, withIds(part, idOf)]));
}

/** These DAGs are gone, or their file is: nothing of theirs counts any more. */
export async function dropAssetReferences(
  trx: Transaction<Schema>,
  dagIds: readonly string[],
  at: Instant,
): Promise<void> {
  if (dagIds.length === 0 || !(await refersToAssets(trx, dagIds))) return;
  await replaceReferences(trx, new Map(dagIds.map((dagId) => [dagId, null])), at);
  await updateActiveAssets(trx, at);
}

async function refersToAssets(trx: Transaction<Schema>, dagIds: readonly string[]): Promise<boolean> {
  const { rows } = await sql`
    select from dag_schedule_asset_reference where dag_id = any(${dagIds})
    union all select from dag_schedule_asset_alias_reference where dag_id = any(${dagIds})
    union all select from dag_schedule_asset_name_reference where dag_id = any(${dagIds})
    union all select from dag_schedule_asset_uri_reference where dag_id = any(${dagIds})
    union all select from task_inlet_asset_reference where dag_id = any(${dagIds})
    union all select from task_outlet_asset_reference where dag_id = any(${dagIds})
    limit 1`.execute(trx);
  return rows.length > 0;
}

async function upsertAssets(trx: Transaction<Schema>, all: readonly DeclaredAssets[], at: Instant): Promise<void> {
  // Of two that differ in more than the key, the last counts.
  const assets = new Map(
    all.flatMap((one) => one.assets.map((asset) => [JSON.stringify([asset.name, asset.uri]), asset])),
  );
  const aliases = new Map(all.flatMap((one) => one.aliases.map((alias) => [alias.name, alias])));
  const rows = [...assets.values()];
  const groups = [...aliases.values()];
  await sql`
    with wanted as (
      select * from unnest(${rows.map(({ name }) => name)}::text[], ${rows.map(({ uri }) => uri)}::text[],
        ${rows.map(({ group }) => group)}::text[], ${rows.map(({ extra }) => extra)}::text[])
        with ordinality as w(name, uri, "group", extra, place)
    ), updated as (
      update asset set "group" = wanted."group", extra = wanted.extra::json, updated_at = ${at}::timestamptz
      from wanted
      where asset.name = wanted.name and asset.uri = wanted.uri
        and (asset."group" <> wanted."group" or asset.extra::text <> wanted.extra)
    )
    insert into asset (name, uri, "group", extra, created_at, updated_at)
    select name, uri, "group", extra::json, ${at}::timestamptz, ${at}::timestamptz from wanted
    where not exists (select from asset where asset.name = wanted.name and asset.uri = wanted.uri) order by place
    on conflict (name, uri) do nothing`.execute(trx);
  await sql`
    with wanted as (
      select * from unnest(${groups.map(({ name }) => name)}::text[], ${groups.map(({ group }) => group)}::text[])
        as w(name, "group")
    ), updated as (
      update asset_alias set "group" = wanted."group" from wanted
      where asset_alias.name = wanted.name and asset_alias."group" <> wanted."group"
    )
    insert into asset_alias (name, "group")
    select name, "group" from wanted where not exists (select from asset_alias where asset_alias.name = wanted.name)
    on conflict (name) do nothing`.execute(trx);
}

interface Reference {
  kind: "schedule" | "alias" | "name" | "uri" | "inlet" | "outlet";
  dag_id: string;
  name?: string;
  uri?: string;
  task_id?: string;
  teams?: string[] | null;
  allow_global?: boolean;
}

function referencesOf(dagId: string, declared: DeclaredAssets): Reference[] {
  const dag_id = dagId;
  return [
    ...lastOfEach(declared.schedule).map(({ name, uri, teams, allowGlobal }) => ({
      ...{ kind: "schedule" as const, dag_id, name, uri, teams, allow_global: allowGlobal },
    })),
    ...declared.scheduleAliases.map((name) => ({ kind: "alias" as const, dag_id, name })),
    ...declared.scheduleNames.map((name) => ({ kind: "name" as const, dag_id, name })),
    ...declared.scheduleUris.map((uri) => ({ kind: "uri" as const, dag_id, uri })),
    ...declared.inlets.map(({ taskId, name, uri }) => ({ kind: "inlet" as const, dag_id, task_id: taskId, name, uri })),
    ...lastOfEach(declared.outlets).map(({ taskId, name, uri, teams, allowGlobal }) => ({
      ...{ kind: "outlet" as const, dag_id, task_id: taskId, name, uri, teams, allow_global: allowGlobal },
    })),
  ];
}

/** Of two references to an asset that differ in whom they let in, the last counts. */
function lastOfEach<T extends { name: string; uri: string; taskId?: string }>(references: readonly T[]): T[] {
  const byKey = new Map(references.map((one) => [JSON.stringify([one.taskId, one.name, one.uri]), one]));
  return [...byKey.values()];
}

/** The references of these DAGs are now exactly these; those that stay keep their time. null: none. */
async function replaceReferences(
  trx: Transaction<Schema>,
  declared: ReadonlyMap<string, DeclaredAssets | null>,
  at: Instant,
): Promise<void> {
  const dagIds = [...declared.keys()];
  const references = [...declared].flatMap(([dagId, one]) => (one ? referencesOf(dagId, one) : []));
  const watchers = [...declared].flatMap(([dagId, one]) =>
    (one?.assets ?? []).flatMap(({ name, uri, watchers }) =>
      watchers.map((watcher) => ({ dag_id: dagId, asset_name: name, uri, ...watcher })),
    ),
  );
  const access = sql`w.teams, w.allow_global`;
  const wantedSchedule = sql`select asset.id as asset_id, w.dag_id, ${access} from wanted w
    join asset on asset.name = w.name and asset.uri = w.uri where w.kind = 'schedule'`;
  const wantedPort = (
    kind: "inlet" | "outlet",
  ) => sql`select distinct asset.id as asset_id, w.dag_id, w.task_id, ${access}
    from wanted w join asset on asset.name = w.name and asset.uri = w.uri where w.kind = ${kind}`;
  const mine = sql`dag_id = any(${dagIds})`;
  const now = sql`${at}::timestamptz`;
  await sql`
    with wanted as materialized (
      select * from json_to_recordset(${toJsonText(references)}::json)
        as w(kind text, dag_id text, name text, uri text, task_id text, teams text[], allow_global boolean)
    ), schedule as (${wantedSchedule}
    ), alias as (
      select distinct asset_alias.id as alias_id, w.dag_id from wanted w join asset_alias using (name) where w.kind = 'alias'
    ), outlet as (${wantedPort("outlet")}
    ), inlet as (${wantedPort("inlet")}
    ), schedule_gone as (
      delete from dag_schedule_asset_reference where ${mine} and (asset_id, dag_id) not in (select asset_id, dag_id from schedule)
    ), schedule_new as (
      insert into dag_schedule_asset_reference as kept
        (asset_id, dag_id, allow_producer_teams, allow_global_producers, created_at, updated_at)
      select asset_id, dag_id, teams, allow_global, ${now}, ${now} from schedule
      on conflict (asset_id, dag_id) do update set updated_at = ${now},
        allow_producer_teams = excluded.allow_producer_teams, allow_global_producers = excluded.allow_global_producers
      where (kept.allow_producer_teams, kept.allow_global_producers)
        is distinct from (excluded.allow_producer_teams, excluded.allow_global_producers)
    ), alias_gone as (
      delete from dag_schedule_asset_alias_reference where ${mine} and (alias_id, dag_id) not in (select * from alias)
    ), alias_new as (
      insert into dag_schedule_asset_alias_reference (alias_id, dag_id, created_at, updated_at)
      select alias_id, dag_id, ${now}, ${now} from alias on conflict do nothing
    ), name_gone as (
      delete from dag_schedule_asset_name_reference
      where ${mine} and (name, dag_id) not in (select name, dag_id from wanted where kind = 'name')
    ), name_new as (
      insert into dag_schedule_asset_name_reference (name, dag_id, created_at)
      select distinct name, dag_id, ${now} from wanted where kind = 'name' on conflict do nothing
    ), uri_gone as (
      delete from dag_schedule_asset_uri_reference
      where ${mine} and (uri, dag_id) not in (select uri, dag_id from wanted where kind = 'uri')
    ), uri_new as (
      insert into dag_schedule_asset_uri_reference (uri, dag_id, created_at)
      select distinct uri, dag_id, ${now} from wanted where kind = 'uri' on conflict do nothing
    ), outlet_gone as (
      delete from task_outlet_asset_reference where ${mine} and (asset_id, dag_id, task_id) not in (select asset_id, dag_id, task_id from outlet)
    ), outlet_new as (
      insert into task_outlet_asset_reference as kept
        (asset_id, dag_id, task_id, allow_consumer_teams, allow_global_consumers, created_at, updated_at)
      select asset_id, dag_id, task_id, teams, allow_global, ${now}, ${now} from outlet
      on conflict (asset_id, dag_id, task_id) do update set updated_at = ${now},
        allow_consumer_teams = excluded.allow_consumer_teams, allow_global_consumers = excluded.allow_global_consumers
      where (kept.allow_consumer_teams, kept.allow_global_consumers)
        is distinct from (excluded.allow_consumer_teams, excluded.allow_global_consumers)
    ), inlet_gone as (
      delete from task_inlet_asset_reference where ${mine} and (asset_id, dag_id, task_id) not in (select asset_id, dag_id, task_id from inlet)
    )
    insert into task_inlet_asset_reference (asset_id, dag_id, task_id, created_at, updated_at)
    select asset_id, dag_id, task_id, ${now}, ${now} from inlet on conflict do nothing`.execute(trx);
  await sql`
    with wanted as materialized (
      select asset.id as asset_id, w.dag_id, w.name, w.classpath, w.kwargs
      from json_to_recordset(${toJsonText(watchers)}::json)
        as w(dag_id text, asset_name text, uri text, name text, classpath text, kwargs text)
      join asset on asset.name = w.asset_name and asset.uri = w.uri
    ), gone as (
      delete from asset_watcher where ${mine} and (asset_id, dag_id, name) not in (select asset_id, dag_id, name from wanted)
    )
    insert into asset_watcher (asset_id, dag_id, name, classpath, kwargs)
    select distinct on (asset_id, dag_id, name) asset_id, dag_id, name, classpath, kwargs from wanted
    on conflict (asset_id, dag_id, name) do update
    set classpath = excluded.classpath, kwargs = excluded.kwargs, trigger_id = null
    where (asset_watcher.classpath, asset_watcher.kwargs) <> (excluded.classpath, excluded.kwargs)`.execute(trx);
}

/**
 * Airflow's `_update_asset_orphanage`: what no DAG refers to any more is inactive; of the others, those become active whose
 * name and URI no active asset has. A DAG whose asset cannot gets the warning "asset conflict".
 */
export async function updateActiveAssets(trx: Transaction<Schema>, at: Instant): Promise<void> {
  const referenced = sql`
    select asset_id from dag_schedule_asset_reference
    union select asset_id from task_outlet_asset_reference
    union select asset_id from task_inlet_asset_reference
    union select asset_id from asset_alias_asset`;
  await sql`
    delete from asset_active using asset
    where asset.name = asset_active.name and asset.uri = asset_active.uri and asset.id not in (${referenced})`.execute(
    trx,
  );
  await sql`
    insert into asset_active (name, uri)
    select name, uri from asset where id in (${referenced}) order by id
    on conflict do nothing`.execute(trx);
  await sql`
    delete from asset_state_store where asset_id not in (
      select asset.id from asset join asset_active using (name, uri))`.execute(trx);
  await sql`
    with inactive as (
      select asset.*, by_name.uri as other_uri, by_uri.name as other_name from asset
      left join asset_active as by_name on by_name.name = asset.name
      left join asset_active as by_uri on by_uri.uri = asset.uri
      where asset.id in (${referenced})
        and not exists (select from asset_active a where a.name = asset.name and a.uri = asset.uri)
    ), refers as (
      select asset_id, dag_id from dag_schedule_asset_reference
      union all select asset_id, dag_id from task_outlet_asset_reference
      union all select asset_id, dag_id from task_inlet_asset_reference
    ), warned as (
      select refers.dag_id, string_agg(text, e'\n' order by text collate "C") as message
      from inactive join refers on refers.asset_id = inactive.id, lateral (
        select format('Cannot activate asset Asset(name="%s", uri="%s", group="%s"); %s is already associated to ''%s''',
          name, uri, "group", case when other_uri is not null then 'name' else 'uri' end, coalesce(other_uri, other_name)) as text
      ) as worded
      group by refers.dag_id
    ), lifted as (
      delete from dag_warning where warning_type = 'asset conflict' and dag_id not in (select dag_id from warned)
    )
    insert into dag_warning (dag_id, warning_type, message, timestamp)
    select dag_id, 'asset conflict', message, ${at}::timestamptz from warned
    on conflict (dag_id, warning_type) do update set message = excluded.message
    where dag_warning.message <> excluded.message`.execute(trx);
}
