import type { TaskInstanceState } from "./states.ts";

/** States in which something works for a try: a process, an executor's queue, or a trigger. Taking the try away must end it. */
export const HOLDS_PROCESS: ReadonlySet<TaskInstanceState> = new Set<TaskInstanceState>([
  "queued",
  "running",
  "restarting",
  "deferred",
]);
