import { sql, type RawBuilder } from "kysely";
import type { Database } from "./database.ts";

/** Who asks, where teams count: a try, or (null) something that no task instance stands behind and that is of no team. */
export interface Asker {
  callerId: string | null;
}

/** The team of a try's DAG, by its bundle; null where it has none. */
export function teamOf({ callerId }: Asker): RawBuilder<string | null> {
  return sql<string | null>`(
    select owner.team_name from task_instance ti join dag on dag.dag_id = ti.dag_id
      join dag_bundle_team owner on owner.dag_bundle_name = dag.bundle_name
    where ti.id = ${callerId}::uuid)`;
}

/** What `table` holds is nobody's or of the asker's team; without an asker teams do not count. */
export function isSeenBy(table: "variable" | "connection", asker: Asker | null): RawBuilder<boolean> {
  if (asker === null) return sql<boolean>`true`;
  const team = sql.ref(`${table}.team_name`);
  return sql<boolean>`(${team} is null or ${team} = ${teamOf(asker)})`;
}

export async function teamNameOf(db: Database, asker: Asker): Promise<string | null> {
  const { rows } = await sql<{ team: string | null }>`select ${teamOf(asker)} as team`.execute(db);
  return rows[0]?.team ?? null;
}

/**
 * Whether the asker may use XComs of a DAG, as `has_xcom_access` of Airflow's Execution API: those of its own team, and to
 * read also those of DAGs that are nobody's.
 */
export async function mayUseXComsOf(db: Database, asker: Asker, dagId: string, writes: boolean): Promise<boolean> {
  const { rows } = await sql<{ may: boolean }>`
    select target.team is not distinct from ${teamOf(asker)} or (not ${writes}::boolean and target.team is null) as may
    from (select (
      select owner.team_name from dag join dag_bundle_team owner on owner.dag_bundle_name = dag.bundle_name
      where dag.dag_id = ${dagId}) as team) as target`.execute(db);
  return rows[0]?.may ?? false;
}
