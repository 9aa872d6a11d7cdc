import type { TaskInstanceState } from "../domain/states.ts";

/** Whether a try that fails now is made again. One cleared while it ran always is. */
export function mayRetry(one: { state: TaskInstanceState | null; tryNumber: number; maxTries: number }): boolean {
  return one.state === "restarting" || (one.maxTries !== 0 && one.tryNumber <= one.maxTries);
}
