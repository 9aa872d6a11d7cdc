import { sql } from "kysely";
import type { Database } from "./database.ts";

/** The file that a DAG is served from. */
export interface ServedDag {
  bundleName: string;
  bundleVersion: string | null;
  relPath: string;
  versionId: string | null;
  versionNumber: number | null;
}

/** Null: there is no such DAG, or its file is gone. */
export async function servedDag(db: Database, dagId: string): Promise<ServedDag | null> {
  const { rows } = await sql<ServedDag>`
    select dag.bundle_name as "bundleName", dag.bundle_version as "bundleVersion", dag.relative_fileloc as "relPath",
      dag_version.id as "versionId", dag_version.version_number as "versionNumber"
    from dag left join dag_version on dag_version.id = dag.current_version_id
    where dag.dag_id = ${dagId} and not dag.is_stale`.execute(db);
  return rows[0] ?? null;
}

/** What is wrong with the DAG files below a folder of the workspace, and which DAGs they define. */
export async function stateBelow(db: Database, folder: string): Promise<{ errors: string[]; dagIds: string[] }> {
  const errors = await sql<{ stacktrace: string }>`
    select stacktrace from import_error where starts_with(filename, ${`${folder}/`}) order by filename`.execute(db);
  const dags = await sql<{ dag_id: string }>`
    select dag_id from dag where starts_with(relative_fileloc, ${`${folder}/`}) and not is_stale order by dag_id`.execute(
    db,
  );
  return { errors: errors.rows.map((row) => row.stacktrace), dagIds: dags.rows.map((row) => row.dag_id) };
}
