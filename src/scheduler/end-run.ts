import type { RunDecision } from "./decide-run.ts";
import type { LiveRun } from "./live-run.ts";
import type { RelevantTry } from "../store/callbacks.ts";
import type { Database } from "../store/database.ts";
import type { Instant } from "../kit/instant.ts";
import { isFinished } from "../domain/states.ts";
import { finishRun } from "../store/live-runs.ts";
import { finishRunWithMore } from "../store/run-end.ts";
import { timeOutRun } from "../store/run-timeout.ts";

/** Whether a run that ends so has its DAG's callbacks called. */
export function callsBack({ version: { graph } }: LiveRun, state: "success" | "failed"): boolean {
  return state === "success" ? graph.hasOnSuccessCallback : graph.hasOnFailureCallback;
}

/** Ends a run, with what its DAG wants called for that. False when it was not running any more. */
export async function endRun(
  db: Database,
  run: LiveRun,
  decided: { state: "success" | "failed"; reason: RunDecision["reason"]; now: Instant },
): Promise<boolean> {
  const { state, reason, now } = decided;
  const calls = callsBack(run, state);
  const { hasDeadlines } = run.version.graph;
  if (!calls && !hasDeadlines) return await finishRun(db, run.row.id, state, now);
  return await finishRunWithMore(db, {
    id: run.row.id,
    state,
    now,
    reason: reason ?? state,
    hasDeadlines,
    callback: calls ? relevantTry(run, state, reason) : "no-callback",
  });
}

/** Fails a run that took too long: see `timeOutRun`. */
export async function endRunByTime(db: Database, run: LiveRun, now: Instant): Promise<string[] | null> {
  return await timeOutRun(db, run.row.id, now, { callsBack: callsBack(run, "failed") });
}

function relevantTry(run: LiveRun, state: "success" | "failed", reason: RunDecision["reason"]): RelevantTry {
  if (state === "success") return "last-success";
  if (reason !== "all_tasks_deadlocked") return "last-failed";
  const id = blockedTry(run);
  return id === null ? null : { id };
}

/** The first of those that cannot run for what became of a task before them (`blocking_ti`). */
function blockedTry(run: LiveRun): string | null {
  const all = [...run.memory.instances()];
  const finished = new Set(all.filter(({ state }) => isFinished(state)).map(({ taskId }) => taskId));
  const blocked = all.find(
    ({ state, taskId }) =>
      !isFinished(state) && run.version.graph.tasks.get(taskId)?.upstream.some((above) => finished.has(above)),
  );
  return blocked?.id ?? null;
}
