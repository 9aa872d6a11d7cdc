import { afterAll, beforeAll, expect, it } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../test/support/database.ts";
import { migrate, schemaStatus } from "./migrate.ts";
import { loadMigrations } from "./migrations.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.close());

it("has nothing to do on a current schema", async () => {
  expect(await migrate(database.pool)).toEqual([]);
});

it("applies a new migration once, also when two start together", async () => {
  const newer = [...loadMigrations(), { version: 9001, name: "extra", sql: "create table extra (id integer)" }];
  const both = await Promise.all([
    migrate(database.pool, { migrations: newer }),
    migrate(database.pool, { migrations: newer }),
  ]);
  expect(both.flat()).toEqual([9001]);
});

it("refuses a newer schema in the promised words, before any write", async () => {
  const newest = loadMigrations().at(-1)?.version ?? 0;
  await expect(schemaStatus(database.pool)).rejects.toThrow(
    `database is at schema version 9001 but this binary only knows up to ${newest}; an older \`leoflow\` is being run against a newer database. Upgrade the binary, or run \`leoflow uninstall --purge\` to start over (this WIPES your data)`,
  );
});

it("leaves the schema as it was when a migration fails", async () => {
  const broken = [...loadMigrations(), { version: 9001, name: "extra", sql: "" }];
  const withBad = [...broken, { version: 9002, name: "bad", sql: "create table half (id integer); select nonsense" }];
  await expect(migrate(database.pool, { migrations: withBad })).rejects.toThrow("migration 9002 (bad) failed");
  const left = await database.pool.query("select to_regclass('half') as half");
  expect(left.rows).toEqual([{ half: null }]);
});
