import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parseInstant, type Instant } from "../../kit/instant.ts";
import type { SerializedTimetable } from "../dag-graph.ts";
import type { DagRunType } from "../states.ts";
import { runsBetween } from "./runs-between.ts";
import { timetableFor } from "./timetable-for.ts";
import { dagRunId, randomSuffix, type BuiltinTimetable, type NextRun, type NextRunInput } from "./timetable.ts";

/** What Airflow 3.3.2 answered (vectors.py). */
interface Vector {
  serialized: SerializedTimetable;
  summary: string;
  typeName: string;
  periodic: boolean;
  canBeScheduled: boolean;
  activeRunsLimit: number | null;
  partitioned: boolean;
  walks: {
    catchup: boolean;
    earliest: string | null;
    latest: string | null;
    steps: [now: string, next: Answer | null][];
  }[];
  manual: [runAfter: string, start: string, end: string][];
  between: [earliest: string, latest: string, runs: Answer[]][];
  /** After a run of another schedule. */
  rescheduled: { last: Answer; earliest: string; next: [catchup: boolean, now: string, next: Answer | null][] };
  runIds: [runType: DagRunType, runAfter: string, partitionKey: string | null, runId: string][];
}

/** What is left out is as in an ordinary run. */
type Answer = [
  start: string | null,
  end: string | null,
  runAfter?: string,
  partitionKey?: string,
  partitionDate?: string,
];

const vectors = JSON.parse(readFileSync(join(import.meta.dirname, "vectors.json"), "utf8")) as Vector[];
const instant = (text: string | null): Instant | null => (text === null ? null : parseInstant(text));

function builtin(serialized: SerializedTimetable): BuiltinTimetable {
  const timetable = timetableFor(serialized);
  if (timetable.kind !== "builtin") throw new Error(`${serialized.type} is not built in`);
  return timetable;
}

function expected(answer: Answer | null): NextRun | null {
  if (answer === null) return null;
  const [start, end] = [instant(answer[0]), instant(answer[1])];
  return {
    logicalDate: start,
    dataInterval: start && end ? { start, end } : null,
    runAfter: parseInstant(answer[2] ?? answer[1] ?? ""),
    partitionKey: answer[3] ?? null,
    partitionDate: instant(answer[4] ?? null),
  };
}

const named = vectors.map(
  (vector) => [`${vector.typeName} ${JSON.stringify(vector.serialized.data)}`, vector] as const,
);

it.each(named)("answers as Airflow does: %s", (_name, vector) => {
  const timetable = builtin(vector.serialized);
  const { summary, typeName, periodic, canBeScheduled, activeRunsLimit, partitioned } = vector;
  expect(timetable).toMatchObject({ summary, typeName, periodic, canBeScheduled, activeRunsLimit, partitioned });
  for (const { catchup, earliest, latest, steps } of vector.walks) {
    const restriction = { catchup, earliest: instant(earliest), latest: instant(latest) };
    let last: NextRunInput["last"] = null;
    for (const [number, [now, next]] of steps.entries()) {
      const found = timetable.nextRun({ last, restriction, now: parseInstant(now) });
      expect(found, `run ${number} at ${now}, ${JSON.stringify(restriction)}`).toEqual(expected(next));
      last = found;
    }
  }
  for (const [runAfter, start, end] of vector.manual) {
    const inferred = { start: parseInstant(start), end: parseInstant(end) };
    expect(timetable.inferManualDataInterval(parseInstant(runAfter)), runAfter).toEqual(inferred);
  }
});

it.each(named)("runs again what was, as Airflow's backfills do: %s", (_name, vector) => {
  const timetable = builtin(vector.serialized);
  for (const [earliest, latest, runs] of vector.between) {
    const found: NextRun[] = [];
    for (const run of runsBetween(timetable, parseInstant(earliest), parseInstant(latest), parseInstant(latest))) {
      found.push(run);
      if (found.length === 15) break;
    }
    expect(found, `from ${earliest} to ${latest}`).toEqual(runs.map(expected));
  }
});

