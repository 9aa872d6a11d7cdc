import type { JsonText } from "../kit/json-text.ts";

/**
 * One try of a task instance, handed to an executor. Carries all the agent needs to start a process; the rest comes with
 * the answer to `TaskExecution.start`.
 */
export interface Workload {
  /** Task instance id (UUID): names this try. */
  id: string;
  dagId: string;
  taskId: string;
  runId: string;
  mapIndex: number;
  tryNumber: number;
  dagVersionId: string;
  queue: string;
  poolSlots: number;
  priorityWeight: number;
  executorConfig: JsonText | null;
  /** The DAG's file below its archive. */
  dagRelPath: string;
  /** What the DAG version belongs to, in Airflow's words; `version` is a commit. */
  bundle: { name: string; version: string | null };
  /** Content address of the DAG version's files. */
  archiveDigest: string;
  /** Which venv runs it; "default" is `~/.leoflow/venv`. */
  environment: string;
}

/** Path of a try's log below the logs folder, as Airflow lays it out (`[logging] log_filename_template`). */
export function taskLogPath(ti: Pick<Workload, "dagId" | "runId" | "taskId" | "mapIndex">, tryNumber: number): string {
  const mapped = ti.mapIndex >= 0 ? `map_index=${ti.mapIndex}/` : "";
  return `dag_id=${ti.dagId}/run_id=${ti.runId}/task_id=${ti.taskId}/${mapped}attempt=${tryNumber}.log`;
}

/** What the scheduler asks of an executor. Every executor passes the same contract tests. */
export interface Executor {
  /** Idempotent by id: a workload that is already held is not started twice. */
  enqueue(workloads: readonly Workload[]): void;
  /** Ends the process trees of these tries, if held here; why is written to their logs. */
  terminate(ids: readonly string[], reason: string): void;
  /** Task instances this executor holds (queued with it or running). */
  held(): ReadonlySet<string>;
}
