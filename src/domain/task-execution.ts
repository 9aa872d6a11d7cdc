import type { JsonText } from "../kit/json-text.ts";
import type { Instant } from "../kit/instant.ts";

export { RawJson } from "../kit/json-text.ts";

/**
 * What a supervisor of one running task asks of the control plane. The local agent calls it in-process; the HTTP Execution
 * API calls the same implementation. Message and reply shapes are Airflow's (`airflow.sdk.execution_time.comms`, 3.3.2).
 */
export interface TaskExecution {
  /** QUEUED or RESTARTING → RUNNING. Idempotent for the same (hostname, unixname, pid). */
  start(id: string, worker: WorkerProcess): Promise<StartAnswer>;
  /** Proof of life; anything but "alive" means: end the process and report nothing further. */
  heartbeat(id: string, worker: { hostname: string; pid: number }): Promise<HeartbeatAnswer>;
  /** One request of the task's process. Never throws: failures are the protocol's own errors. */
  handle(id: string, message: ToSupervisor): Promise<Reply>;
  /** The process is gone. Settles a try that sent no terminal message: retried or failed, with the reason. */
  exited(id: string, exit: ProcessExit): Promise<void>;
}

export interface WorkerProcess {
  hostname: string;
  unixname: string;
  pid: number;
  startDate: Instant;
  /** The agent session that has the try. It is refused what it has no more; left out by an executor of the server itself. */
  workerId?: string;
}

export type StartAnswer =
  | { kind: "started"; context: JsonText } // TIRunContext
  | { kind: "refused"; reason: "not_found" | "invalid_state"; previousState: string | null };

export type HeartbeatAnswer = "alive" | "not_found" | "gone" | "running_elsewhere" | "not_running";

/**
 * A decoded request. Fields that carry user data (`value`, `next_kwargs`, `trigger_kwargs`, `rendered_fields`,
 * `outlet_events`, `conf`, …) are `RawJson`; times are ISO strings.
 */
export interface ToSupervisor {
  type: string;
  [field: string]: unknown;
}

/** `body` answers (null: empty answer); `error` raises AirflowRuntimeError in the task. Bodies may hold RawJson anywhere. */
export type Reply = { body: Record<string, unknown> | null } | { error: Record<string, unknown> };

export interface ProcessExit {
  /**
   * Which process ended. When given, a try that another process holds by now (resumed after a deferral or a reschedule) is
   * left alone. null: none ever came as far as `start`, so a try that is still queued is settled too. Left out: an exit code
   * or a signal says that there was one, neither that there was none.
   */
  process?: { hostname: string; pid: number } | null;
  /** Exit code, or null when a signal ended it. */
  code: number | null;
  signal: string | null;
  /** The last TaskState the task sent (failed, skipped, removed), settled now. */
  taskState: {
    state: "failed" | "skipped" | "removed";
    endDate: Instant | null;
    renderedMapIndex: string | null;
  } | null;
  /** Why it ended, in words, for the log and the API: "killed: out of memory". */
  reason: string | null;
  /** Who ran it is gone, for nothing the task did: it runs again at once, whatever tries are left, and nothing is called. */
  withLeoflow?: boolean;
  endDate: Instant;
}
