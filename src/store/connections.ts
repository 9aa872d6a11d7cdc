import { sql, type Selectable } from "kysely";
import type { TeamScope } from "../domain/team.ts";
import type { Database } from "./database.ts";
import { column, matches, paginated, type Order, type Page, type Patterns, type Sortable } from "./filters.ts";
import type { ConnectionTable } from "./schema.ts";
import { ownedWithin } from "./team-scope.ts";

/** As stored: `password` and `extra` are Fernet tokens where the row says so. */
export type ConnectionRow = Selectable<ConnectionTable>;

export type ConnectionColumns = Omit<ConnectionRow, "id" | "conn_id">;

export const CONNECTION_SORTABLE: Sortable = {
  conn_id: column("conn_id"),
  conn_type: column("conn_type"),
  description: column("description"),
  host: column("host"),
  port: column("port"),
  id: column("id"),
  team_name: column("team_name"),
};

export async function listConnections(
  db: Database,
  { connId, teams }: { connId: Patterns; teams: TeamScope },
  sorting: { orders: readonly Order[]; page: Page },
): Promise<{ rows: ConnectionRow[]; total: number }> {
  let query = db.selectFrom("connection").selectAll();
  const conditions = [...matches(column("conn_id"), connId), ...ownedWithin(column("team_name"), teams)];
  for (const condition of conditions) query = query.where(condition);
  return await paginated(query, { ...sorting, sortable: CONNECTION_SORTABLE });
}

/** Those of the ids that exist. */
export async function findConnections(db: Database, connIds: readonly string[]): Promise<ConnectionRow[]> {
  return await db
    .selectFrom("connection")
    .selectAll()
    .where("conn_id", "=", sql<string>`any(${connIds}::text[])`)
    .execute();
}

/** null: a connection of this id exists already. */
export async function createConnection(
  db: Database,
  connId: string,
  columns: ConnectionColumns,
): Promise<ConnectionRow | null> {
  const row = await db
    .insertInto("connection")
    .values({ conn_id: connId, ...columns })
    .onConflict((conflict) => conflict.column("conn_id").doNothing())
    .returningAll()
    .executeTakeFirst();
  return row ?? null;
}

/** null: there is no such connection. */
export async function updateConnection(
  db: Database,
  connId: string,
  columns: Partial<ConnectionColumns>,
): Promise<ConnectionRow | null> {
  if (Object.keys(columns).length === 0) return (await findConnections(db, [connId]))[0] ?? null;
  const row = await db
    .updateTable("connection")
    .set(columns)
    .where("conn_id", "=", connId)
    .returningAll()
    .executeTakeFirst();
  return row ?? null;
}

/** The ids that were there. */
export async function deleteConnections(db: Database, connIds: readonly string[]): Promise<string[]> {
  const rows = await db
    .deleteFrom("connection")
    .where("conn_id", "=", sql<string>`any(${connIds}::text[])`)
    .returning("conn_id")
    .execute();
  return rows.map((row) => row.conn_id);
}
