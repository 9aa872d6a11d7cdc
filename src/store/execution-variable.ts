import { sql } from "kysely";
import type { Database } from "./database.ts";

/** As stored: `val` is a Fernet token where `is_encrypted`. */
export async function findVariable(db: Database, key: string): Promise<{ val: string; is_encrypted: boolean } | null> {
  const row = await db.selectFrom("variable").select(["val", "is_encrypted"]).where("key", "=", key).executeTakeFirst();
  return row ?? null;
}

/** `val` comes encrypted. What the key held before is overwritten, its description too, as Airflow does. */
export async function putVariable(
  db: Database,
  variable: { key: string; val: string; description: string | null },
): Promise<void> {
  await db
    .insertInto("variable")
    .values({ ...variable, is_encrypted: true })
    .onConflict((conflict) =>
      conflict.column("key").doUpdateSet({ val: variable.val, description: variable.description, is_encrypted: true }),
    )
    .execute();
}

export async function deleteVariable(db: Database, key: string): Promise<void> {
  await db.deleteFrom("variable").where("key", "=", key).execute();
}

/** Keys in their order, those with a prefix only. */
export async function listVariableKeys(
  db: Database,
  page: { prefix: string | null; limit: number; offset: number },
): Promise<{ keys: string[]; total: number }> {
  const { rows } = await sql<{ keys: string[]; total: number }>`
    with matching as (
      select key from variable where starts_with(key, ${page.prefix ?? ""})
    )
    select (select count(*) from matching) as total,
      array(select key from matching order by key offset ${page.offset} limit ${page.limit}) as keys`.execute(db);
  return rows[0] ?? { keys: [], total: 0 };
}
