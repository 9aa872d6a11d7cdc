import type { PythonRuntime } from "../agent/python-runtime.ts";
import type { AskTimetable } from "../domain/timetable/custom.ts";
import { timetableFor } from "../domain/timetable/timetable-for.ts";
import type { DataInterval } from "../domain/timetable/timetable.ts";
import type { Instant } from "../kit/instant.ts";
import type { VersionCache } from "../store/dag-versions.ts";

export interface Timetables {
  ask: AskTimetable;
  /** What a run covers that a task makes. Rejects where a user's own timetable gives no interval. */
  manualDataInterval(dagVersionId: string, runAfter: Instant): Promise<DataInterval | null>;
}

/** Timetables by DAG version: Airflow's own are computed here, a user's are asked in the Python of the version's environment. */
export function createTimetables(versions: VersionCache, runtime: () => PythonRuntime): Timetables {
  const ask: AskTimetable = async (dagVersionId, question) => {
    const { environment, graph } = await versions.get(dagVersionId);
    return await runtime().askTimetable(environment, graph.timetable, question);
  };
  return {
    ask,
    async manualDataInterval(dagVersionId, runAfter) {
      const timetable = timetableFor((await versions.get(dagVersionId)).graph.timetable);
      if (timetable.kind === "builtin") return timetable.inferManualDataInterval(runAfter);
      const { dataInterval, failure } = await ask(dagVersionId, {
        kind: "manual",
        logicalDate: runAfter,
        dataInterval: null,
        runAfter,
        runType: "operator_triggered",
      });
      if (failure) throw new Error(failure.reason);
      return dataInterval;
    },
  };
}
