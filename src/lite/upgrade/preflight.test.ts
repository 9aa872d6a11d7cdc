import { afterAll, beforeAll, expect, it } from "vitest";
import { createHome } from "../../../test/support/home.ts";
import { createTestDatabase, type TestDatabase } from "../../../test/support/database.ts";
import { loadMigrations } from "../../store/migrations.ts";
import { schemaStatus } from "../../store/schema-status.ts";
import type { LeoflowPaths } from "../paths.ts";
import { checkRoom, formatEstimate, preflight } from "./preflight.ts";

let database: TestDatabase;
let paths: LeoflowPaths;
let remove: () => void;
beforeAll(async () => {
  ({ paths, remove } = createHome());
  database = await createTestDatabase();
  await database.pool.query(
    "insert into log (event) select 'event ' || i from generate_series(1, 20000) as i; analyze log",
  );
});
afterAll(async () => {
  await database.close();
  remove();
});

const sql = "update log set owner = 'me'; create index on log (owner)";
const known = [...loadMigrations(), { version: 9001, name: "owners", sql }];

it("counts rows, bytes, seconds and disk without changing anything", async () => {
  const status = await schemaStatus(database.pool, known);
  const found = await preflight(database.pool, status, { paths, snapshot: true });
  expect(found.pending).toMatchObject([{ version: 9001, name: "owners", tables: ["log"] }]);
  expect(found.tables[0]).toMatchObject({ name: "log", rows: 20000 });
  expect(found.datastoreBytes).toBeGreaterThan(5e6);
  // Twenty thousand rows updated and indexed: 0.58 s on a machine like ours, more on a slower one.
  expect(found.pending[0]?.seconds).toBeGreaterThan(0.57);
  expect(found.seconds).toBeCloseTo((found.pending[0]?.seconds ?? 0) + (found.snapshot?.seconds ?? 0), 6);
  expect(found.snapshot?.bytes).toBeGreaterThan(100_000);
  expect(found.neededBytes).toBeGreaterThan(64 * 1024 * 1024);
  expect(found.freeBytes).toBeGreaterThan(1e6);
  expect(await schemaStatus(database.pool, known)).toEqual(status);
});

it("plans no snapshot for a fresh database, for nothing pending, or where the user wants none", async () => {
  const status = await schemaStatus(database.pool, known);
  const without = [
    { status: { ...status, current: 0 }, snapshot: true },
    { status: { ...status, pending: [] }, snapshot: true },
    { status, snapshot: false },
  ];
  for (const { status: given, snapshot } of without) {
    expect((await preflight(database.pool, given, { paths, snapshot })).snapshot).toBeUndefined();
  }
});

it("refuses a disk that is too small with the numbers", async () => {
  const found = await preflight(database.pool, await schemaStatus(database.pool, known), { paths, snapshot: true });
  expect(() => checkRoom(found, "/home")).not.toThrow();
  expect(() => checkRoom({ ...found, neededBytes: 3e9, freeBytes: 1e9 }, "/home")).toThrow(
    "the upgrade needs about 3.0 GB of free disk, with the snapshot made before it; 1.0 GB are free where /home is. Nothing was changed",
  );
});

it("is as exact as an estimate is", () => {
  expect([0, 1.2, 99, 150, 4000, 7300].map(formatEstimate)).toEqual([
    "about 1 s",
    "about 2 s",
    "about 99 s",
    "about 3 min",
    "about 67 min",
    "about 2.0 h",
  ]);
});
