import pg from "pg";
import { UserError } from "../kit/user-error.ts";
import type { DatabaseConfig } from "../store/database.ts";

/** What a dump needs to know, all of one moment. */
export interface DatastoreFacts {
  /** For pg_dump: it sees what this saw. */
  snapshot: string;
  schemaVersion: number;
  /** "18.4". */
  postgresVersion: string;
  /** On disk, indexes and all. */
  bytes: number;
}

/** Holds one moment of the database while the work runs; others go on writing. */
export async function withSnapshot<T>(
  database: DatabaseConfig,
  work: (facts: DatastoreFacts) => Promise<T>,
): Promise<T> {
  const { host, port, user, password, database: name } = database;
  const client = new pg.Client({ host, port, user, password, database: name });
  // A server that stops is met by the next statement, and by pg_dump.
  client.on("error", () => undefined);
  try {
    await client.connect();
  } catch (error) {
    throw new UserError(`cannot reach the database: ${(error as Error).message}`, {
      fix: "look into managed-postgres/postgres.log in Leoflow's home",
      cause: error,
    });
  }
  try {
    await client.query("begin transaction isolation level repeatable read, read only");
    const { rows } = await client.query<{ snapshot: string; version: string; bytes: string; migrated: boolean }>(
      `select pg_export_snapshot() as snapshot, current_setting('server_version') as version,
              pg_database_size(current_database())::text as bytes,
              to_regclass('schema_migrations') is not null as migrated`,
    );
    const facts = rows[0] as (typeof rows)[number];
    const schema = facts.migrated
      ? await client.query<{ version: number }>("select coalesce(max(version), 0) as version from schema_migrations")
      : undefined;
    return await work({
      snapshot: facts.snapshot,
      schemaVersion: schema?.rows[0]?.version ?? 0,
      // Distributions add words of their own: "16.4 (Debian 16.4-1)".
      postgresVersion: facts.version.split(" ")[0] ?? facts.version,
      bytes: Number(facts.bytes),
    });
  } finally {
    await client.end().catch(() => undefined);
  }
}
