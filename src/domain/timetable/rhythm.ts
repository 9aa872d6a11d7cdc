import type { Cron } from "./cron.ts";
import { addDelta, type Delta } from "./delta.ts";
import type { TimeZone } from "./time-zone.ts";

/** The times a schedule names, in microseconds: what CronMixin and DeltaMixin give Airflow's timetables. */
export interface Rhythm {
  next(at: number): number;
  previous(at: number): number;
  /** The time itself if the schedule names it, else the next one. */
  alignToNext(at: number): number;
  alignToPrevious(at: number): number;
}

/** The schedule names no further time (31 February); Airflow logs it and schedules nothing. */
export class NoSuchTimeError extends RangeError {}

/**
 * Cron on the zone's wall clock. When the clock is set back, schedules that run every hour count elapsed time, so that the
 * repeated hour runs twice; others take the second showing. A time that is jumped over moves on by the jump.
 */
export function cronRhythm(cron: Cron, zone: TimeZone): Rhythm {
  const step = (at: number, direction: 1 | -1): number => {
    const wall = zone.toWall(at);
    const found = direction > 0 ? cron.next(wall) : cron.previous(wall);
    if (found === null) throw new NoSuchTimeError(`no time matches ${JSON.stringify(cron.expression)}`);
    return cron.coversEveryHour ? at + (found - wall) : zone.toMoment(found);
  };
  const next = (at: number): number => step(at, 1);
  const previous = (at: number): number => step(at, -1);
  return {
    next,
    previous,
    alignToNext(at) {
      const after = next(at);
      return previous(after) === at ? at : after;
    },
    alignToPrevious(at) {
      const before = previous(at);
      return next(before) === at ? at : before;
    },
  };
}

/** A delta has no fixed grid: every time is aligned. */
export function deltaRhythm(delta: Delta): Rhythm {
  return {
    next: (at) => addDelta(at, delta),
    previous: (at) => addDelta(at, delta, -1),
    alignToNext: (at) => at,
    alignToPrevious: (at) => at,
  };
}
