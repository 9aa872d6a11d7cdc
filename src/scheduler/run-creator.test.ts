import { pino } from "pino";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../test/support/database.ts";
import { makeDag, makeVersion } from "../../test/support/factories.ts";
import { addMicros, instantMicros, parseInstant, type Instant } from "../kit/instant.ts";
import { EventBus } from "../domain/events.ts";
import type { AskTimetable } from "../domain/timetable/custom.ts";
import { VersionCache } from "../store/dag-versions.ts";
import { RunCreator } from "./run-creator.ts";

const HOUR = 3_600_000_000;
const DAY = 24 * HOUR;

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.close());

let now: Instant = parseInstant("2026-03-01T10:30:00Z");
const kit = { logger: pino({ level: "silent" }), clock: { now: () => now } };
const made: RunCreator[] = [];
const askTimetable: AskTimetable = () => Promise.reject(new Error("no timetable of a user's own here"));
afterEach(async () => {
  for (const creator of made.splice(0)) await creator.stop();
  await database.pool.query("truncate dag cascade");
});

const HOURLY = { type: "airflow.timetables.trigger.CronTriggerTimetable", expression: "0 * * * *" };
const DAILY_INTERVAL = { type: "airflow.timetables.interval.CronDataIntervalTimetable", expression: "0 0 * * *" };

function timetable({ type, expression }: { type: string; expression?: string }) {
  const cron = expression === undefined ? {} : { expression, timezone: "UTC", interval: 0, run_immediately: false };
  return { timetable: { __type: type, __var: cron } };
}

const epoch = (at: Instant) => instantMicros(at) / 1_000_000;

async function scheduled(dag: Record<string, unknown>, columns = {}): Promise<string> {
  const row = await makeDag(database.db, columns);
  await makeVersion(database.db, { dag_id: row.dag_id }, { dag });
  return row.dag_id;
}

async function start(): Promise<{ bus: EventBus; creator: RunCreator }> {
  const bus = new EventBus();
  const creator = new RunCreator(kit, {
    db: database.db,
    bus,
    versions: new VersionCache(database.db),
    askTimetable,
  });
  made.push(creator);
  await creator.start();
  await creator.settled();
  return { bus, creator };
}

async function runs(dagId: string): Promise<{ run_id: string; logical_date: Instant | null }[]> {
  return await database.db
    .selectFrom("dag_run")
    .select(["run_id", "logical_date"])
    .where("dag_id", "=", dagId)
    .orderBy("logical_date")
    .execute();
}

async function next(dagId: string) {
  return await database.db
    .selectFrom("dag")
    .select(["next_dagrun", "next_dagrun_create_after", "exceeds_max_non_backfill"])
    .where("dag_id", "=", dagId)
    .executeTakeFirstOrThrow();
}

async function finishAll(dagId: string): Promise<void> {
  await database.db
    .updateTable("dag_run")
    .set({ state: "success", end_date: now })
    .where("dag_id", "=", dagId)
    .execute();
}

