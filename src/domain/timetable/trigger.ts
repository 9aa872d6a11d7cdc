import { addDelta, type Delta } from "./delta.ts";
import { formatTime } from "./format-time.ts";
import type { Rhythm } from "./rhythm.ts";
import type { TimeZone } from "./time-zone.ts";
import { pythonIsoFormat } from "../../kit/instant.ts";
import {
  builtin,
  interval,
  micros,
  moment,
  type BuiltinTimetable,
  type NextRun,
  type NextRunInput,
  type TimeRestriction,
} from "./timetable.ts";

/** Timetables whose run is made at the tick, with a data interval of its own length: airflow/timetables/trigger.py. */

/** true: the past tick; a number: the past tick if it is no more than these microseconds ago; else a tenth of the gap. */
export type RunImmediately = boolean | number | null;

interface Ticks {
  rhythm: Rhythm;
  /** Without a start date and a run so far. */
  firstRun(now: number): number;
}

export function cronTicks(rhythm: Rhythm, runImmediately: RunImmediately): Ticks {
  return {
    rhythm,
    firstRun(now) {
      const past = rhythm.alignToPrevious(now);
      const next = rhythm.alignToNext(now);
      if (runImmediately === true) return past;
      const buffer =
        typeof runImmediately === "number" ? runImmediately : Math.max((next - past) / 10, 5 * 60 * 1_000_000);
      return now - past <= buffer ? past : next;
    },
  };
}

export function deltaTicks(rhythm: Rhythm): Ticks {
  return { rhythm, firstRun: (now) => rhythm.alignToPrevious(now) };
}

export function triggerTimetable(typeName: string, summary: string, ticks: Ticks, length: Delta): BuiltinTimetable {
  const startOf = (end: number): number => addDelta(end, length, -1);
  return builtin({
    typeName,
    summary,
    nextRun({ last, restriction, now }) {
      const after = last?.dataInterval ? micros(last.dataInterval.end) : null;
      const tick = nextTick(ticks, after, restriction, micros(now));
      return tick === null ? null : interval(startOf(tick), tick);
    },
    inferManualDataInterval: (runAfter) => ({ start: moment(startOf(micros(runAfter))), end: runAfter }),
  });
}

function nextTick(ticks: Ticks, after: number | null, restriction: TimeRestriction, now: number): number | null {
  const { rhythm } = ticks;
  const earliest = restriction.earliest === null ? null : micros(restriction.earliest);
  let tick: number;
  if (restriction.catchup) {
    if (after !== null) tick = rhythm.next(after);
    else tick = earliest === null ? ticks.firstRun(now) : rhythm.alignToNext(earliest);
  } else {
    tick = rhythm.alignToPrevious(now);
    if (after !== null) tick = Math.max(tick, rhythm.next(after));
    else if (earliest === null) tick = Math.max(tick, ticks.firstRun(now));
    if (earliest !== null) tick = Math.max(tick, rhythm.alignToNext(earliest));
  }
  return restriction.latest !== null && micros(restriction.latest) < tick ? null : tick;
}

/** Several crons: whichever is next; without catchup the latest that is past, else the earliest to come. */
export function multipleTimetable(timetables: readonly BuiltinTimetable[]): BuiltinTimetable {
  const key = ({ logicalDate }: NextRun, { restriction, now }: NextRunInput): number => {
    const at = logicalDate === null ? Infinity : micros(logicalDate);
    return !restriction.catchup && at <= micros(now) ? -at : at;
  };
  return builtin({
    typeName: "MultipleCronTriggerTimetable",
    summary: timetables.map((timetable) => timetable.summary).join(", "),
    nextRun(input) {
      const runs = timetables.map((timetable) => timetable.nextRun(input)).filter((run) => run !== null);
      return smallest(runs, (run) => key(run, input));
    },
    inferManualDataInterval(runAfter) {
      const intervals = timetables.map((timetable) => timetable.inferManualDataInterval(runAfter));
      return smallest(intervals, ({ start }) => micros(start)) ?? { start: runAfter, end: runAfter };
    },
  });
}

function smallest<T>(items: readonly T[], key: (item: T) => number): T | null {
  return items.reduce<T | null>((best, item) => (best === null || key(item) < key(best) ? item : best), null);
}

/** Cron that makes a run per partition: no data interval, but a key made of a tick `offset` ticks away. */
export function cronPartition(
  summary: string,
  ticks: Ticks,
  options: { zone: TimeZone; offset: number; keyFormat: string },
): BuiltinTimetable {
  const { zone, offset, keyFormat } = options;
  return builtin({
    typeName: "CronPartitionTimetable",
    summary,
    partitioned: true,
    nextRun({ last, restriction, now }) {
      const tick = nextTick(ticks, last ? micros(last.runAfter) : null, restriction, micros(now));
      if (tick === null) return null;
      let date = tick;
      for (let step = 0; step < Math.abs(offset); step++) {
        date = offset > 0 ? ticks.rhythm.next(date) : ticks.rhythm.previous(date);
      }
      return {
        logicalDate: null,
        dataInterval: null,
        runAfter: moment(tick),
        partitionDate: moment(date),
        partitionKey: formatTime(keyFormat, date, zone),
      };
    },
    *partitionsBetween(earliest, latest) {
      const until = zone.toMoment(micros(latest));
      let date = ticks.rhythm.alignToNext(zone.toMoment(micros(earliest)));
      for (; date <= until; date = ticks.rhythm.next(date)) {
        const partitionKey = formatTime(keyFormat, date, zone);
        yield {
          logicalDate: null,
          dataInterval: null,
          runAfter: moment(date),
          partitionDate: moment(date),
          partitionKey,
        };
      }
    },
    inferManualDataInterval: (runAfter) => ({ start: runAfter, end: runAfter }),
    runId(runType, { runAfter, partitionKey }, random) {
      const key = partitionKey ? `__${partitionKey}` : "";
      return `${runType}__${pythonIsoFormat(runAfter)}${key}__${random()}`;
    },
  });
}
