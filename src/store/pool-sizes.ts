import type { Database } from "./database.ts";

/** All pools with what they hold; -1 slots means no limit. */
export async function poolSizes(db: Database): Promise<{ pool: string; slots: number; includeDeferred: boolean }[]> {
  const rows = await db.selectFrom("pool").select(["pool", "slots", "include_deferred"]).execute();
  return rows.map((row) => ({ pool: row.pool, slots: row.slots, includeDeferred: row.include_deferred }));
}
