import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../test/support/database.ts";
import { makeDag, makeRun } from "../../test/support/factories.ts";
import type { Instant } from "../kit/instant.ts";
import { StagingFolders } from "./staging.ts";

let database: TestDatabase;
const root = mkdtempSync(join(tmpdir(), "staging-"));
let now = "2026-01-02T00:00:00.000000Z" as Instant;

beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(async () => {
  await database.close();
  rmSync(root, { recursive: true });
});

it("ends a run's folder with its success, and a day after its failure", async () => {
  const { dag_id: dagId } = await makeDag(database.db);
  const end_date = "2026-01-01T12:00:00.000000Z" as Instant;
  for (const [run_id, state] of [
    ["live", "running"],
    ["well", "success"],
    ["ill", "failed"],
  ] as const) {
    await makeRun(database.db, { dag_id: dagId, run_id, state, ...(state === "running" ? {} : { end_date }) });
  }
  const folder = join(root, `dag_id=${dagId}`);
  for (const run of ["live", "well", "ill", "gone", "gone-long-ago"]) {
    mkdirSync(join(folder, `run_id=${run}`), { recursive: true });
    writeFileSync(join(folder, `run_id=${run}`, "file"), "x");
  }
  const at = (time: string) => new Date(time);
  utimesSync(join(folder, "run_id=gone"), at("2026-01-01T20:00:00Z"), at("2026-01-01T20:00:00Z"));
  utimesSync(join(folder, "run_id=gone-long-ago"), at("2025-12-01T00:00:00Z"), at("2025-12-01T00:00:00Z"));
  const staging = new StagingFolders(
    { logger: pino({ level: "silent" }), clock: { now: () => now } },
    database.db,
    root,
  );
  await staging.runOnce();
  expect(readdirSync(folder).sort()).toEqual(["run_id=gone", "run_id=ill", "run_id=live"]);
  expect(await staging.find(dagId, "ill")).toBe(join(folder, "run_id=ill"));
  expect(await staging.find(dagId, "well")).toBeNull();
  now = "2026-01-03T00:00:00.000000Z" as Instant;
  await staging.runOnce();
  expect(readdirSync(folder)).toEqual(["run_id=live"]);
  await database.db.updateTable("dag_run").set({ state: "success", end_date }).where("run_id", "=", "live").execute();
  await staging.runOnce();
  expect(existsSync(folder)).toBe(false);
});
