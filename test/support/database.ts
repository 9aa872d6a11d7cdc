import { randomUUID } from "node:crypto";
import pg from "pg";
import { inject } from "vitest";
import { openDatabase, type DatabaseConfig, type OpenDatabase } from "../../src/store/database.ts";

export interface TestDatabase extends OpenDatabase {
  name: string;
  /** To connect to it once more. */
  config: DatabaseConfig;
}

/** A migrated database of its own on the run's real PostgreSQL; close it in afterAll. */
export async function createTestDatabase(): Promise<TestDatabase> {
  const server = inject("postgres");
  const name = `test_${randomUUID().replaceAll("-", "")}`;
  const admin = new pg.Client({ ...server, database: "postgres" });
  await admin.connect();
  await admin.query(`create database ${name} template template_leoflow`);
  await admin.end();
  const config = { ...server, database: name };
  return { ...openDatabase(config), name, config };
}
