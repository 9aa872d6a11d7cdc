import pg from "pg";
import type { DatabaseConfig } from "../store/database.ts";

/** A database is restored beside the live one under a name of its own; renaming both is the moment that counts. */
export const STAGING_DATABASE = "leoflow_restoring";
/** The live one's name once it is replaced, until it is dropped. */
export const REPLACED_DATABASE = "leoflow_before_restore";

const COUNTED = ["dag_run", "task_instance", "variable", "connection"] as const;

export interface RestoredRows {
  dag_run: number;
  task_instance: number;
  variable: number;
  connection: number;
}

/** Works on one database. */
export async function withClient<T>(config: pg.ClientConfig, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client(config);
  // A server that stops is met by the next statement.
  client.on("error", () => undefined);
  try {
    await client.connect();
    return await work(client);
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** Works on the server's list of databases, connected to none of them that matters. */
export function withServer<T>(database: DatabaseConfig, work: (client: pg.Client) => Promise<T>): Promise<T> {
  return withClient({ ...database, database: "postgres" }, work);
}

/** What PostgreSQL knows a database by, whatever its name is. */
export async function databaseOid(client: pg.Client, name: string): Promise<number | null> {
  const { rows } = await client.query<{ oid: number }>("select oid from pg_database where datname = $1", [name]);
  return rows[0]?.oid ?? null;
}

/** An empty database, also where an earlier try has left one. Returns its oid. */
export async function createStagingDatabase(client: pg.Client, name: string): Promise<number> {
  await dropDatabase(client, name);
  // template0: what somebody has put into template1 is in the dump already.
  await client.query(`create database ${pg.escapeIdentifier(name)} template template0`);
  return (await databaseOid(client, name)) as number;
}

export async function dropDatabase(client: pg.Client, name: string): Promise<void> {
  await client.query(`drop database if exists ${pg.escapeIdentifier(name)} with (force)`);
}

/** `staged` becomes `live` and `live` becomes `replaced`, both or none. */
export async function swapDatabases(
  client: pg.Client,
  names: { staged: string; live: string; replaced: string },
): Promise<void> {
  const [staged, live, replaced] = [names.staged, names.live, names.replaced].map((name) => pg.escapeIdentifier(name));
  await client.query("begin");
  try {
    await client.query(`alter database ${live} rename to ${replaced}`);
    await client.query(`alter database ${staged} rename to ${live}`);
    await client.query("commit");
  } catch (error) {
    await client.query("rollback").catch(() => undefined);
    throw error;
  }
}

/** At which schema version a restored database is; 0 where it has none. */
export async function restoredSchemaVersion(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ there: boolean }>(
    "select to_regclass('schema_migrations') is not null as there",
  );
  if (!rows[0]?.there) return 0;
  const found = await client.query<{ version: number }>(
    "select coalesce(max(version), 0) as version from schema_migrations",
  );
  return found.rows[0]?.version ?? 0;
}

/** How many rows of what users ask for first. */
export async function countRestoredRows(client: pg.Client): Promise<RestoredRows> {
  const counts = {} as RestoredRows;
  for (const table of COUNTED) {
    const { rows } = await client.query<{ there: boolean }>("select to_regclass($1) is not null as there", [table]);
    if (!rows[0]?.there) counts[table] = 0;
    else counts[table] = Number((await client.query<{ n: string }>(`select count(*) as n from ${table}`)).rows[0]?.n);
  }
  return counts;
}

/** Where DAG files are now. The rows are written again when a file changes, and until then they would name the old place. */
export async function moveDagFiles(client: pg.Client, workspace: string): Promise<void> {
  const { rows } = await client.query<{ there: boolean }>("select to_regclass('dag') is not null as there");
  if (!rows[0]?.there) return;
  await client.query(
    "update dag set fileloc = $1 || '/' || relative_fileloc where fileloc is distinct from $1 || '/' || relative_fileloc",
    [workspace],
  );
}

/** What starting Leoflow and reading DAG files writes by itself: rows of these are nobody's work. */
const MADE_BY_STARTING = [
  ...["schema_migrations", "dag", "dag_tag", "dag_version", "dag_warning", "import_error"],
  ...["asset", "asset_active", "asset_alias", "asset_watcher", "deadline_alert"],
  ...["dag_schedule_asset_reference", "dag_schedule_asset_alias_reference"],
  ...["dag_schedule_asset_name_reference", "dag_schedule_asset_uri_reference"],
  ...["task_outlet_asset_reference", "task_inlet_asset_reference"],
  ...["job", "log", "revoked_token", "trigger"],
];

/** Whether a database, or its schema `only`, holds anything that somebody would miss: runs, variables, or what we do not know. */
export async function holdsUserRows(client: pg.Client, only?: "public"): Promise<boolean> {
  const { rows: tables } = await client.query<{ schema: string; name: string }>(
    `select table_schema as schema, table_name as name from information_schema.tables
     where table_type = 'BASE TABLE' and table_schema not in ('pg_catalog', 'information_schema')
       and table_schema = coalesce($2, table_schema)
       and not (table_schema = 'public' and table_name = any($1))`,
    [MADE_BY_STARTING, only],
  );
  for (const { schema, name } of tables) {
    const condition = schema === "public" && name === "pool" ? "where pool <> 'default_pool'" : "";
    const table = `${pg.escapeIdentifier(schema)}.${pg.escapeIdentifier(name)}`;
    const { rows } = await client.query<{ found: boolean }>(
      `select exists (select from ${table} ${condition}) as found`,
    );
    if (rows[0]?.found) return true;
  }
  return false;
}