describe("RunCreator", () => {
  it("makes the latest missed run without catchup, then waits for the next", async () => {
    const dagId = await scheduled({
      ...timetable(HOURLY),
      start_date: epoch(addMicros(now, -3 * DAY)),
      catchup: false,
    });
    const { bus, creator } = await start();
    expect((await runs(dagId)).map((run) => run.run_id)).toEqual(["scheduled__2026-03-01T10:00:00+00:00"]);
    expect(await next(dagId)).toMatchObject({ next_dagrun_create_after: "2026-03-01T11:00:00.000000Z" });

    now = addMicros(now, HOUR);
    const told: number[] = [];
    bus.on("dag-run", ({ dagRunId }) => told.push(dagRunId));
    creator.check();
    await creator.settled();
    expect((await runs(dagId)).map((run) => run.run_id)).toContain("scheduled__2026-03-01T11:00:00+00:00");
    expect(told).toHaveLength(1);
  });

  it("makes up for every missed run with catchup, as many at a time as max_active_runs allows", async () => {
    now = parseInstant("2026-03-10T12:00:00Z");
    const dagId = await scheduled({
      ...timetable(DAILY_INTERVAL),
      start_date: epoch(parseInstant("2026-03-05T00:00:00Z")),
      catchup: true,
      max_active_runs: 2,
    });
    const { creator } = await start();
    const dates = async () => (await runs(dagId)).map((run) => run.logical_date?.slice(0, 10));
    expect(await dates()).toEqual(["2026-03-05", "2026-03-06"]);
    expect((await next(dagId)).exceeds_max_non_backfill).toBe(true);
    for (let round = 0; round < 4; round++) {
      await finishAll(dagId);
      creator.refresh(dagId);
      await creator.settled();
    }
    expect(await dates()).toEqual(["2026-03-05", "2026-03-06", "2026-03-07", "2026-03-08", "2026-03-09"]);
    expect(await next(dagId)).toMatchObject({
      next_dagrun: "2026-03-10T00:00:00.000000Z",
      exceeds_max_non_backfill: false,
    });
  });

  it("makes no run of a paused DAG, and goes on when it is unpaused", async () => {
    now = parseInstant("2026-03-01T10:30:00Z");
    const dagId = await scheduled(
      { ...timetable(HOURLY), start_date: epoch(addMicros(now, -DAY)), catchup: false },
      { is_paused: true },
    );
    const { bus, creator } = await start();
    expect(await runs(dagId)).toEqual([]);
    expect((await next(dagId)).next_dagrun_create_after).toBe("2026-03-01T10:00:00.000000Z");
    await database.db.updateTable("dag").set({ is_paused: false }).where("dag_id", "=", dagId).execute();
    bus.publish({ kind: "dag", dagId });
    await creator.settled();
    expect(await runs(dagId)).toHaveLength(1);
  });

  it("runs @once once, @continuous again after each end, None never", async () => {
    now = parseInstant("2026-03-01T10:30:00Z");
    const start_date = epoch(addMicros(now, -DAY));
    const once = await scheduled({ ...timetable({ type: "airflow.timetables.simple.OnceTimetable" }), start_date });
    const continuous = await scheduled({
      ...timetable({ type: "airflow.timetables.simple.ContinuousTimetable" }),
      start_date,
      max_active_runs: 1,
    });
    const never = await scheduled({ ...timetable({ type: "airflow.timetables.simple.NullTimetable" }), start_date });
    const { creator } = await start();
    const counts = async () => [(await runs(once)).length, (await runs(continuous)).length, (await runs(never)).length];
    expect(await counts()).toEqual([1, 1, 0]);
    now = addMicros(now, HOUR);
    for (const dagId of [once, continuous]) {
      await finishAll(dagId);
      creator.refresh(dagId);
    }
    await creator.settled();
    expect(await counts()).toEqual([1, 2, 0]);
  });

  it("stops at the end date", async () => {
    now = parseInstant("2026-03-10T12:00:00Z");
    const dagId = await scheduled({
      ...timetable(DAILY_INTERVAL),
      start_date: epoch(parseInstant("2026-03-01T00:00:00Z")),
      end_date: epoch(parseInstant("2026-03-03T00:00:00Z")),
      catchup: true,
    });
    await start();
    expect((await runs(dagId)).map((run) => run.logical_date?.slice(0, 10))).toEqual([
      "2026-03-01",
      "2026-03-02",
      "2026-03-03",
    ]);
    expect(await next(dagId)).toMatchObject({ next_dagrun: null, next_dagrun_create_after: null });
  });

  it("takes a run that exists already for made", async () => {
    now = parseInstant("2026-03-01T10:30:00Z");
    const dagId = await scheduled({ ...timetable(HOURLY), start_date: epoch(addMicros(now, -DAY)), catchup: false });
    await database.db
      .insertInto("dag_run")
      .values({
        dag_id: dagId,
        run_id: "by hand",
        run_type: "manual",
        state: "success",
        end_date: now,
        logical_date: parseInstant("2026-03-01T10:00:00Z"),
        run_after: now,
      })
      .execute();
    const { creator } = await start();
    expect(await next(dagId)).toMatchObject({ next_dagrun_create_after: "2026-03-01T11:00:00.000000Z" });
    now = addMicros(now, HOUR);
    creator.check();
    await creator.settled();
    expect((await runs(dagId)).map((run) => run.run_id)).toEqual(["by hand", "scheduled__2026-03-01T11:00:00+00:00"]);
  });
});
