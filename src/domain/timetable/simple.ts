import { pythonIsoFormat, type Instant } from "../../kit/instant.ts";
import { builtin, dagRunId, exactly, interval, micros, type BuiltinTimetable, type DataInterval } from "./timetable.ts";

/** Timetables without a rhythm of their own: airflow/timetables/simple.py, assets.py and events.py. */

const exactInterval = (at: Instant): DataInterval => ({ start: at, end: at });

export function nullTimetable(typeName: string, summary: string): BuiltinTimetable {
  return builtin({
    typeName,
    summary,
    periodic: false,
    canBeScheduled: false,
    nextRun: () => null,
    inferManualDataInterval: exactInterval,
  });
}

export function onceTimetable(): BuiltinTimetable {
  return builtin({
    typeName: "OnceTimetable",
    summary: "@once",
    periodic: false,
    inferManualDataInterval: exactInterval,
    nextRun({ last, restriction, now }) {
      if (last?.dataInterval) return null;
      const at = restriction.earliest ?? now;
      return restriction.latest !== null && at > restriction.latest ? null : exactly(micros(at));
    },
  });
}

export function continuousTimetable(): BuiltinTimetable {
  return builtin({
    typeName: "ContinuousTimetable",
    summary: "@continuous",
    periodic: false,
    activeRunsLimit: 1,
    inferManualDataInterval: exactInterval,
    nextRun({ last, restriction, now: at }) {
      const now = micros(at);
      const startDate = restriction.earliest ? micros(restriction.earliest) : now;
      let start = startDate;
      let end = Math.max(startDate, now);
      if (last?.dataInterval) {
        const previous = { start: micros(last.dataInterval.start), end: micros(last.dataInterval.end) };
        const inFuture = previous.end > now;
        start = inFuture ? startDate : previous.end;
        end = inFuture ? start + previous.end - previous.start : now;
      }
      return restriction.latest !== null && end > micros(restriction.latest) ? null : interval(start, end);
    },
  });
}

export function eventsTimetable(data: {
  dates: readonly Instant[];
  restrictToEvents: boolean;
  summary: string;
}): BuiltinTimetable {
  const { dates, restrictToEvents, summary } = data;
  return builtin({
    typeName: "EventsTimetable",
    summary,
    nextRun({ last, restriction, now }) {
      let { earliest } = restriction;
      if (!restriction.catchup && (earliest === null || now > earliest)) earliest = now;
      const end = last?.dataInterval?.end ?? null;
      const next = dates.find((date) => !(earliest !== null && date < earliest) && !(end !== null && date <= end));
      if (next === undefined || (restriction.latest !== null && next > restriction.latest)) return null;
      return exactly(micros(next));
    },
    inferManualDataInterval(runAfter) {
      const first = dates[0];
      if (!restrictToEvents || first === undefined) return exactInterval(runAfter);
      return exactInterval(dates.findLast((date) => date <= runAfter) ?? first);
    },
  });
}

export function assetTimetable(typeName: string, summary: string, partitioned = false): BuiltinTimetable {
  return builtin({
    typeName,
    summary,
    periodic: false,
    assetTriggered: true,
    partitioned,
    nextRun: () => null,
    inferManualDataInterval: exactInterval,
    runId: (runType, { runAfter }) => `${runType}__${pythonIsoFormat(runAfter)}`,
  });
}

export function assetOrTimeTimetable(time: BuiltinTimetable): BuiltinTimetable {
  return {
    ...time,
    typeName: "AssetOrTimeSchedule",
    summary: `Asset or ${time.summary}`,
    assetTriggered: true,
    runId: (runType, run, random) =>
      runType === "asset_triggered"
        ? dagRunId(runType, { ...run, logicalDate: run.runAfter }, random)
        : time.runId(runType, run, random),
  };
}
