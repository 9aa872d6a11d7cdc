import { sql } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import type { Database } from "./database.ts";

/** Who wrote a value last. */
export type AssetStateWriter = { kind: "task"; taskInstanceId: string } | { kind: "watcher" | "api" };

export interface AssetStateRow {
  key: string;
  value: JsonText;
  updated_at: Instant;
  last_updated_by_kind: string | null;
  last_updated_by_dag_id: string | null;
  last_updated_by_run_id: string | null;
  last_updated_by_task_id: string | null;
  last_updated_by_map_index: number | null;
}

/** A page of what is kept for an asset, by key. */
export async function listAssetState(
  db: Database,
  assetId: number,
  page: { limit: number; offset: number },
): Promise<{ rows: AssetStateRow[]; total: number }> {
  const rows = await db
    .selectFrom("asset_state_store")
    .selectAll()
    .where("asset_id", "=", assetId)
    .orderBy("key")
    .limit(page.limit)
    .offset(page.offset)
    .execute();
  const { total } = await db
    .selectFrom("asset_state_store")
    .select(sql<number>`count(*)`.as("total"))
    .where("asset_id", "=", assetId)
    .executeTakeFirstOrThrow();
  return { rows, total };
}

export async function findAssetState(db: Database, assetId: number, key: string): Promise<AssetStateRow | undefined> {
  return await db
    .selectFrom("asset_state_store")
    .selectAll()
    .where("asset_id", "=", assetId)
    .where("key", "=", key)
    .executeTakeFirst();
}

/** False: the task instance that writes is no longer there. */
export async function putAssetState(
  db: Database,
  state: { assetId: number; key: string; value: JsonText; by: AssetStateWriter; now: Instant },
): Promise<boolean> {
  const { assetId, key, value, by, now } = state;
  const { rows } = await sql`
    with writer as (
      select ${by.kind}::text as kind, ti.dag_id, r.run_id, ti.task_id, ti.map_index
      from (select 1) as one left join task_instance ti on ti.id = ${by.kind === "task" ? by.taskInstanceId : null}::uuid
        left join dag_run r on r.id = ti.dag_run_id
      where ti.id is not null or ${by.kind !== "task"}
    )
    insert into asset_state_store (asset_id, key, value, updated_at, last_updated_by_kind, last_updated_by_dag_id,
      last_updated_by_run_id, last_updated_by_task_id, last_updated_by_map_index)
    select ${assetId}, ${key}, ${value}::json, ${now}::timestamptz, kind, dag_id, run_id, task_id, map_index from writer
    on conflict (asset_id, key) do update
      set value = excluded.value, updated_at = excluded.updated_at, last_updated_by_kind = excluded.last_updated_by_kind,
        last_updated_by_dag_id = excluded.last_updated_by_dag_id, last_updated_by_run_id = excluded.last_updated_by_run_id,
        last_updated_by_task_id = excluded.last_updated_by_task_id,
        last_updated_by_map_index = excluded.last_updated_by_map_index
    returning 1`.execute(db);
  return rows.length > 0;
}

/** One key, or all when it is null. */
export async function deleteAssetState(db: Database, assetId: number, key: string | null): Promise<void> {
  let query = db.deleteFrom("asset_state_store").where("asset_id", "=", assetId);
  if (key !== null) query = query.where("key", "=", key);
  await query.execute();
}
