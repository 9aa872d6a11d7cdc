import type { Instant } from "../kit/instant.ts";
import type { Decision, Expansion, Transition } from "../domain/decision.ts";
import type { Database } from "../store/database.ts";
import { insertTaskInstances, mapLengths, resolveUnexpanded } from "../store/live-runs.ts";
import { taskOf, type LiveRun } from "./live-run.ts";

export interface RunDecision {
  transitions: Transition[];
  runState: Decision["runState"];
  reason: Decision["reason"];
}

/**
 * Decides until nothing is open but what must be written: looks up the lengths that mapped tasks expand on and writes the
 * expansions, so that the transitions that come back are of rows that exist. null: a write did not fit, or the run became stale while something
 * was written or looked up; read it again.
 */
export async function decideRun(
  db: Database,
  run: LiveRun,
  now: Instant,
  isStale: () => boolean = () => false,
): Promise<RunDecision | null> {
  const transitions: Transition[] = [];
  for (;;) {
    const decision = run.memory.decide(now);
    for (const expansion of decision.expansions) if (!(await writeExpansion(db, run, expansion))) return null;
    transitions.push(...decision.transitions);
    if (decision.lengthsNeeded.length === 0)
      return { transitions, runState: decision.runState, reason: decision.reason };
    const mapped = decision.lengthsNeeded.filter((taskId) => isMapped(run, taskId));
    run.memory.setLengths(await mapLengths(db, run.row.id, decision.lengthsNeeded, mapped));
    if (isStale()) return null;
  }
}

function isMapped(run: LiveRun, taskId: string): boolean {
  const task = run.version.graph.tasks.get(taskId);
  return task !== undefined && (task.expandInput !== null || task.mappedGroups.length > 0);
}

async function writeExpansion(db: Database, run: LiveRun, { taskId, unexpanded, create }: Expansion): Promise<boolean> {
  const task = taskOf(run.version, taskId);
  return await db.transaction().execute(async (trx) => {
    if (unexpanded && !(await resolveUnexpanded(trx, unexpanded.id, unexpanded.becomes))) return false;
    const rows = create.map(({ id, mapIndex }) => ({ id, run: run.row, task, mapIndex }));
    return (await insertTaskInstances(trx, rows)).size === rows.length;
  });
}
