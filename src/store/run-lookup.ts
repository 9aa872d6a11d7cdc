import { sql } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { DagRunState } from "../domain/states.ts";
import type { Database } from "./database.ts";

/** A run as routes about its task instances need it. */
export interface RunRef {
  id: number;
  dag_id: string;
  run_id: string;
  state: DagRunState;
  logical_date: Instant | null;
  /** The version it runs on; the DAG's current one where the run has none. */
  version_id: string | null;
}

export async function findRun(db: Database, dagId: string, runId: string): Promise<RunRef | null> {
  const { rows } = await sql<RunRef>`
    select dr.id, dr.dag_id, dr.run_id, dr.state, dr.logical_date, coalesce(dr.dag_version_id, dag.current_version_id) as version_id
    from dag_run dr left join dag using (dag_id)
    where dr.dag_id = ${dagId} and dr.run_id = ${runId}`.execute(db);
  return rows[0] ?? null;
}

/** What the DAG says about `run_on_latest_version` of its reruns (`DAG(rerun_with_latest_version=…)`); null: nothing. */
export async function rerunsWithLatestVersion(db: Database, dagId: string): Promise<boolean | null> {
  const { rows } = await sql<{ latest: boolean | null }>`
    select (v.serialized -> 'dag' ->> 'rerun_with_latest_version')::boolean as latest
    from dag join dag_version v on v.id = dag.current_version_id
    where dag.dag_id = ${dagId}`.execute(db);
  return rows[0]?.latest ?? null;
}
