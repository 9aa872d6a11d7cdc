import type { Selectable } from "kysely";
import type { Database } from "./database.ts";
import { isSeenBy, type Asker } from "./execution-team.ts";
import type { ConnectionTable } from "./schema.ts";

/** As stored: `password` and `extra` are Fernet tokens where the row says so. */
export async function findConnection(
  db: Database,
  connId: string,
  asker: Asker | null = null,
): Promise<Selectable<ConnectionTable> | null> {
  const found = db.selectFrom("connection").selectAll().where("conn_id", "=", connId);
  return (await found.where(isSeenBy("connection", asker)).executeTakeFirst()) ?? null;
}
