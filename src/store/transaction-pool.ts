import { CompiledQuery, type Transaction } from "kysely";
import type { Pool } from "./execution-statement.ts";
import type { Schema } from "./schema.ts";

/** Lets statements that are written for a pool run inside a transaction. */
export function poolOf(trx: Transaction<Schema>): Pool {
  const query = ({ text, values }: { text: string; values: unknown[] }) =>
    trx.executeQuery(CompiledQuery.raw(text, values));
  return { query } as unknown as Pool;
}
