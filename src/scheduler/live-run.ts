import { newId } from "../kit/ids.ts";
import { addMicros, type Instant } from "../kit/instant.ts";
import type { TaskNode } from "../domain/dag-graph.ts";
import { instancesOfNewRun } from "../domain/decide.ts";
import { RunMemory } from "../domain/run-memory.ts";
import type { Claim } from "../domain/slots.ts";
import type { Workload } from "../domain/workload.ts";
import type { LoadedVersion } from "../store/dag-versions.ts";
import type { Database } from "../store/database.ts";
import type { LiveRunRow, LoadedRun, NewTaskInstance } from "../store/live-runs.ts";
import { runHistory } from "../store/run-history.ts";

/** A queued or running run in the scheduler's memory: its row, its version, and the states of its task instances. */
export interface LiveRun {
  row: LiveRunRow;
  version: LoadedVersion;
  memory: RunMemory;
  /** Tasks with depends_on_past: what happens in the run before matters to them. */
  dependingOnPast: readonly string[];
}

/** A task instance that is ready for a worker. */
export interface Candidate extends Claim {
  task: TaskNode;
}

/** Reads what else the tasks of this DAG look at. */
export async function liveRun(db: Database, loaded: LoadedRun, version: LoadedVersion): Promise<LiveRun> {
  const { dependingOnPast, ...history } = await runHistory(db, loaded.run, version.graph);
  const memory = new RunMemory(version.graph, { instances: loaded.taskInstances, ...history }, newId);
  return { row: loaded.run, version, memory, dependingOnPast };
}

/** Rows that the version's graph has and the run lacks: all of them for a new run, the new tasks after a version change. */
export function missingTaskInstances({ run, taskInstances }: LoadedRun, version: LoadedVersion): NewTaskInstance[] {
  const present = new Set(taskInstances.map((ti) => ti.taskId));
  return instancesOfNewRun(version.graph, { runType: run.run_type, logicalDate: run.logical_date })
    .filter(({ taskId }) => !present.has(taskId))
    .map(({ taskId, mapIndex }) => ({ id: newId(), run, task: taskOf(version, taskId), mapIndex }));
}

export function taskOf(version: LoadedVersion, taskId: string): TaskNode {
  const task = version.graph.tasks.get(taskId);
  if (!task) throw new Error(`DAG ${version.dagId} version ${version.versionNumber} has no task ${taskId}`);
  return task;
}

export function candidateOf(run: LiveRun, ti: { id: string; taskId: string; mapIndex: number }): Candidate | null {
  const task = run.version.graph.tasks.get(ti.taskId);
  if (!task) return null;
  return {
    id: ti.id,
    dagRunId: run.row.id,
    dagId: run.row.dag_id,
    task,
    mapIndex: ti.mapIndex,
    runOrder: run.row.logical_date ?? run.row.run_after,
  };
}

export function workloadOf(run: LiveRun, candidate: Candidate, tryNumber: number): Workload {
  const { task } = candidate;
  return {
    id: candidate.id,
    dagId: run.row.dag_id,
    taskId: task.taskId,
    runId: run.row.run_id,
    mapIndex: candidate.mapIndex,
    tryNumber,
    dagVersionId: run.version.id,
    queue: task.queue,
    poolSlots: task.poolSlots,
    priorityWeight: task.priorityWeightTotal,
    executorConfig: task.executorConfig,
    dagRelPath: run.version.dagRelPath,
    bundle: run.version.bundle,
    archiveDigest: run.version.archiveDigest,
    environment: run.version.environment,
  };
}

/** When the run is to be failed for taking too long; null where the DAG sets no limit. */
export function timeoutAt(run: LiveRun): Instant | null {
  const seconds = run.version.graph.dagrunTimeoutSeconds;
  return seconds === null || run.row.start_date === null ? null : addMicros(run.row.start_date, seconds * 1_000_000);
}
