import type { Instant } from "../../kit/instant.ts";
import { NoSuchTimeError } from "./rhythm.ts";
import type { BuiltinTimetable, NextRun } from "./timetable.ts";

/**
 * `SerializedDAG.iter_dagrun_infos_between`: the runs whose logical date lies between two moments, both included; of
 * partitioned timetables the partitions. Lazy: there may be millions.
 */
export function* runsBetween(
  timetable: BuiltinTimetable,
  earliest: Instant,
  latest: Instant,
  now: Instant,
): Generator<NextRun> {
  if (timetable.partitionsBetween) {
    try {
      yield* timetable.partitionsBetween(earliest, latest);
    } catch (error) {
      // A cron that names no further time has no further partitions.
      if (!(error instanceof NoSuchTimeError)) throw error;
    }
    return;
  }
  const restriction = { earliest, latest, catchup: true };
  let last: NextRun | null = null;
  for (;;) {
    const next: NextRun | null = timetable.nextRun({ last, restriction, now });
    if (next === null) return;
    yield next;
    last = next;
  }
}
