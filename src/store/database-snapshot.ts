import { sql } from "kysely";
import type { Database } from "./database.ts";

/**
 * What is committed, as a text: two that are equal were read with no transaction that wrote ending, or beginning, between them
 * (https://www.postgresql.org/docs/18/functions-info.html#FUNCTIONS-INFO-SNAPSHOT).
 */
export async function databaseSnapshot(db: Database): Promise<string> {
  const { rows } = await sql<{ snapshot: string }>`select pg_current_snapshot()::text as snapshot`.execute(db);
  return (rows[0] as { snapshot: string }).snapshot;
}
