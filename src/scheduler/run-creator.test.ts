import { pino } from "pino";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../test/support/database.ts";
import { makeDag, makeVersion } from "../../test/support/factories.ts";
import { addMicros, instantMicros, parseInstant, type Instant } from "../kit/instant.ts";
import { EventBus } from "../domain/events.ts";
import type { CustomRun, TimetableAnswer, TimetableQuestion } from "../domain/timetable/custom.ts";
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
const timetables = new Map<string, (question: Question) => TimetableAnswer | Promise<TimetableAnswer>>();
const asked: string[] = [];
afterEach(async () => {
  for (const creator of made.splice(0)) await creator.stop();
  await database.pool.query("truncate dag cascade");
  timetables.clear();
  asked.length = 0;
});

type Question = Extract<TimetableQuestion, { kind: "next" }>;

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

/** A DAG on a timetable of a user's own, which `answer` stands for. */
async function onItsOwn(
  dagId: string,
  answer: (question: Question) => TimetableAnswer | Promise<TimetableAnswer>,
  dag: Record<string, unknown> = {},
): Promise<string> {
  timetables.set(dagId, answer);
  const timetable = { __type: "plugin.Own", __var: {} };
  return await scheduled(
    { timetable, start_date: epoch(addMicros(now, -DAY)), catchup: false, ...dag },
    { dag_id: dagId },
  );
}

const answers = (runs: CustomRun[], reason: string | null = null): TimetableAnswer => ({
  runs,
  dataInterval: null,
  runId: null,
  failure: reason === null ? null : { kind: "raised", reason, details: "Traceback", isValueError: false },
});

/** As many runs as asked for, each so much after the last. */
function every(step: number, first: Instant) {
  return ({ last, count }: Question): TimetableAnswer => {
    const runs: CustomRun[] = [];
    let at = last ? addMicros(last.runAfter, step) : first;
    for (; runs.length < count; at = addMicros(at, step)) runs.push(exactly(at));
    return answers(runs);
  };
}

function exactly(at: Instant): CustomRun {
  return {
    logicalDate: at,
    dataInterval: { start: at, end: at },
    runAfter: at,
    partitionKey: null,
    partitionDate: null,
    runId: `own_${at.slice(5, 16)}`,
  };
}

async function error(dagId: string): Promise<string | null> {
  const row = await database.db
    .selectFrom("dag")
    .select("timetable_error")
    .where("dag_id", "=", dagId)
    .executeTakeFirst();
  return row?.timetable_error ?? null;
}

async function start(): Promise<{ bus: EventBus; creator: RunCreator }> {
  const bus = new EventBus();
  const creator = create(bus);
  await creator.start();
  await creator.settled();
  return { bus, creator };
}

