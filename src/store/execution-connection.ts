import type { Selectable } from "kysely";
import type { Database } from "./database.ts";
import type { ConnectionTable } from "./schema.ts";

/** As stored: `password` and `extra` are Fernet tokens where the row says so. */
export async function findConnection(db: Database, connId: string): Promise<Selectable<ConnectionTable> | null> {
  const row = await db.selectFrom("connection").selectAll().where("conn_id", "=", connId).executeTakeFirst();
  return row ?? null;
}
