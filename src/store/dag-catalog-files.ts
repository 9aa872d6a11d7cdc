import { sql, type RawBuilder } from "kysely";
import { instantFromMs } from "../kit/instant.ts";
import { dropAssetReferences } from "./assets.ts";
import { isOfFile, isOfFileIn } from "./dags-of-file.ts";
import type { Database } from "./database.ts";
import { inTransaction } from "./transaction.ts";

/** What the database holds of one DAG file. */
export interface CatalogFile {
  relPath: string;
  hasError: boolean;
  /** Its live DAGs with the files of their current version. */
  dags: {
    dagId: string;
    archiveDigest: string;
    environment: string;
    bundleName: string;
    bundleVersion: string | null;
  }[];
}

/** Every file that has live DAGs or an import error. */
export async function loadCatalogFiles(db: Database): Promise<CatalogFile[]> {
  const { rows } = await sql<{
    rel_path: string;
    has_error: boolean;
    dags: CatalogFile["dags"];
  }>`
    with live as (
      select dag_version.dag_rel_path as rel_path, jsonb_agg(jsonb_build_object('dagId', dag.dag_id,
        'archiveDigest', dag_version.archive_digest, 'environment', dag_version.environment,
        'bundleName', dag.bundle_name, 'bundleVersion', dag.bundle_version)) as dags
      from dag join dag_version on dag_version.id = dag.current_version_id
      where not dag.is_stale
      group by dag_version.dag_rel_path
    ), broken as (
      select distinct coalesce(live.rel_path, import_error.filename) as rel_path
      from import_error left join live on ${isOfFileIn("import_error.filename", "live.rel_path")}
    )
    select coalesce(live.rel_path, broken.rel_path) as rel_path, broken.rel_path is not null as has_error,
      coalesce(live.dags, '[]') as dags
    from live full join broken on broken.rel_path = live.rel_path`.execute(db);
  return rows.map((row) => ({ relPath: row.rel_path, hasError: row.has_error, dags: row.dags }));
}

/** These files are gone: their DAGs are stale and their errors removed. Returns the DAGs concerned. */
export async function removeDagFiles(db: Database, relPaths: readonly string[]): Promise<string[]> {
  if (relPaths.length === 0) return [];
  return inTransaction(db, async (trx) => {
    await sql`delete from import_error where ${areOfFiles("filename", relPaths)}`.execute(trx);
    const { rows } = await sql<{ dag_id: string }>`
      update dag set is_stale = true, has_import_errors = false
      where ${areOfFiles("relative_fileloc", relPaths)} and not is_stale
      returning dag_id`.execute(trx);
    const dagIds = rows.map((row) => row.dag_id);
    await dropAssetReferences(trx, dagIds, instantFromMs(Date.now()));
    return dagIds;
  });
}

function areOfFiles(column: string, relPaths: readonly string[]): RawBuilder<boolean> {
  const archives = relPaths.filter((relPath) => relPath.endsWith(".zip")).map((relPath) => isOfFile(column, relPath));
  return sql`(${sql.join([sql`${sql.ref(column)} = any(${relPaths})`, ...archives], sql` or `)})`;
}

export async function dagExists(db: Database, dagId: string): Promise<boolean> {
  const { rows } = await sql`select 1 from dag where dag_id = ${dagId}`.execute(db);
  return rows.length > 0;
}

/** The archives and environments that some version still names. */
export async function versionedArchives(db: Database): Promise<{ digests: Set<string>; environments: Set<string> }> {
  const { rows } = await sql<{ archive_digest: string; environment: string }>`
    select distinct archive_digest, environment from dag_version`.execute(db);
  return {
    digests: new Set(rows.map((row) => row.archive_digest)),
    environments: new Set(rows.map((row) => row.environment)),
  };
}

/** The archives these runs use, of DAGs that have no running task at the moment. */
export async function quietArchives(db: Database, dagRunIds: readonly number[]): Promise<string[]> {
  const { rows } = await sql<{ archive_digest: string }>`
    select distinct dag_version.archive_digest
    from dag_run join dag_version on dag_version.id = dag_run.dag_version_id
    where dag_run.id = any(${dagRunIds}::bigint[]) and not exists (
      select 1 from task_instance where task_instance.state = 'running' and task_instance.dag_id = dag_run.dag_id)`.execute(
    db,
  );
  return rows.map((row) => row.archive_digest);
}
