import { sql } from "kysely";
import { fromJsonText, type JsonText } from "../kit/json-text.ts";
import type { Database } from "./database.ts";

/** What a DAG waits for or starts, as Airflow's serialization wrote it. */
export interface DagDependency {
  source: string;
  target: string;
  label: string;
  dependency_type: string;
  dependency_id: string | null;
}

/** The dependencies between DAGs, by the DAG whose current version names them. */
export async function listDagDependencies(db: Database): Promise<Map<string, DagDependency[]>> {
  const { rows } = await sql<{ dag_id: string; dependencies: JsonText | null }>`
    select dag.dag_id, v.serialized #> '{dag,dag_dependencies}' as dependencies
    from dag join dag_version v on v.id = dag.current_version_id
    where not dag.is_stale
    order by dag.dag_id`.execute(db);
  return new Map(
    rows.map(({ dag_id, dependencies }) => [
      dag_id,
      dependencies === null ? [] : (fromJsonText<unknown>(dependencies) as DagDependency[]),
    ]),
  );
}
