import pg from "pg";
import type { DatabaseConfig } from "./database.ts";

const UNKNOWN_DATABASE = "3D000";

/** Makes the database when the server does not have it yet. Returns whether it was made. */
export async function ensureDatabaseExists(config: DatabaseConfig): Promise<boolean> {
  const probe = new pg.Client(config);
  try {
    await probe.connect();
    return false;
  } catch (error) {
    if ((error as { code?: string }).code !== UNKNOWN_DATABASE) throw error;
  } finally {
    await probe.end().catch(() => undefined);
  }
  const admin = new pg.Client({ ...config, database: "postgres" });
  await admin.connect();
  try {
    await admin.query(`create database ${pg.escapeIdentifier(config.database)}`);
  } finally {
    await admin.end();
  }
  return true;
}
