import { instantFromMicros, instantMicros, pythonIsoFormat, type Instant } from "../../kit/instant.ts";
import type { DagGraph, SerializedTimetable } from "../dag-graph.ts";
import type { DagRunType } from "../states.ts";

export interface DataInterval {
  start: Instant;
  end: Instant;
}

/** When a run is due, and for what. */
export interface NextRun {
  /** null for partitioned runs. */
  logicalDate: Instant | null;
  dataInterval: DataInterval | null;
  runAfter: Instant;
  partitionKey: string | null;
  partitionDate: Instant | null;
}

/** The bounds of a DAG's dates, and whether missed runs are made up for. */
export interface TimeRestriction {
  earliest: Instant | null;
  latest: Instant | null;
  catchup: boolean;
}

export interface NextRunInput {
  /** The last scheduled or backfilled run; null before the first. Partitioned timetables go by `runAfter`. */
  last: { dataInterval: DataInterval | null; runAfter: Instant } | null;
  restriction: TimeRestriction;
  now: Instant;
}

/** One of Airflow's own timetables. */
export interface BuiltinTimetable {
  kind: "builtin";
  /** Airflow's class name. */
  typeName: string;
  summary: string;
  /** false for @once, None and assets. */
  periodic: boolean;
  canBeScheduled: boolean;
  /** Also runs when its assets are updated. */
  assetTriggered: boolean;
  partitioned: boolean;
  /** @continuous allows one run at a time. */
  activeRunsLimit: number | null;
  /** When the next scheduled run is to be made; null: none, for now. */
  nextRun(input: NextRunInput): NextRun | null;
  /** Only of partitioned timetables: their partitions between two moments, whose wall-clock readings are meant in their zone. */
  partitionsBetween?(earliest: Instant, latest: Instant): Iterable<NextRun>;
  /** The data interval of a manual run with this logical date. */
  inferManualDataInterval(runAfter: Instant): DataInterval;
  /** `random` gives eight letters or digits, for run ids that need them. */
  runId(runType: DagRunType, run: RunIdentity, random: () => string): string;
}

export interface RunIdentity {
  runAfter: Instant;
  logicalDate: Instant | null;
  partitionKey?: string | null;
}

/** A user's own class: only Python can tell its times. */
export interface CustomTimetable {
  kind: "custom";
  serialized: SerializedTimetable;
  typeName: string;
  summary: string;
}

export type Timetable = BuiltinTimetable | CustomTimetable;

/** `SerializedDAG._time_restriction`: the earliest start and, only when every task ends, the latest end. */
export function timeRestriction(graph: DagGraph): TimeRestriction {
  const nodes = [...graph.tasks.values()];
  const starts = [...nodes.map((task) => task.startDate), graph.startDate].filter((date) => date !== null).sort();
  const ends = nodes.map((task) => task.endDate).filter((date) => date !== null);
  let latest = graph.endDate;
  if (ends.length === nodes.length)
    latest = [...ends, ...(graph.endDate ? [graph.endDate] : [])].sort().at(-1) ?? latest;
  return { earliest: starts[0] ?? null, latest, catchup: graph.catchup };
}

/** `DagRun.generate_run_id`: unique by its date when there is a logical date, else by eight random characters. */
export function dagRunId(runType: DagRunType, run: RunIdentity, random: () => string): string {
  const suffix = run.logicalDate === null ? `_${random()}` : "";
  return `${runType}__${pythonIsoFormat(run.runAfter)}${suffix}`;
}

const LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/** Eight letters or digits from a source of numbers in [0, 1). */
export function randomSuffix(random: () => number = Math.random): string {
  return Array.from({ length: 8 }, () => LETTERS[Math.floor(random() * LETTERS.length)]).join("");
}

/** Of a run id, what Airflow takes its type to be. */
export function runTypeOfId(runId: string, types: readonly DagRunType[]): DagRunType {
  return types.find((type) => runId.startsWith(`${type}__`)) ?? "manual";
}

export const micros = instantMicros;
export const moment = instantFromMicros;

export function interval(start: number, end: number): NextRun {
  const dataInterval = { start: moment(start), end: moment(end) };
  return {
    logicalDate: dataInterval.start,
    dataInterval,
    runAfter: dataInterval.end,
    partitionKey: null,
    partitionDate: null,
  };
}

export function exactly(at: number): NextRun {
  return interval(at, at);
}

/** The fields most timetables share. */
export function builtin(
  own: Pick<BuiltinTimetable, "typeName" | "summary" | "nextRun" | "inferManualDataInterval"> &
    Partial<BuiltinTimetable>,
): BuiltinTimetable {
  return {
    kind: "builtin",
    periodic: true,
    canBeScheduled: true,
    assetTriggered: false,
    partitioned: false,
    activeRunsLimit: null,
    // `Timetable.generate_run_id`: by the date alone.
    runId: (runType, { runAfter }) => `${runType}__${pythonIsoFormat(runAfter)}`,
    ...own,
  };
}
