import { sql } from "kysely";
import type { PoolSize } from "../domain/slots.ts";
import type { Database } from "./database.ts";

/** All pools with what they hold; -1 slots means no limit. In multi-team mode with the DAGs that they are closed to others for. */
export async function poolSizes(db: Database, multiTeam = false): Promise<PoolSize[]> {
  const rows = await db.selectFrom("pool").select(["pool", "slots", "include_deferred"]).execute();
  const owned = multiTeam ? await dagsOfOwnedPools(db) : new Map<string, ReadonlySet<string>>();
  return rows.map(({ pool, slots, include_deferred: includeDeferred }) => {
    const dagsOfTeam = owned.get(pool);
    return { pool, slots, includeDeferred, ...(dagsOfTeam && { dagsOfTeam }) };
  });
}

async function dagsOfOwnedPools(db: Database): Promise<Map<string, ReadonlySet<string>>> {
  const { rows } = await sql<{ pool: string; dag_ids: string[] }>`
    select pool, array(
      select dag.dag_id from dag join dag_bundle_team owner on owner.dag_bundle_name = dag.bundle_name
      where owner.team_name = pool.team_name) as dag_ids
    from pool where team_name is not null`.execute(db);
  return new Map(rows.map((row) => [row.pool, new Set(row.dag_ids)]));
}
