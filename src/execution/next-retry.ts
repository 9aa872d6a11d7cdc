import { createHash } from "node:crypto";
import { addMicros, pythonIsoFormat, type Instant } from "../kit/instant.ts";
import type { TaskNode } from "../domain/dag-graph.ts";

const MAX_RETRY_DELAY_SECONDS = 86_400;

/** When a try that ended is made again. Follows `TaskInstance.next_retry_datetime`. */
export function nextRetryAt(
  task: Pick<TaskNode, "retryDelaySeconds" | "retryExponentialBackoff" | "maxRetryDelaySeconds">,
  one: { dagId: string; taskId: string; logicalDate: Instant | null; tryNumber: number; endDate: Instant },
): Instant {
  let delay = task.retryDelaySeconds;
  const multiplier = task.retryExponentialBackoff === 0 ? 1 : task.retryExponentialBackoff;
  if (multiplier !== 1 && multiplier > 0) {
    const grown = Math.ceil(task.retryDelaySeconds * multiplier ** (one.tryNumber - 1));
    const least = Math.max(1, Math.min(grown, Number.MAX_SAFE_INTEGER));
    const logicalDate = one.logicalDate === null ? "None" : pythonIsoFormat(one.logicalDate).replace("T", " ");
    const digest = createHash("sha1")
      .update(`${one.dagId}#${one.taskId}#${logicalDate}#${one.tryNumber}`)
      .digest("hex");
    const spread = Number(BigInt(`0x${digest}`) % BigInt(least));
    delay = Math.min(least + spread, MAX_RETRY_DELAY_SECONDS);
    if (task.maxRetryDelaySeconds !== null) delay = Math.min(task.maxRetryDelaySeconds, delay);
  }
  return addMicros(one.endDate, Math.round(delay * 1_000_000));
}
