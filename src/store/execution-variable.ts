import { sql } from "kysely";
import type { Database } from "./database.ts";
import { isSeenBy, teamOf, type Asker } from "./execution-team.ts";

/** As stored: `val` is a Fernet token where `is_encrypted`. */
export async function findVariable(
  db: Database,
  key: string,
  asker: Asker | null = null,
): Promise<{ val: string; is_encrypted: boolean } | null> {
  const found = db.selectFrom("variable").select(["val", "is_encrypted"]).where("key", "=", key);
  return (await found.where(isSeenBy("variable", asker)).executeTakeFirst()) ?? null;
}

/**
 * `val` comes encrypted. What the key held before is overwritten, its description too, as Airflow does; a new one is of the
 * asker's team. False: the key is another team's.
 */
export async function putVariable(
  db: Database,
  variable: { key: string; val: string; description: string | null },
  asker: Asker | null = null,
): Promise<boolean> {
  const { numInsertedOrUpdatedRows } = await db
    .insertInto("variable")
    .values({ ...variable, is_encrypted: true, team_name: asker && teamOf(asker) })
    .onConflict((conflict) =>
      conflict
        .column("key")
        .doUpdateSet({ val: variable.val, description: variable.description, is_encrypted: true })
        .where(isSeenBy("variable", asker)),
    )
    .executeTakeFirst();
  return numInsertedOrUpdatedRows !== 0n;
}

export async function deleteVariable(db: Database, key: string, asker: Asker | null = null): Promise<void> {
  await db.deleteFrom("variable").where("key", "=", key).where(isSeenBy("variable", asker)).execute();
}

/** Keys in their order, those with a prefix only; of the asker's team, or else nobody's. */
export async function listVariableKeys(
  db: Database,
  page: { prefix: string | null; limit: number; offset: number },
  asker: Asker | null = null,
): Promise<{ keys: string[]; total: number }> {
  const listed = asker === null ? sql`true` : sql`team_name is not distinct from ${teamOf(asker)}`;
  const { rows } = await sql<{ keys: string[]; total: number }>`
    with matching as (
      select key from variable where starts_with(key, ${page.prefix ?? ""}) and ${listed}
    )
    select (select count(*) from matching) as total,
      array(select key from matching order by key offset ${page.offset} limit ${page.limit}) as keys`.execute(db);
  return rows[0] ?? { keys: [], total: 0 };
}
