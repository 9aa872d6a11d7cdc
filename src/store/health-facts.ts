import { sql } from "kysely";
import type { Database } from "./database.ts";

/** What `leoflow doctor` asks the database. */
export interface HealthFacts {
  /** The database's clock, in milliseconds. */
  nowMs: number;
  /** Pages whose checksum was wrong when they were read, in any database of the cluster. */
  checksumFailures: number;
  version: string;
}

export async function healthFacts(db: Database): Promise<HealthFacts> {
  const { rows } = await sql<{ now_ms: number; failures: number; version: string }>`
    select (extract(epoch from clock_timestamp()) * 1000)::float8 as now_ms,
      (select coalesce(sum(checksum_failures), 0)::int from pg_stat_database) as failures,
      current_setting('server_version') as version`.execute(db);
  const [row] = rows;
  return { nowMs: row?.now_ms ?? 0, checksumFailures: row?.failures ?? 0, version: row?.version ?? "" };
}

/** Of a database whose schema is ours. */
export async function countDagFiles(db: Database): Promise<{ dags: number; importErrors: string[] }> {
  const { rows } = await sql<{ dags: number; import_errors: string[] }>`
    select (select count(*)::int from dag where not is_stale) as dags,
      array(select filename from import_error order by filename) as import_errors`.execute(db);
  return { dags: rows[0]?.dags ?? 0, importErrors: rows[0]?.import_errors ?? [] };
}
