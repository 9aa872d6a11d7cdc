import type { TaskInstanceState } from "../domain/states.ts";
import type { ProcessExit } from "../domain/task-execution.ts";
import { finishTaskInstance } from "../store/execution-settle.ts";
import { findLiveTry, type LiveTryRow } from "../store/execution-task-instance.ts";
import type { ExecutionContext } from "./context.ts";
import { settleWithCallbacks } from "./lost-callbacks.ts";
import { mayRetry } from "./retry-rule.ts";
import { failTry, publishSettled, retryTry } from "./state.ts";

/**
 * What was running when its scheduler died runs again, in Airflow (`adopt_or_reset_orphaned_tasks`), also without retries. A
 * task that takes the whole machine down each time would do so for ever: after so many more tries than its own it has failed.
 */
const LOST_TRIES = 3;

/**
 * Settles a try whose process is gone. One that reported its end already is no longer running, or has another id: then this
 * does nothing, so it may be told twice, and a late word about an old try changes nothing.
 */
export async function settleExit(x: ExecutionContext, id: string, exit: ProcessExit): Promise<void> {
  const { pool } = x.deps.database;
  const live = await findLiveTry(pool, id);
  if (!live || !endedWith(live, exit)) return;
  const from = unsettledStates(exit);
  const { taskState } = exit;
  if (taskState) {
    const end = { endDate: taskState.endDate ?? exit.endDate, renderedMapIndex: taskState.renderedMapIndex, from };
    const settled =
      taskState.state === "failed"
        ? await failTry(x, live, end)
        : await finishTaskInstance(pool, { ...end, id, state: taskState.state, now: x.kit.clock.now() });
    if (settled) publishSettled(x, settled);
    return;
  }
  const reason = exit.reason ?? describe(exit);
  const end = { endDate: exit.endDate, renderedMapIndex: null, reason, from };
  if (exit.withLeoflow && live.try_number <= live.max_tries + LOST_TRIES) {
    const settled = await retryTry(x, live, { ...end, delaySeconds: 0 });
    if (settled) publishSettled(x, settled);
    return;
  }
  const again = mayRetry({ state: live.state, tryNumber: live.try_number, maxTries: live.max_tries });
  const without = { state: again ? "up_for_retry" : "failed", reason, byTrigger: false } as const;
  const settled = await settleWithCallbacks(x, live, without, () =>
    again ? retryTry(x, live, end) : failTry(x, live, end),
  );
  if (!settled) return;
  x.kit.logger.warn({ taskInstance: id, dagId: live.dag_id, taskId: live.task_id, state: settled.state }, reason);
  publishSettled(x, settled);
}

/**
 * A queued try is settled only when no process was ever started for it: one that was rescheduled or deferred may be queued
 * again, under the same id, before the process that said so is gone.
 */
function unsettledStates({ process, code, signal, taskState }: ProcessExit): TaskInstanceState[] {
  const neverStarted = process === undefined ? code === null && signal === null && !taskState : process === null;
  return neverStarted ? ["queued", "running", "restarting"] : ["running", "restarting"];
}

/** A try that came back from a deferral is the same try in another process: the end of the first is not its end. */
function endedWith(live: LiveTryRow, exit: ProcessExit): boolean {
  if (live.state === null || !unsettledStates(exit).includes(live.state)) return false;
  return !exit.process || (live.hostname === exit.process.hostname && live.pid === exit.process.pid);
}

function describe({ code, signal }: ProcessExit): string {
  if (signal !== null) return `the task's process was ended by ${signal}`;
  if (code === null) return "the task's process is gone";
  return code === 0
    ? "the task's process ended without reporting a result"
    : `the task's process ended with exit code ${code}`;
}
