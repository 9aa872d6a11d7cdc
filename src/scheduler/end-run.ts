import type { RunDecision } from "./decide-run.ts";
import type { LiveRun } from "./live-run.ts";
import type { RelevantTry } from "../store/callbacks.ts";
import type { Database } from "../store/database.ts";
import type { Instant } from "../kit/instant.ts";
import { isFinished } from "../domain/states.ts";
import { finishRuns } from "../store/live-runs.ts";
import { finishRunWithMore } from "../store/run-end.ts";
import { timeOutRun } from "../store/run-timeout.ts";

/** Whether a run that ends so has its DAG's callbacks called. */
export function callsBack({ version: { graph } }: LiveRun, state: "success" | "failed"): boolean {
  return state === "success" ? graph.hasOnSuccessCallback : graph.hasOnFailureCallback;
}

export interface RunEnding {
  run: LiveRun;
  state: "success" | "failed";
  reason: RunDecision["reason"];
}

/** Ends runs, with what their DAGs want called for that. Returns those that were still running. */
export async function endRuns(db: Database, endings: readonly RunEnding[], now: Instant): Promise<RunEnding[]> {
  const isPlain = ({ run, state }: RunEnding): boolean => !callsBack(run, state) && !run.version.graph.hasDeadlines;
  const plain = endings.filter(isPlain);
  const ended = await finishRuns(
    db,
    plain.map(({ run, state }) => ({ id: run.row.id, state })),
    now,
  );
  for (const ending of endings) {
    if (!isPlain(ending) && (await endWithMore(db, ending, now))) ended.add(ending.run.row.id);
  }
  return endings.filter(({ run }) => ended.has(run.row.id));
}

async function endWithMore(db: Database, { run, state, reason }: RunEnding, now: Instant): Promise<boolean> {
  return await finishRunWithMore(db, {
    id: run.row.id,
    state,
    now,
    reason: reason ?? state,
    hasDeadlines: run.version.graph.hasDeadlines,
    callback: callsBack(run, state) ? relevantTry(run, state, reason) : "no-callback",
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
