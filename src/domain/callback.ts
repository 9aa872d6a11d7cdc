import type { JsonText } from "../kit/json-text.ts";

/** Where a callback runs: with the DAG's file, in a process of its own, or as a trigger. */
export type CallbackType = "dag_processor" | "executor" | "triggerer";

export type CallbackState = "pending" | "queued" | "running" | "success" | "failed";

/** A callback that is to run now, in a process. `data` is what leoflow_runtime/callbacks.py takes. */
export interface DueCallback {
  id: string;
  type: "dag_processor" | "executor";
  dagId: string;
  runId: string;
  data: JsonText;
  /** How often it was begun, this time included. */
  attempt: number;
  environment: string;
  archiveDigest: string;
  dagRelPath: string;
  /** Its log, below the logs folder. */
  logPath: string;
}

export type CallbackOutcome =
  /** It ran to its end; `errors` are those that the user's code raised, which its log has in full. */
  | { kind: "done"; errors: readonly string[]; value?: string | null }
  | { kind: "timed-out"; seconds: number }
  /** Its process ended, or never came to be: for no reason of its own, as far as we know. */
  | { kind: "lost"; reason: string };

/** Runs callbacks; the agent does. */
export interface CallbackHost {
  /** Never rejects. */
  runCallback(callback: DueCallback): Promise<CallbackOutcome>;
}

/** Airflow's names below the logs folder: one per file and day for the DAG processor, one per callback for executors. */
export function callbackLogPath(
  callback: Pick<DueCallback, "id" | "type" | "dagId" | "runId" | "dagRelPath">,
  day: string,
): string {
  return callback.type === "executor"
    ? `executor_callbacks/${callback.dagId}/${callback.runId}/${callback.id}`
    : `dag_processor/${day}/dags-folder/${callback.dagRelPath}.log`;
}