function create(bus: EventBus): RunCreator {
  const creator = new RunCreator(kit, {
    db: database.db,
    bus,
    versions: new VersionCache(database.db),
    askTimetable: async (versionId, question) => {
      const row = await database.db
        .selectFrom("dag_version")
        .select("dag_id")
        .where("id", "=", versionId)
        .executeTakeFirst();
      const dagId = row?.dag_id ?? "";
      asked.push(dagId);
      const answer = timetables.get(dagId);
      if (!answer || question.kind !== "next") throw new Error("not expected");
      return answer(question);
    },
  });
  made.push(creator);
  return creator;
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

describe("RunCreator, with timetables of a user's own,", () => {
  it("makes the runs they name, under the ids they give, and asks once for several", async () => {
    now = parseInstant("2026-03-01T10:30:00Z");
    const dagId = await onItsOwn("own", every(HOUR, parseInstant("2026-03-01T07:00:00Z")), { max_active_runs: 3 });
    const { creator } = await start();
    expect((await runs(dagId)).map((run) => run.run_id)).toEqual([
      "own_03-01T07:00",
      "own_03-01T08:00",
      "own_03-01T09:00",
    ]);
    expect(await next(dagId)).toMatchObject({
      next_dagrun_create_after: "2026-03-01T10:00:00.000000Z",
      exceeds_max_non_backfill: true,
    });
    await finishAll(dagId);
    creator.refresh(dagId);
    await creator.settled();
    expect((await runs(dagId)).at(-1)?.run_id).toBe("own_03-01T10:00");
    expect(asked).toHaveLength(1);
    await finishAll(dagId);
    now = parseInstant("2026-03-01T11:00:00Z");
    creator.check();
    await creator.settled();
    // Half an hour has passed: it may have changed its mind.
    expect(asked).toHaveLength(2);
    expect((await runs(dagId)).at(-1)?.run_id).toBe("own_03-01T11:00");
  });

  it("shows why there is no next run, tries again after a while, and after a change at once", async () => {
    now = parseInstant("2026-03-01T10:30:00Z");
    let broken = true;
    const well = every(HOUR, parseInstant("2026-03-01T12:00:00Z"));
    const dagId = await onItsOwn("own", (question) => (broken ? answers([], "KeyError: 2026") : well(question)));
    const { bus, creator } = await start();
    expect(await error(dagId)).toBe("KeyError: 2026\n\nTraceback");
    expect(await next(dagId)).toMatchObject({ next_dagrun_create_after: null });
    const after = async (minutes: number) => {
      now = addMicros(now, minutes * 60_000_000);
      creator.check();
      await creator.settled();
      return asked.length;
    };
    expect(await after(0.5)).toBe(1);
    expect(await after(0.5)).toBe(2);
    // It waits longer each time.
    expect(await after(1)).toBe(2);
    expect(await after(1)).toBe(3);
    broken = false;
    bus.publish({ kind: "dag", dagId });
    await creator.settled();
    expect(await error(dagId)).toBeNull();
    expect(await next(dagId)).toMatchObject({ next_dagrun_create_after: "2026-03-01T12:00:00.000000Z" });
    broken = true;
    creator.pluginsChanged();
    await creator.settled();
    expect(await error(dagId)).toContain("KeyError: 2026");
  });

  it("makes what they name before they fail", async () => {
    now = parseInstant("2026-03-01T10:30:00Z");
    const at = parseInstant("2026-03-01T10:00:00Z");
    const dagId = await onItsOwn("own", ({ last }) => answers(last ? [] : [exactly(at)], "no more"));
    await start();
    expect(await runs(dagId)).toHaveLength(1);
    expect(await error(dagId)).toContain("no more");
  });

  it("lets none of them hold up another DAG, nor the end", async () => {
    now = parseInstant("2026-03-01T10:30:00Z");
    let release = (): void => undefined;
    await onItsOwn("silent", () => new Promise((resolve) => (release = () => resolve(answers([])))));
    const own = await onItsOwn("own", every(HOUR, parseInstant("2026-03-01T10:00:00Z")));
    const plain = await scheduled({ ...timetable(HOURLY), start_date: epoch(addMicros(now, -DAY)), catchup: false });
    const bus = new EventBus();
    const told = new Promise<void>((resolve) => {
      let count = 0;
      bus.on("dag-run", () => (++count === 2 ? resolve() : undefined));
    });
    const creator = create(bus);
    await creator.start();
    await told;
    expect([(await runs(own)).length, (await runs(plain)).length]).toEqual([1, 1]);
    await creator.stop();
    release();
    expect(await error("silent")).toBeNull();
  });

  it("does not run round in circles with one that stands still", async () => {
    now = parseInstant("2026-03-01T10:30:00Z");
    const at = parseInstant("2026-03-01T10:00:00Z");
    const other = parseInstant("2026-03-01T09:00:00Z");
    const still = await onItsOwn("still", ({ count }) => answers(Array.from({ length: count }, () => exactly(at))));
    const circle = await onItsOwn("circle", ({ last, count }) => {
      const first = last?.runAfter === at ? 1 : 0;
      return answers(Array.from({ length: count }, (_, step) => exactly((first + step) % 2 === 0 ? at : other)));
    });
    await start();
    expect(await runs(still)).toHaveLength(1);
    expect(await runs(circle)).toHaveLength(2);
  });
});

it("makes no run of a DAG whose file has an error by now", async () => {
  now = parseInstant("2026-03-01T10:30:00Z");
  const start_date = epoch(addMicros(now, -DAY));
  const dagId = await scheduled({ ...timetable(HOURLY), start_date, catchup: false }, { has_import_errors: true });
  const { bus, creator } = await start();
  expect(await runs(dagId)).toEqual([]);
  await database.db.updateTable("dag").set({ has_import_errors: false }).where("dag_id", "=", dagId).execute();
  bus.publish({ kind: "dag", dagId });
  await creator.settled();
  expect(await runs(dagId)).toHaveLength(1);
});
