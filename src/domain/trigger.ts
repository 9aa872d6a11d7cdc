import type { Instant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import { taskLogPath } from "./workload.ts";

/** A trigger to be run: a row of `trigger` with what its process needs to know. */
export interface RunTrigger {
  id: number;
  /** Import path of its class. */
  classpath: string;
  /** Import path of what it calls, when that says more about where its code is than its class. */
  codePath?: string;
  /** What the class is made with: JSON of the SDK's serde, or what a worker encrypted. */
  kwargs: string;
  /** The try that waits for it; null for triggers that something else waits for (asset watchers, callbacks). */
  taskInstance: WaitingTry | null;
  /** For a task that started from its trigger: what its templates are rendered with. */
  startContext: { dag: JsonText; dagRun: Record<string, unknown> } | null;
  /** Name → URI of the assets that a BaseEventTrigger watches. */
  watchedAssets: Readonly<Record<string, string>> | null;
  /** Which Python runs it. */
  environment: string;
  /** The DAG version whose own modules may hold the class. */
  version: { archiveDigest: string; dagRelPath: string } | null;
  /** Its log, below the logs folder. */
  logPath: string | null;
}

export interface WaitingTry {
  id: string;
  dagId: string;
  runId: string;
  taskId: string;
  mapIndex: number;
  tryNumber: number;
  dagVersionId: string;
  queue: string;
  poolSlots: number;
  priorityWeight: number;
  hostname: string | null;
  timeoutAt: Instant | null;
  /** What the task's next method gets beside the event, as the worker serialized it. */
  nextKwargs: JsonText | null;
}

/** What happened to a trigger, as its process tells it. */
export type TriggerReport =
  /** It fired; `nextKwargs` has the event in it. */
  | { kind: "resume"; triggerId: number; nextKwargs: JsonText }
  /** It ended the task itself: TaskSuccessEvent and its like. */
  | { kind: "end"; triggerId: number; state: TaskEndState; xcoms: ReadonlyMap<string, JsonText> }
  /** It fired, and no task waits for it. */
  | { kind: "event"; triggerId: number; payload: JsonText }
  /** It raised, or ended without an event; `error` other than null: its event cannot be handed on. */
  | { kind: "failure"; triggerId: number; error: string | null; traceback: readonly string[] | null };

export type TaskEndState = "success" | "failed" | "skipped";

/** What the control plane does about reports. */
export interface TriggerOutcomes {
  /** Resolves when all is written; a trigger is not done with before. Rejects only when it can never be written. */
  report(reports: readonly TriggerReport[]): Promise<void>;
}

/** Runs triggers in processes. Every trigger runs until it reported its end or is cancelled, whatever happens to a process. */
export interface TriggerHost {
  /** Idempotent by id. */
  run(triggers: readonly RunTrigger[]): void;
  /** Ends them, by the wish of a user: `on_kill` is called, unless their time is up. */
  cancel(ids: readonly number[]): void;
  /** Those that were handed over and have not ended. */
  running(): ReadonlySet<number>;
  /** Whether triggers can be run: their processes answer. */
  isHealthy(): boolean;
}

/** Airflow adds the triggerer's job to the name of the try's log, and shows all that begin with it as one. */
export function triggerLogPath(
  ti: Pick<WaitingTry, "dagId" | "runId" | "taskId" | "mapIndex" | "tryNumber">,
  jobId: number,
): string {
  return `${taskLogPath(ti, ti.tryNumber)}.trigger.${jobId}.log`;
}