it.each(named)("goes on from another schedule, as Airflow does: %s", (_name, vector) => {
  const timetable = builtin(vector.serialized);
  const last = expected(vector.rescheduled.last);
  const earliest = parseInstant(vector.rescheduled.earliest);
  for (const [catchup, now, next] of vector.rescheduled.next) {
    const restriction = { earliest, latest: null, catchup };
    expect(timetable.nextRun({ last, restriction, now: parseInstant(now) }), now).toEqual(expected(next));
  }
});

it.each(named)("names runs as Airflow does: %s", (_name, vector) => {
  const timetable = builtin(vector.serialized);
  for (const [runType, runAfter, partitionKey, runId] of vector.runIds) {
    const identity = { runAfter: parseInstant(runAfter), logicalDate: null, partitionKey };
    expect(timetable.runId(runType, identity, () => "abcdefgh")).toBe(runId);
  }
});

describe("timetableFor", () => {
  const cron = (expression: string, timezone = "UTC"): SerializedTimetable => ({
    type: "airflow.timetables.trigger.CronTriggerTimetable",
    data: { expression, timezone, interval: 0, run_immediately: false },
  });

  it("leaves a user's own class to Python", () => {
    const serialized = { type: "plugins.workday.AfterWorkdayTimetable", data: {} };
    expect(timetableFor(serialized)).toEqual({
      kind: "custom",
      serialized,
      typeName: "plugins.workday.AfterWorkdayTimetable",
      summary: "AfterWorkdayTimetable",
    });
  });

  it.each([
    "61 * * * *",
    "* 24 * * *",
    "* * 0 * *",
    "* * * 13 *",
    "* * * * 8",
    "*/0 * * * *",
    "a * * * *",
    "-1 * * * *",
    "* * ?,1 * *",
    "? * * * *",
    "* * 1,15w * *",
    "* * * * 1#6",
    "* * * * 1,2#3",
    "* * * *",
    "@fortnightly",
  ])("refuses the cron %j, as croniter does", (expression) => {
    expect(() => timetableFor(cron(expression))).toThrow(RangeError);
  });

  it("refuses an unknown time zone", () => {
    expect(() => timetableFor(cron("0 0 * * *", "Mars/Olympus"))).toThrow(RangeError);
  });

  it("runs on assets and on time", () => {
    const inner = { __type: cron("0 6 * * *").type, __var: cron("0 6 * * *").data };
    const both = builtin({ type: "airflow.timetables.assets.AssetOrTimeSchedule", data: { timetable: inner } });
    expect(both).toMatchObject({ summary: "Asset or 0 6 * * *", assetTriggered: true, periodic: true });
    const now = parseInstant("2026-01-01T05:00:00Z");
    const restriction = { earliest: now, latest: null, catchup: true };
    expect(both.nextRun({ last: null, restriction, now })?.runAfter).toBe("2026-01-01T06:00:00.000000Z");
  });
});

describe("run ids", () => {
  const runAfter = parseInstant("2026-01-01T05:00:00.250000Z");
  const random = (): string => "abcdefgh";

  it("are named by type and time, as Airflow's", () => {
    const none = builtin({ type: "airflow.timetables.simple.NullTimetable", data: {} });
    expect(none.runId("manual", { runAfter, logicalDate: runAfter }, random)).toBe(
      "manual__2026-01-01T05:00:00.250000+00:00",
    );
    expect(dagRunId("asset_triggered", { runAfter, logicalDate: null }, random)).toBe(
      "asset_triggered__2026-01-01T05:00:00.250000+00:00_abcdefgh",
    );
    expect(dagRunId("backfill", { runAfter, logicalDate: runAfter }, random)).toBe(
      "backfill__2026-01-01T05:00:00.250000+00:00",
    );
  });

  it("end in eight letters or digits where the time does not tell them apart", () => {
    expect(randomSuffix()).toMatch(/^[A-Za-z0-9]{8}$/);
  });
});
