import type { TaskNode } from "../domain/dag-graph.ts";
import { dropHeldCallbacks, holdTaskCallbacks, releaseCallbacks, type TaskCallback } from "../store/callbacks.ts";
import { whereabouts } from "../store/execution-liveness.ts";
import type { LiveTryRow } from "../store/execution-task-instance.ts";
import type { ExecutionContext } from "./context.ts";
import { graphOf } from "./state.ts";

export interface EndWithoutProcess {
  state: "failed" | "up_for_retry";
  reason: string | null;
  byTrigger: boolean;
}

/**
 * Settles a try that has no process to call its callbacks and to write its e-mails, and has others do both. They are stored
 * before the state, and held until it is: killed in between, Leoflow settles the try again and finds them.
 */
export async function settleWithCallbacks<T>(
  x: ExecutionContext,
  live: LiveTryRow,
  end: EndWithoutProcess,
  settle: () => Promise<T | null>,
): Promise<T | null> {
  const task = (await graphOf(x, live))?.tasks.get(live.task_id);
  const kinds = task ? kindsFor(task, end, live.state === "restarting") : [];
  if (kinds.length === 0) return await settle();
  const { db } = x.deps.database;
  const now = x.kit.clock.now();
  const held = await holdTaskCallbacks(
    db,
    kinds.map((kind) => ({ ...end, kind, taskInstanceId: live.id, now })),
  );
  const settled = await settle();
  if (settled === null) {
    // Another settling of the same end may have been quicker, and lets go of what both hold.
    const found = await whereabouts(x.deps.database.pool, live.id);
    if (found.live && found.state !== "failed") await dropHeldCallbacks(db, held);
    return null;
  }
  await releaseCallbacks(db, held, now);
  x.deps.bus.publish({ kind: "callback" });
  return settled;
}

/** Airflow writes no e-mail for what a trigger ended, nor for what someone has cleared. */
function kindsFor(
  task: TaskNode,
  { state, byTrigger }: EndWithoutProcess,
  restarting: boolean,
): TaskCallback["kind"][] {
  const kinds: TaskCallback["kind"][] = [];
  if (state === "failed" ? task.hasOnFailureCallback : task.hasOnRetryCallback) kinds.push("task");
  if (!byTrigger && !restarting && (state === "failed" ? task.emailOnFailure : task.emailOnRetry)) kinds.push("email");
  return kinds;
}
