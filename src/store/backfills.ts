import { sql, type Selectable } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { BackfillLimits } from "../domain/run-start.ts";
import type { Database } from "./database.ts";
import type { TeamScope } from "../domain/team.ts";
import { allOf, column, equals, paginated, type Order, type Page } from "./filters.ts";
import type { BackfillTable } from "./schema-backfills.ts";
import { dagsWithin } from "./team-scope.ts";
import type { Executor } from "./transaction.ts";

export interface BackfillRow extends Selectable<BackfillTable> {
  dag_display_name: string;
}

export const BACKFILL_ORDER = { id: column("b.id") };

export interface BackfillFilter {
  dagId?: string | undefined;
  /** true: those that are not completed yet. */
  active?: boolean | undefined;
  teams?: TeamScope;
}

function backfillRows(db: Executor) {
  return db
    .selectFrom("backfill as b")
    .innerJoin("dag", "dag.dag_id", "b.dag_id")
    .selectAll("b")
    .select(sql<string>`coalesce(dag.dag_display_name, dag.dag_id)`.as("dag_display_name"));
}

export async function listBackfills(
  db: Database,
  filter: BackfillFilter,
  sorting: { orders: readonly Order[]; page: Page },
): Promise<{ rows: BackfillRow[]; total: number }> {
  const { dagId, active, teams } = filter;
  const completed = active === undefined ? [] : [sql<boolean>`(b.completed_at is null) = ${active}`];
  const conditions = [...equals(column("b.dag_id"), dagId), ...completed, ...dagsWithin(column("b.dag_id"), teams)];
  const query = backfillRows(db).where(allOf(conditions));
  return await paginated(query, { ...sorting, sortable: BACKFILL_ORDER });
}

export async function findBackfill(db: Executor, id: number): Promise<BackfillRow | undefined> {
  return await backfillRows(db).where("b.id", "=", id).executeTakeFirst();
}

/** The DAG that a backfill is of. */
export async function findBackfillDag(db: Database, id: number): Promise<string | undefined> {
  return (await db.selectFrom("backfill").select("dag_id").where("id", "=", id).executeTakeFirst())?.dag_id;
}

/** False when it is completed, or was never there. What it is already is no change. */
export async function setBackfillPaused(db: Database, id: number, isPaused: boolean, now: Instant): Promise<boolean> {
  const { rows } = await sql<{ id: number }>`
    update backfill set is_paused = ${isPaused},
      updated_at = case when is_paused = ${isPaused} then updated_at else ${now}::timestamptz end
    where id = ${id} and completed_at is null
    returning id`.execute(db);
  return rows.length > 0;
}

/**
 * Ends a backfill: it is paused, its queued runs fail, what runs goes on to its own end. Returns the runs that failed; null when
 * it was completed, or was never there.
 */
export async function cancelBackfill(db: Database, id: number, now: Instant): Promise<number[] | null> {
  const { rows } = await sql<{ failed: number[] | null }>`
    with cancelled as (
      update backfill set is_paused = true, completed_at = ${now}::timestamptz, updated_at = ${now}::timestamptz
      where id = ${id} and completed_at is null
      returning id
    ), failed as (
      update dag_run set state = 'failed', end_date = ${now}::timestamptz, updated_at = ${now}::timestamptz
      where state = 'queued' and id in (
        select dag_run_id from backfill_dag_run where backfill_id in (select id from cancelled)
      )
      returning id
    )
    select coalesce((select jsonb_agg(failed.id) from failed), '[]') as failed from cancelled`.execute(db);
  return rows[0] === undefined ? null : (rows[0].failed ?? []);
}

/**
 * Marks the backfills as completed whose runs have all ended. One that has no runs at all yet is still being made, unless it
 * is minutes old. Returns their ids.
 */
export async function completeBackfills(db: Database, now: Instant): Promise<number[]> {
  const { rows } = await sql<{ id: number }>`
    update backfill b set completed_at = ${now}::timestamptz, updated_at = ${now}::timestamptz
    where completed_at is null
      and (exists (select from backfill_dag_run br where br.backfill_id = b.id)
        or created_at < ${now}::timestamptz - interval '2 minutes')
      and not exists (select from dag_run r where r.backfill_id = b.id and r.state in ('queued', 'running'))
    returning id`.execute(db);
  return rows.map((row) => row.id);
}

export async function hasActiveBackfills(db: Database): Promise<boolean> {
  const row = await db
    .selectFrom("backfill")
    .select("id")
    .where("completed_at", "is", null)
    .limit(1)
    .executeTakeFirst();
  return row !== undefined;
}

export async function backfillLimits(db: Database, id: number): Promise<BackfillLimits | null> {
  const row = await db
    .selectFrom("backfill")
    .select(["max_active_runs", "is_paused", "completed_at"])
    .where("id", "=", id)
    .executeTakeFirst();
  // A run of a cancelled backfill that someone clears is on its own.
  return row ? { maxActiveRuns: row.max_active_runs, isPaused: row.is_paused && row.completed_at === null } : null;
}
