import { sql } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import type { Database } from "./database.ts";

/** Where a task keeps its state: the task instance, whichever try of it. `mapIndex` null: any of them. */
export interface TaskStatePlace {
  dagId: string;
  runId: string;
  taskId: string;
  mapIndex: number | null;
}

export interface TaskStateRow {
  key: string;
  value: JsonText | null;
  updated_at: Instant;
  expires_at: Instant | null;
}

function entriesAt(db: Database, place: TaskStatePlace) {
  const query = db
    .selectFrom("task_state_store as s")
    .innerJoin("dag_run as dr", "dr.id", "s.ti_dag_run_id")
    .where("dr.dag_id", "=", place.dagId)
    .where("dr.run_id", "=", place.runId)
    .where("s.task_id", "=", place.taskId);
  return place.mapIndex === null ? query : query.where("s.map_index", "=", place.mapIndex);
}

export async function listTaskStates(
  db: Database,
  place: TaskStatePlace,
  page: { limit: number; offset: number },
): Promise<{ rows: TaskStateRow[]; total: number }> {
  const rows = await entriesAt(db, place)
    .select(["s.key", "s.value", "s.updated_at", "s.expires_at"])
    .orderBy("s.key")
    .limit(page.limit)
    .offset(page.offset)
    .execute();
  const { total } = await entriesAt(db, place)
    .select(sql<number>`count(*)`.as("total"))
    .executeTakeFirstOrThrow();
  return { rows, total };
}

export async function findTaskStateEntry(
  db: Database,
  place: TaskStatePlace,
  key: string,
): Promise<TaskStateRow | null> {
  const row = await entriesAt(db, place)
    .where("s.key", "=", key)
    .select(["s.key", "s.value", "s.updated_at", "s.expires_at"])
    .executeTakeFirst();
  return row ?? null;
}

export async function taskInstanceExists(db: Database, place: TaskStatePlace): Promise<boolean> {
  const { rows } = await sql`
    select 1 from task_instance ti join dag_run dr on dr.id = ti.dag_run_id
    where dr.dag_id = ${place.dagId} and dr.run_id = ${place.runId} and ti.task_id = ${place.taskId}
      and (${place.mapIndex}::integer is null or ti.map_index = ${place.mapIndex})
    limit 1`.execute(db);
  return rows.length > 0;
}

/** Writes a value. Without `expiresAt` an entry that exists keeps when it expires. */
export async function setTaskState(
  db: Database,
  place: TaskStatePlace & { mapIndex: number },
  entry: { key: string; value: JsonText; expiresAt?: Instant | null; now: Instant },
): Promise<void> {
  const keep = entry.expiresAt === undefined;
  await sql`
    insert into task_state_store (ti_dag_run_id, task_id, map_index, key, value, expires_at, updated_at)
    select id, ${place.taskId}, ${place.mapIndex}, ${entry.key}, ${entry.value}::json, ${entry.expiresAt ?? null}::timestamptz,
      ${entry.now}::timestamptz
    from dag_run where dag_id = ${place.dagId} and run_id = ${place.runId}
    on conflict (ti_dag_run_id, task_id, map_index, key) do update
      set value = excluded.value, updated_at = excluded.updated_at,
        expires_at = case when ${keep} then task_state_store.expires_at else excluded.expires_at end`.execute(db);
}

/** One key, or all of them when it is null. */
export async function removeTaskStates(db: Database, place: TaskStatePlace, key: string | null): Promise<void> {
  await sql`
    delete from task_state_store s using dag_run dr
    where dr.id = s.ti_dag_run_id and dr.dag_id = ${place.dagId} and dr.run_id = ${place.runId}
      and s.task_id = ${place.taskId}
      and (${place.mapIndex}::integer is null or s.map_index = ${place.mapIndex})
      and (${key}::text is null or s.key = ${key})`.execute(db);
}
