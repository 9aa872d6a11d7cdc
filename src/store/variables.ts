import { sql, type Selectable } from "kysely";
import type { TeamScope } from "../domain/team.ts";
import type { Database } from "./database.ts";
import { column, matches, paginated, type Order, type Page, type Patterns, type Sortable } from "./filters.ts";
import type { VariableTable } from "./schema.ts";
import { ownedWithin } from "./team-scope.ts";

/** As stored: `val` is a Fernet token where `is_encrypted`. */
export type VariableRow = Selectable<VariableTable>;

export const VARIABLE_SORTABLE: Sortable = {
  key: column("key"),
  id: column("id"),
  _val: column("val"),
  description: column("description"),
  is_encrypted: column("is_encrypted"),
  team_name: column("team_name"),
};

export async function listVariables(
  db: Database,
  { key, teams }: { key: Patterns; teams: TeamScope },
  sorting: { orders: readonly Order[]; page: Page },
): Promise<{ rows: VariableRow[]; total: number }> {
  let query = db.selectFrom("variable").selectAll();
  const conditions = [...matches(column("key"), key), ...ownedWithin(column("team_name"), teams)];
  for (const condition of conditions) query = query.where(condition);
  return await paginated(query, { ...sorting, sortable: VARIABLE_SORTABLE });
}

/** Those of the keys that exist. */
export async function findVariables(db: Database, keys: readonly string[]): Promise<VariableRow[]> {
  return await db
    .selectFrom("variable")
    .selectAll()
    .where("key", "=", sql<string>`any(${keys}::text[])`)
    .execute();
}

/** `val` comes encrypted. null: the key exists already. */
export async function createVariable(
  db: Database,
  variable: { key: string; val: string; description: string | null; team_name: string | null },
): Promise<VariableRow | null> {
  const row = await db
    .insertInto("variable")
    .values({ ...variable, is_encrypted: true })
    .onConflict((conflict) => conflict.column("key").doNothing())
    .returningAll()
    .executeTakeFirst();
  return row ?? null;
}

/** Changes the fields given; `val` comes encrypted. null: there is no such key. */
export async function updateVariable(
  db: Database,
  key: string,
  fields: { val?: string; description?: string | null; team_name?: string | null },
): Promise<VariableRow | null> {
  const change = { ...fields, ...(fields.val === undefined ? {} : { is_encrypted: true }) };
  if (Object.keys(change).length === 0) return (await findVariables(db, [key]))[0] ?? null;
  const row = await db.updateTable("variable").set(change).where("key", "=", key).returningAll().executeTakeFirst();
  return row ?? null;
}

/** The keys that were there. */
export async function deleteVariables(db: Database, keys: readonly string[]): Promise<string[]> {
  const rows = await db
    .deleteFrom("variable")
    .where("key", "=", sql<string>`any(${keys}::text[])`)
    .returning("key")
    .execute();
  return rows.map((row) => row.key);
}
