import { sql } from "kysely";
import type { Database } from "./database.ts";

export interface KeptNames {
  connections: readonly string[];
  variables: readonly string[];
  pools: readonly string[];
}

/** Names of what users keep for their DAGs. A database that was never migrated has none. */
export async function keptNames(db: Database): Promise<KeptNames> {
  const { rows } = await sql<{ is_there: boolean }>`select to_regclass('connection') is not null as is_there`.execute(
    db,
  );
  if (!rows[0]?.is_there) return { connections: [], variables: [], pools: [] };
  const [connections, variables, pools] = await Promise.all([
    db.selectFrom("connection").select("conn_id as name").execute(),
    db.selectFrom("variable").select("key as name").execute(),
    db.selectFrom("pool").select("pool as name").execute(),
  ]);
  const names = (found: readonly { name: string }[]) => found.map(({ name }) => name);
  return { connections: names(connections), variables: names(variables), pools: names(pools) };
}
