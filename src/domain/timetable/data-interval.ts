import { fixedSeconds, isFixed, type Delta } from "./delta.ts";
import type { Rhythm } from "./rhythm.ts";
import { builtin, interval, micros, moment, type BuiltinTimetable } from "./timetable.ts";

/** Timetables whose run covers the time from one tick to the next and is made at its end: airflow/timetables/interval.py. */

type SkipToLatest = (earliest: number | null, now: number) => number;

export function cronDataInterval(rhythm: Rhythm, summary: string): BuiltinTimetable {
  const skipToLatest: SkipToLatest = (earliest, now) => {
    const lastStart = rhythm.previous(now);
    // On a boundary the interval that ends now is the latest, else the one before.
    const start = rhythm.next(lastStart) === now ? lastStart : rhythm.previous(lastStart);
    return earliest === null ? start : Math.max(start, rhythm.alignToNext(earliest));
  };
  return dataIntervalTimetable("CronDataIntervalTimetable", summary, rhythm, skipToLatest, (runAfter) => {
    const end = rhythm.alignToPrevious(runAfter);
    return [rhythm.previous(end), end];
  });
}

export function deltaDataInterval(rhythm: Rhythm, delta: Delta, summary: string): BuiltinTimetable {
  const skipToLatest: SkipToLatest = (earliest, now) => {
    const start = rhythm.previous(round(rhythm, delta, now, earliest ?? now));
    return earliest === null ? start : Math.max(start, earliest);
  };
  return dataIntervalTimetable("DeltaDataIntervalTimetable", summary, rhythm, skipToLatest, (runAfter) => [
    rhythm.previous(runAfter),
    runAfter,
  ]);
}

/** The latest boundary at or before a time: on the epoch's grid, or in steps from the start for months and years. */
function round(rhythm: Rhythm, delta: Delta, at: number, anchor: number): number {
  if (!isFixed(delta)) {
    let boundary = anchor;
    while (rhythm.next(boundary) <= at) boundary = rhythm.next(boundary);
    return boundary;
  }
  const size = fixedSeconds(delta) * 1_000_000;
  return at - (((at % size) + size) % size);
}

function dataIntervalTimetable(
  typeName: string,
  summary: string,
  rhythm: Rhythm,
  skipToLatest: SkipToLatest,
  manual: (runAfter: number) => [start: number, end: number],
): BuiltinTimetable {
  return builtin({
    typeName,
    summary,
    nextRun({ last, restriction, now }) {
      let earliest = restriction.earliest === null ? null : micros(restriction.earliest);
      if (!restriction.catchup) earliest = skipToLatest(earliest, micros(now));
      else if (earliest !== null) earliest = rhythm.alignToNext(earliest);
      const previous = last?.dataInterval ?? null;
      let start = earliest;
      if (previous) {
        const aligned = rhythm.alignToPrevious(micros(previous.end));
        start = earliest === null ? aligned : Math.max(aligned, earliest);
        // A coarser schedule can fall back onto the last run's start.
        if (start <= micros(previous.start)) start = rhythm.next(start);
        if (start <= micros(previous.start)) return null;
      }
      if (start === null || (restriction.latest !== null && start > micros(restriction.latest))) return null;
      return interval(start, rhythm.next(start));
    },
    inferManualDataInterval(runAfter) {
      const [start, end] = manual(micros(runAfter));
      return { start: moment(start), end: moment(end) };
    },
  });
}
