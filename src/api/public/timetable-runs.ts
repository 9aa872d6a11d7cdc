import type { Instant } from "../../kit/instant.ts";
import type { DagGraph } from "../../domain/dag-graph.ts";
import type { DagRunType } from "../../domain/states.ts";
import type { CustomRun, TimetableAnswer, TimetableQuestion } from "../../domain/timetable/custom.ts";
import { runsBetween } from "../../domain/timetable/runs-between.ts";
import { timetableFor } from "../../domain/timetable/timetable-for.ts";
import { dagRunId, randomSuffix, type DataInterval } from "../../domain/timetable/timetable.ts";
import type { BackfillRun } from "../../store/backfill-creation.ts";
import type { ApiContext } from "../context.ts";
import { ApiError, badRequest } from "../errors.ts";

/** A backfill of more runs than this is refused: each is a row, and tasks on top. */
const MOST_RUNS = 100_000;
/** Of a user's own timetable, and the most partitions of one. */
const ANSWERED_AT_ONCE = 5_000;
/** Runs counted between two looks at the event loop. */
const BREATH = 500;

export interface DagVersionOfRun {
  versionId: string;
  graph: DagGraph;
}

/** The runs of a backfill, oldest first; undefined: more than may be. Python is asked where the timetable is a user's own. */
export async function runsOfBackfill(
  context: ApiContext,
  { versionId, graph }: DagVersionOfRun,
  from: Instant,
  to: Instant,
): Promise<BackfillRun[] | undefined> {
  const timetable = timetableFor(graph.timetable);
  if (timetable.kind === "custom") return await customRuns(context, versionId, from, to);
  const runs: BackfillRun[] = [];
  for (const run of runsBetween(timetable, from, to, context.kit.clock.now())) {
    const runId = run.partitionKey === null ? idOf(run) : timetable.runId("backfill", run, randomSuffix);
    runs.push({ ...run, runId });
    if (runs.length > MOST_RUNS) return undefined;
    if (runs.length % BREATH === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  return runs;
}

/** In answers of a size that is read at once. */
async function customRuns(
  context: ApiContext,
  versionId: string,
  earliest: Instant,
  latest: Instant,
): Promise<BackfillRun[] | undefined> {
  const runs: CustomRun[] = [];
  for (;;) {
    const question = { kind: "between", earliest, latest, last: runs.at(-1) ?? null, limit: ANSWERED_AT_ONCE } as const;
    const answer = await ask(context, versionId, question);
    runs.push(...answer.runs);
    const isPartitioned = answer.runs[0]?.partitionKey != null;
    const isFull = answer.runs.length === ANSWERED_AT_ONCE;
    if (runs.length > MOST_RUNS || (isPartitioned && isFull)) return undefined;
    if (!isFull || answer.failure) return runs.map((run) => ({ ...run, runId: idOf(run) }));
  }
}

// `DagRun.generate_run_id`; only partitioned timetables are asked for the ids of a backfill.
function idOf(run: { logicalDate: Instant | null; runAfter: Instant; partitionKey: string | null; runId?: string }) {
  return run.partitionKey !== null && run.runId ? run.runId : dagRunId("backfill", run, randomSuffix);
}

export interface ManualRun {
  /** null: it is made up. */
  runId: string | null;
  logicalDate: Instant | null;
  /** null: the timetable's, where there is a logical date. */
  dataInterval: DataInterval | null;
  runAfter: Instant;
  partitionKey: string | null;
  runType: DagRunType;
}

/** The data interval and the id of a run that a user makes. */
export async function planManualRun(
  context: ApiContext,
  { versionId, graph }: DagVersionOfRun,
  run: ManualRun,
): Promise<{ interval: DataInterval | null; runId: string }> {
  const timetable = timetableFor(graph.timetable);
  const { logicalDate, dataInterval, runAfter, runType } = run;
  if (timetable.kind === "builtin") {
    return {
      interval: dataInterval ?? (logicalDate && timetable.inferManualDataInterval(logicalDate)),
      runId: run.runId ?? timetable.runId(runType, run, randomSuffix),
    };
  }
  if (run.runId !== null && (logicalDate === null || dataInterval !== null)) {
    return { interval: dataInterval, runId: run.runId };
  }
  const answer = await ask(context, versionId, { kind: "manual", logicalDate, dataInterval, runAfter, runType });
  if (answer.failure) {
    // A ValueError is what Airflow takes for a bad request.
    if (answer.failure.isValueError) throw badRequest(answer.failure.reason.replace(/^[\w.]+: /, ""));
    throw new ApiError(500, `The timetable of '${graph.dagId}' gave no data interval: ${answer.failure.reason}`);
  }
  return { interval: answer.dataInterval, runId: run.runId ?? answer.runId ?? dagRunId(runType, run, randomSuffix) };
}

async function ask(context: ApiContext, versionId: string, question: TimetableQuestion): Promise<TimetableAnswer> {
  const answer = await context.askTimetable(versionId, question);
  if (answer.failure) {
    const { reason, details } = answer.failure;
    context.kit.logger.error({ versionId, reason, details }, "a timetable failed");
  }
  return answer;
}
