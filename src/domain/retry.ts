import { createHash } from "node:crypto";
import { addMicros, pythonIsoFormat, type Instant } from "../kit/instant.ts";
import type { TaskNode } from "./dag-graph.ts";

/** `airflow.sdk`'s MAX_RETRY_DELAY: a day. */
const MAX_RETRY_DELAY_SECONDS = 86_400;

/**
 * When a failed try is due again: `TaskInstance.next_retry_datetime`. A retry policy's own delay comes first; with exponential
 * backoff the delay is drawn from the task instance's name, so that it is the same whenever it is asked for.
 */
export function nextRetryAt(
  task: Pick<TaskNode, "retryDelaySeconds" | "retryExponentialBackoff" | "maxRetryDelaySeconds">,
  tried: { dagId: string; taskId: string; logicalDate: Instant | null; tryNumber: number },
  endDate: Instant,
  overrideSeconds: number | null = null,
): Instant {
  const seconds = overrideSeconds ?? retryDelaySeconds(task, tried);
  return addMicros(endDate, Math.round(seconds * 1_000_000));
}

function retryDelaySeconds(
  task: Parameters<typeof nextRetryAt>[0],
  { dagId, taskId, logicalDate, tryNumber }: Parameters<typeof nextRetryAt>[1],
): number {
  const multiplier = task.retryExponentialBackoff === 0 ? 1 : task.retryExponentialBackoff;
  if (multiplier === 1 || multiplier < 0) return task.retryDelaySeconds;
  const grown = Math.ceil(task.retryDelaySeconds * multiplier ** (tryNumber - 1));
  const backoff = BigInt(Number.isFinite(grown) ? Math.max(1, grown) : MAX_RETRY_DELAY_SECONDS);
  const date = logicalDate === null ? "None" : pythonIsoFormat(logicalDate).replace("T", " ");
  const hash = BigInt(`0x${createHash("sha1").update(`${dagId}#${taskId}#${date}#${tryNumber}`).digest("hex")}`);
  const drawn = backoff + (hash % backoff);
  const delay = drawn > MAX_RETRY_DELAY_SECONDS ? MAX_RETRY_DELAY_SECONDS : Number(drawn);
  return task.maxRetryDelaySeconds ? Math.min(task.maxRetryDelaySeconds, delay) : delay;
}
