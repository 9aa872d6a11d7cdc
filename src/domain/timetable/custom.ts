import type { Instant } from "../../kit/instant.ts";
import type { DagRunType } from "../states.ts";
import type { DataInterval, NextRun, NextRunInput, TimeRestriction } from "./timetable.ts";

/**
 * What a user's own timetable is asked. Its code runs in Python, in a process of its own and with a deadline: it may raise,
 * never answer, or take the process down.
 */
export type TimetableQuestion =
  /** The next `count` runs, each after the one before; fewer when it names no more. */
  | { kind: "next"; last: NextRunInput["last"]; restriction: TimeRestriction; count: number }
  /** The runs of a backfill after `last`, which only timetables without partitions look at. */
  | { kind: "between"; earliest: Instant; latest: Instant; last: NextRunInput["last"]; limit: number }
  /** The id of a run that a user or a task makes, and where it has a logical date its data interval unless that is given. */
  | {
      kind: "manual";
      logicalDate: Instant | null;
      dataInterval: DataInterval | null;
      runAfter: Instant;
      runType: DagRunType;
    };

/** A run that a user's own timetable names, with the id it gives to it. */
export interface CustomRun extends NextRun {
  runId: string;
}

export interface TimetableAnswer {
  runs: CustomRun[];
  /** Of a manual run. */
  dataInterval: DataInterval | null;
  runId: string | null;
  /** What went wrong, after the runs above. */
  failure: TimetableFailure | null;
}

export interface TimetableFailure {
  /** "raised": Python's exception. "no answer": it was ended at its deadline, or ended by itself. */
  kind: "raised" | "no answer";
  /** One line. */
  reason: string;
  /** The traceback, or what it printed last. */
  details: string;
  /** It raised a ValueError, which Airflow's API takes for a bad request. */
  isValueError: boolean;
}

/** Asks the timetable of a DAG version; implemented by the agent's Python. Never rejects for what the timetable does. */
export type AskTimetable = (dagVersionId: string, question: TimetableQuestion) => Promise<TimetableAnswer>;
