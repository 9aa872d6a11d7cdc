import { sql } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { AssetKey } from "../domain/asset/asset-condition.ts";
import type { Database } from "./database.ts";
import { inTransaction } from "./transaction.ts";

/** A trigger that watches for assets. */
export interface WatchingTriggerRow {
  id: number;
  classpath: string;
  kwargs: string;
  /** The assets it watches. */
  assets: AssetKey[];
  environment: string;
  archive_digest: string;
  dag_rel_path: string;
}

export async function hasWatchers(db: Database): Promise<boolean> {
  const { rows } = await sql<{ any: boolean }>`select exists(select from asset_watcher) as any`.execute(db);
  return rows[0]?.any ?? false;
}

/**
 * Gives a trigger to every watcher that is to run, those that are the same shared, and takes it from the others: as in Airflow,
 * a watcher runs while its asset is active and a DAG that is not paused waits for it. Returns the triggers.
 */
export async function watchingTriggers(db: Database, now: Instant): Promise<WatchingTriggerRow[]> {
  if (!(await hasWatchers(db))) return [];
  return inTransaction(db, async (trx) => {
    await sql`
      update asset_watcher as w set trigger_id = null
      where trigger_id is not null and not exists (
        select from dag_schedule_asset_reference r join dag using (dag_id) join asset on asset.id = r.asset_id
        join asset_active using (name, uri)
        where r.asset_id = w.asset_id and not dag.is_paused and not dag.is_stale)`.execute(trx);
    await sql`
      with wanted as materialized (
        select w.asset_id, w.dag_id, w.name, w.classpath, w.kwargs from asset_watcher w
        where w.trigger_id is null and exists (
          select from dag_schedule_asset_reference r join dag using (dag_id) join asset on asset.id = r.asset_id
          join asset_active on asset_active.name = asset.name and asset_active.uri = asset.uri
          where r.asset_id = w.asset_id and not dag.is_paused and not dag.is_stale)
      ), running as (
        select classpath, kwargs, min(trigger_id) as id from asset_watcher where trigger_id is not null
        group by classpath, kwargs
      ), made as (
        insert into trigger (classpath, kwargs, created_date)
        select distinct classpath, kwargs, ${now}::timestamptz from wanted
        where (classpath, kwargs) not in (select classpath, kwargs from running)
        returning id, classpath, kwargs
      ), known as (
        select id, classpath, kwargs from running union all select id, classpath, kwargs from made
      )
      update asset_watcher as w set trigger_id = known.id from wanted join known using (classpath, kwargs)
      where w.asset_id = wanted.asset_id and w.dag_id = wanted.dag_id and w.name = wanted.name`.execute(trx);
    const found = await sql<WatchingTriggerRow>`
      select trigger.id, trigger.classpath, trigger.kwargs, place.environment, place.archive_digest, place.dag_rel_path,
        (select jsonb_agg(distinct jsonb_build_object('name', asset.name, 'uri', asset.uri))
          from asset_watcher w join asset on asset.id = w.asset_id where w.trigger_id = trigger.id) as assets
      from trigger, lateral (
        select v.environment, v.archive_digest, v.dag_rel_path
        from asset_watcher w join dag using (dag_id) join dag_version v on v.id = dag.current_version_id
        where w.trigger_id = trigger.id order by w.dag_id limit 1
      ) as place
      order by trigger.id`.execute(trx);
    return found.rows;
  });
}

/** The assets a trigger watches; none when it is no watcher's. */
export async function watchedBy(db: Database, triggerId: number): Promise<AssetKey[]> {
  const { rows } = await sql<AssetKey>`
    select distinct asset.name, asset.uri from asset_watcher w join asset on asset.id = w.asset_id
    where w.trigger_id = ${triggerId} order by asset.name, asset.uri`.execute(db);
  return rows;
}
