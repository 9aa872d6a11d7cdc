import { sql, type RawBuilder, type Selectable, type SqlBool } from "kysely";
import type { TeamScope } from "../domain/team.ts";
import type { Database } from "./database.ts";
import {
  allOf,
  column,
  matches,
  orderExpressions,
  type Order,
  type Page,
  type Patterns,
  type Sortable,
} from "./filters.ts";
import type { PoolTable } from "./schema.ts";
import { ownedWithin } from "./team-scope.ts";

export const DEFAULT_POOL = "default_pool";

/** A pool with the slots its tasks take, by state. */
export interface PoolRow extends Selectable<PoolTable> {
  running_slots: number;
  queued_slots: number;
  scheduled_slots: number;
  deferred_slots: number;
}

export const POOL_SORTABLE: Sortable = { id: column("pool.id"), pool: column("pool.pool") };

// The partial index of live task instances covers these states: the cost does not grow with history.
function poolsWithUsage(where: RawBuilder<SqlBool>): RawBuilder<PoolRow> {
  return sql<PoolRow>`
    with slot_use as (
      select pool,
        sum(pool_slots) filter (where state = 'running') as running,
        sum(pool_slots) filter (where state = 'queued') as queued,
        sum(pool_slots) filter (where state = 'scheduled') as scheduled,
        sum(pool_slots) filter (where state = 'deferred') as deferred
      from task_instance where state in ('running', 'queued', 'scheduled', 'deferred')
      group by pool
    )
    select pool.*, coalesce(running, 0) as running_slots, coalesce(queued, 0) as queued_slots,
      coalesce(scheduled, 0) as scheduled_slots, coalesce(deferred, 0) as deferred_slots
    from pool left join slot_use on slot_use.pool = pool.pool
    where ${where}`;
}

export async function listPools(
  db: Database,
  { name, teams }: { name: Patterns; teams: TeamScope },
  sorting: { orders: readonly Order[]; page: Page },
): Promise<{ rows: PoolRow[]; total: number }> {
  const { orders, page } = sorting;
  const where = allOf([...matches(column("pool.pool"), name), ...ownedWithin(column("pool.team_name"), teams)]);
  const { rows } = await sql<PoolRow>`${poolsWithUsage(where)}
    order by ${sql.join(orderExpressions(orders, POOL_SORTABLE))}
    limit ${page.limit} offset ${page.offset}`.execute(db);
  const counted = await sql<{ total: number }>`select count(*) as total from pool where ${where}`.execute(db);
  return { rows, total: counted.rows[0]?.total ?? 0 };
}

/** Those of the names that exist. */
export async function findPools(db: Database, names: readonly string[]): Promise<PoolRow[]> {
  const { rows } = await poolsWithUsage(sql<SqlBool>`pool.pool = any(${names}::text[])`).execute(db);
  return rows;
}

export interface PoolFields {
  slots: number;
  description: string | null;
  include_deferred: boolean;
  team_name: string | null;
}

/** False: a pool of this name exists already. */
export async function createPool(db: Database, name: string, fields: PoolFields): Promise<boolean> {
  const result = await db
    .insertInto("pool")
    .values({ pool: name, ...fields })
    .onConflict((conflict) => conflict.column("pool").doNothing())
    .executeTakeFirst();
  return result.numInsertedOrUpdatedRows === 1n;
}

/** False: there is no such pool. */
export async function updatePool(db: Database, name: string, fields: Partial<PoolFields>): Promise<boolean> {
  if (Object.keys(fields).length === 0) return (await findPools(db, [name])).length > 0;
  const result = await db.updateTable("pool").set(fields).where("pool", "=", name).executeTakeFirst();
  return result.numUpdatedRows === 1n;
}

/** The names that were there. */
export async function deletePools(db: Database, names: readonly string[]): Promise<string[]> {
  const rows = await db
    .deleteFrom("pool")
    .where("pool", "=", sql<string>`any(${names}::text[])`)
    .returning("pool")
    .execute();
  return rows.map((row) => row.pool);
}
