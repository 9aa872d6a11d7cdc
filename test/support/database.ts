import { randomUUID } from "node:crypto";
import pg from "pg";
import { inject } from "vitest";
import { openDatabase, type OpenDatabase } from "../../src/store/database.ts";

export interface TestDatabase extends OpenDatabase {
  name: string;
  host: string;
}

/** A migrated database of its own on the run's real PostgreSQL; close it in afterAll. */
export async function createTestDatabase(): Promise<TestDatabase> {
  const host = inject("postgresSocketDir");
  const name = `test_${randomUUID().replaceAll("-", "")}`;
  const admin = new pg.Client({ host, port: 5432, user: "leoflow", database: "postgres" });
  await admin.connect();
  await admin.query(`create database ${name} template template_leoflow`);
  await admin.end();
  return { ...openDatabase({ host, port: 5432, user: "leoflow", password: "", database: name }), name, host };
}
