import fc from "fast-check";
import { expect, it } from "vitest";
import { addMicros, parseInstant, type Instant } from "../../kit/instant.ts";
import type { JsonValue } from "../../kit/json-text.ts";
import { Cron } from "./cron.ts";
import { runsBetween } from "./runs-between.ts";
import { timetableFor } from "./timetable-for.ts";
import type { BuiltinTimetable, NextRun } from "./timetable.ts";

/** Rules that hold for whatever schedule, in whatever zone and over whatever change of its clock. */

const MINUTE = 60_000_000;
const YEAR_MINUTES = 366 * 24 * 60;

const aField = (low: number, high: number) =>
  fc.oneof(
    { weight: 3, arbitrary: fc.constant("*") },
    { weight: 3, arbitrary: fc.integer({ min: low, max: high }).map(String) },
    fc.integer({ min: 2, max: 12 }).map((step) => `*/${step}`),
    fc.tuple(fc.integer({ min: low, max: high }), fc.integer({ min: low, max: high })).map(([a, b]) => `${a},${b}`),
  );
const anExpression = fc.oneof(
  fc.tuple(aField(0, 59), aField(0, 23)).map(([minute, hour]) => `${minute} ${hour} * * *`),
  fc.tuple(aField(0, 59), aField(0, 23), fc.integer({ min: 0, max: 6 })).map((fields) => {
    const [minute, hour, weekday] = fields;
    return `${minute} ${hour} * * ${weekday}`;
  }),
  fc.constantFrom("@hourly", "@daily", "@weekly", "@monthly", "0 0 L * *", "30 2 * * *", "*/7 * * * *"),
);
/** Zones whose clocks change in the years of `aTime`. */
const CHANGING = ["Europe/Zurich", "America/New_York", "Australia/Lord_Howe"];
const aZone = fc.constantFrom("UTC", ...CHANGING, "Asia/Kathmandu", "America/Sao_Paulo", "Pacific/Apia");
const aTimetable = fc
  .record({
    expression: anExpression,
    timezone: aZone,
    kind: fc.constantFrom("interval", "trigger"),
    hours: fc.nat(48),
  })
  .map(({ expression, timezone, kind, hours }) => {
    const own: Record<string, JsonValue> = kind === "trigger" ? { interval: hours * 3600, run_immediately: false } : {};
    const name = kind === "trigger" ? "trigger.CronTriggerTimetable" : "interval.CronDataIntervalTimetable";
    const type = `airflow.timetables.${name}`;
    const made = timetableFor({ type, data: { expression, timezone, ...own } });
    if (made.kind !== "builtin") throw new Error("not built in");
    // Airflow counts elapsed time for these: over a change of the clock the next run depends on where the count began (vectors.py).
    const counts = new Cron(expression).coversEveryHour && CHANGING.includes(timezone);
    return { timetable: made, named: `${name} ${expression} ${timezone}`, counts };
  });
const aWallTimetable = aTimetable.filter(({ counts }) => !counts);
const aTime = fc
  .tuple(fc.integer({ min: 0, max: 3 * YEAR_MINUTES }), fc.constantFrom(0, 0, 1, 31_000_000))
  .map(([minutes, micros]) => addMicros(parseInstant("2024-01-01T00:00:00Z"), minutes * MINUTE + micros));

function follow(timetable: BuiltinTimetable, from: Instant, now: Instant, count: number): NextRun[] {
  const runs: NextRun[] = [];
  const restriction = { earliest: from, latest: null, catchup: true };
  for (let last: NextRun | null = null; runs.length < count;) {
    last = timetable.nextRun({ last, restriction, now });
    if (last === null) break;
    runs.push(last);
  }
  return runs;
}

it("runs follow each other in time, from the start date on, whatever the time is", () => {
  fc.assert(
    fc.property(aTimetable, aTime, aTime, ({ timetable }, from, now) => {
      const runs = follow(timetable, from, now, 30);
      expect(follow(timetable, from, addMicros(now, 400 * 24 * 60 * MINUTE), 30)).toEqual(runs);
      for (const [at, { runAfter, dataInterval }] of runs.entries()) {
        expect(runAfter >= from).toBe(true);
        expect(dataInterval !== null && dataInterval.start <= dataInterval.end).toBe(true);
        expect(dataInterval?.end).toBe(runAfter);
        if (at > 0) expect(runAfter > (runs[at - 1] as NextRun).runAfter).toBe(true);
      }
    }),
    { numRuns: 150 },
  );
});

it("without catchup there is at most one run to make up for", () => {
  fc.assert(
    fc.property(aWallTimetable, aTime, aTime, ({ timetable, named }, from, now) => {
      const restriction = { earliest: from, latest: null, catchup: false };
      const first = timetable.nextRun({ last: null, restriction, now });
      fc.pre(first !== null);
      const second = timetable.nextRun({ last: first, restriction, now });
      expect(second === null || second.runAfter > now, `${named} at ${now} since ${from}`).toBe(true);
    }),
    { numRuns: 300 },
  );
});

it("two backfills, one after the other, run what one over both does", () => {
  fc.assert(
    fc.property(
      aWallTimetable,
      aTime,
      fc.nat(5 * 24 * 60),
      fc.nat(5 * 24 * 60),
      ({ timetable, named }, from, one, other) => {
        const middle = addMicros(from, one * MINUTE);
        const to = addMicros(middle, other * MINUTE);
        const between = (earliest: Instant, latest: Instant) => dates(runsBetween(timetable, earliest, latest, to));
        const parts = new Set([...between(from, middle), ...between(middle, to)]);
        expect([...parts].sort(), `${named} from ${from} by ${middle} to ${to}`).toEqual(between(from, to));
      },
    ),
    { numRuns: 200 },
  );
});

it("an end date ends it", () => {
  fc.assert(
    fc.property(aTimetable, aTime, fc.nat(20 * 24 * 60), ({ timetable }, from, minutes) => {
      const latest = addMicros(from, minutes * MINUTE);
      const restriction = { earliest: from, latest, catchup: true };
      for (let last: NextRun | null = null, count = 0; count < 50; count++) {
        last = timetable.nextRun({ last, restriction, now: from });
        if (last === null) return;
        expect(last.logicalDate !== null && last.logicalDate <= latest).toBe(true);
      }
    }),
    { numRuns: 150 },
  );
});

function dates(runs: Iterable<NextRun>): string[] {
  const found: string[] = [];
  for (const { runAfter } of runs) found.push(runAfter);
  return found;
}
