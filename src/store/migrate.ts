import type pg from "pg";
import { UserError } from "../kit/user-error.ts";
import { loadMigrations, type Migration } from "./migrations.ts";

const MIGRATION_LOCK = 0x1e0f10;

export interface SchemaStatus {
  /** 0 for a fresh database. */
  current: number;
  newest: number;
  pending: Migration[];
}

/** Reads what the database is at; writes nothing. Throws UserError when it is newer than this build knows. */
export async function schemaStatus(client: pg.ClientBase | pg.Pool, known = loadMigrations()): Promise<SchemaStatus> {
  const newest = known.at(-1)?.version ?? 0;
  const exists = await client.query<{ found: string | null }>("select to_regclass('schema_migrations')::text as found");
  let current = 0;
  if (exists.rows[0]?.found) {
    const row = await client.query<{ version: number | null }>("select max(version) as version from schema_migrations");
    current = row.rows[0]?.version ?? 0;
  }
  if (current > newest) throw new UserError(newerSchemaMessage(current, newest));
  return { current, newest, pending: known.filter((migration) => migration.version > current) };
}

/** The words are a promise of the upgrade contract: scripts and people look for them. */
export function newerSchemaMessage(current: number, newest: number): string {
  return (
    `database is at schema version ${current} but this binary only knows up to ${newest}; an older \`leoflow\` is being run ` +
    "against a newer database. Upgrade the binary, or run `leoflow uninstall --purge` to start over (this WIPES your data)"
  );
}

/**
 * Applies what is missing, each migration in one transaction with its version row first. Two that run at once wait for each
 * other on an advisory lock. Returns the versions applied.
 */
export async function migrate(
  pool: pg.Pool,
  options: { migrations?: Migration[]; onApply?: (migration: Migration) => void } = {},
): Promise<number[]> {
  const known = options.migrations ?? loadMigrations();
  const client = await pool.connect();
  const applied: number[] = [];
  try {
    if ((await schemaStatus(client, known)).pending.length === 0) return [];
    await client.query("select pg_advisory_lock($1)", [MIGRATION_LOCK]);
    try {
      await client.query(
        "create table if not exists schema_migrations (version integer primary key, name text not null, applied_at timestamptz not null default now())",
      );
      for (const migration of (await schemaStatus(client, known)).pending) {
        options.onApply?.(migration);
        await client.query("begin");
        try {
          await client.query("insert into schema_migrations (version, name) values ($1, $2)", [
            migration.version,
            migration.name,
          ]);
          await client.query(migration.sql);
          await client.query("commit");
        } catch (error) {
          await client.query("rollback");
          throw new Error(`migration ${migration.version} (${migration.name}) failed; the schema is as it was`, {
            cause: error,
          });
        }
        applied.push(migration.version);
      }
    } finally {
      await client.query("select pg_advisory_unlock($1)", [MIGRATION_LOCK]);
    }
  } finally {
    client.release();
  }
  return applied;
}
