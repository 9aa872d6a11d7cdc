import { timetableFor } from "../../domain/timetable/timetable-for.ts";
import {
  timeRestriction,
  type BuiltinTimetable,
  type NextRun,
  type NextRunInput,
  type TimeRestriction,
} from "../../domain/timetable/timetable.ts";
import type { Instant } from "../../kit/instant.ts";
import type { Range } from "../../store/filters.ts";
import type { ApiContext } from "../context.ts";

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
export async function plannedRuns(
  context: Pick<ApiContext, "askTimetable" | "graph" | "kit">,
  dag: NextRunRow & { current_version_id: string; timetable_periodic: boolean },
  range: Range<Instant>,
): Promise<Instant[]> {
  const { next_dagrun: first, next_dagrun_data_interval_start: start, next_dagrun_data_interval_end: end } = dag;
  if (!dag.timetable_periodic || !first || !start || !end) return [];
  const graph = await context.graph(dag.current_version_id);
  const timetable = timetableFor(graph.timetable);
  const restriction = { ...timeRestriction(graph), catchup: true };
  const until = range.lte ?? range.lt ?? (`${first.slice(0, 4)}-12-31T23:59:59.999999Z` as Instant);
  let last: LastRun = { dataInterval: { start, end }, runAfter: dag.next_dagrun_create_after ?? end };
  const dates = isWithin(first, range) && first <= until ? [first] : [];
  const later =
    timetable.kind === "builtin"
      ? builtinRuns(timetable, { last, restriction, now: context.kit.clock.now() })
      : await customRuns(context, dag.current_version_id, { last, restriction, until });
  for (const run of later) {
    // A timetable that stands still would be asked for ever.
    if (run.logicalDate === null || run.logicalDate > until || run.runAfter <= last.runAfter) break;
    if (dates.length >= MOST) break;
    if (isWithin(run.logicalDate, range)) dates.push(run.logicalDate);
    last = run;
  }
  return dates;
}

type LastRun = NonNullable<NextRunInput["last"]>;

function* builtinRuns(timetable: BuiltinTimetable, input: NextRunInput): Generator<NextRun> {
  let { last } = input;
  for (let step = 0; step < MOST; step++) {
    const run = timetable.nextRun({ ...input, last });
    if (run === null) return;
    yield run;
    last = run;
  }
}

/** As many as a year has days: asking a user's own code costs a process and its time. */
async function customRuns(
  { askTimetable }: Pick<ApiContext, "askTimetable">,
  versionId: string,
  asked: { last: LastRun; restriction: TimeRestriction; until: Instant },
): Promise<NextRun[]> {
  const { last, restriction, until } = asked;
  const latest = restriction.latest !== null && restriction.latest < until ? restriction.latest : until;
  const question = { kind: "next", last, restriction: { ...restriction, latest }, count: 366 } as const;
  return (await askTimetable(versionId, question)).runs;
}

function isWithin(date: Instant, { gte, gt, lte, lt }: Range<Instant>): boolean {
  return (
    (gte === undefined || date >= gte) &&
    (gt === undefined || date > gt) &&
    (lte === undefined || date <= lte) &&
    (lt === undefined || date < lt)
  );
}
