import type { DagGraph } from "../../domain/dag-graph.ts";
import { timetableFor } from "../../domain/timetable/timetable-for.ts";
import { timeRestriction } from "../../domain/timetable/timetable.ts";
import type { Instant } from "../../kit/instant.ts";
import type { Range } from "../../store/filters.ts";

/** A calendar shows no more planned runs than this; a DAG that runs every minute has half a million a year. */
const MOST = 2_000;

/** The run that the scheduler makes next. */
export interface NextRunRow {
  next_dagrun: Instant | null;
  next_dagrun_data_interval_start: Instant | null;
  next_dagrun_data_interval_end: Instant | null;
  next_dagrun_create_after: Instant | null;
}

/** Logical dates of the runs to come, within the range or else within the year of the next one. */
export function plannedRuns(graph: DagGraph, next: NextRunRow, range: Range<Instant>, now: Instant): Instant[] {
  const timetable = timetableFor(graph.timetable);
  const { next_dagrun: first, next_dagrun_data_interval_start: start, next_dagrun_data_interval_end: end } = next;
  if (timetable.kind !== "builtin" || !timetable.periodic || !first || !start || !end) return [];
  const restriction = { ...timeRestriction(graph), catchup: true };
  const endOfYear = `${first.slice(0, 4)}-12-31T23:59:59.999999Z`;
  const until = range.lte ?? range.lt ?? endOfYear;
  const dates: Instant[] = [];
  let date: Instant | null = first;
  let last = { dataInterval: { start, end }, runAfter: next.next_dagrun_create_after ?? end };
  for (let step = 0; step < MOST && date !== null && date <= until; step++) {
    if (isWithin(date, range)) dates.push(date);
    const run = timetable.nextRun({ last, restriction, now });
    // A timetable that stands still would be asked for ever.
    if (!run?.dataInterval || run.runAfter <= last.runAfter) break;
    last = { dataInterval: run.dataInterval, runAfter: run.runAfter };
    date = run.logicalDate;
  }
  return dates;
}

function isWithin(date: Instant, { gte, gt, lte, lt }: Range<Instant>): boolean {
  return (
    (gte === undefined || date >= gte) &&
    (gt === undefined || date > gt) &&
    (lte === undefined || date <= lte) &&
    (lt === undefined || date < lt)
  );
}
