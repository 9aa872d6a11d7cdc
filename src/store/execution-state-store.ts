import { sql } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import type { Database } from "./database.ts";

// The store belongs to the task instance, not to one try of it: a retry finds what the try before it wrote. Yet only the
// try that is live may write.

/** undefined when the key holds nothing. */
export async function findTaskState(db: Database, id: string, key: string): Promise<JsonText | undefined> {
  const row = await db
    .selectFrom("task_state_store as s")
    .innerJoin("task_instance as ti", (join) =>
      join
        .onRef("ti.dag_run_id", "=", "s.ti_dag_run_id")
        .onRef("ti.task_id", "=", "s.task_id")
        .onRef("ti.map_index", "=", "s.map_index"),
    )
    .where("ti.id", "=", id)
    .where("s.key", "=", key)
    .select("s.value")
    .executeTakeFirst();
  return row?.value ?? undefined;
}

/** False when the id is no longer live. */
export async function putTaskState(
  db: Database,
  state: { id: string; key: string; value: JsonText; expiresAt: Instant | null; now: Instant },
): Promise<boolean> {
  const { rows } = await sql`
    insert into task_state_store (ti_dag_run_id, task_id, map_index, key, value, expires_at, updated_at)
    select dag_run_id, task_id, map_index, ${state.key}, ${state.value}::json, ${state.expiresAt}::timestamptz,
      ${state.now}::timestamptz
    from task_instance where id = ${state.id}::uuid
    on conflict (ti_dag_run_id, task_id, map_index, key) do update
      set value = excluded.value, expires_at = excluded.expires_at, updated_at = excluded.updated_at
    returning 1`.execute(db);
  return rows.length > 0;
}

/** One key, or all when it is null. False when the id is no longer live. */
export async function deleteTaskState(db: Database, id: string, key: string | null): Promise<boolean> {
  const { rows } = await sql`
    with live as (
      select dag_run_id, task_id, map_index from task_instance where id = ${id}::uuid
    ), deleted as (
      delete from task_state_store as s using live
      where s.ti_dag_run_id = live.dag_run_id and s.task_id = live.task_id and s.map_index = live.map_index
        and (${key}::text is null or s.key = ${key})
    )
    select 1 from live`.execute(db);
  return rows.length > 0;
}
