import type { Instant } from "../kit/instant.ts";
import type { DagGraph } from "./dag-graph.ts";
import type { Decision, RunSnapshot } from "./decision.ts";
import { instanceCount } from "./mapping.ts";
import { RunMemory } from "./run-memory.ts";
import { planOf } from "./run-plan.ts";
import type { DagRunType } from "./states.ts";

/** Everything there is to do for a run, from its rows alone. The scheduler keeps a `RunMemory` instead. */
export function decideRun(input: RunSnapshot & { graph: DagGraph; now: Instant; newId: () => string }): Decision {
  return new RunMemory(input.graph, input, input.newId).decideAll(input.now);
}

/**
 * The task instances a new run starts with (`DagRun._create_tasks`): mapped over literals at once, other mapped tasks
 * unexpanded as index -1. Tasks whose own dates exclude the logical date are left out, except in backfills.
 */
export function instancesOfNewRun(
  graph: DagGraph,
  run: { runType: DagRunType; logicalDate: Instant | null },
): { taskId: string; mapIndex: number }[] {
  const plan = planOf(graph);
  const facts = { plan, rows: [], lengths: new Map<string, null>(), needed: new Set<string>() };
  return plan.tasks.flatMap(({ node, expandInputs }) => {
    const { taskId, startDate, endDate } = node;
    const date = run.runType === "backfill" ? null : run.logicalDate;
    if (date !== null && ((startDate !== null && startDate > date) || (endDate !== null && date > endDate))) return [];
    const count = expandInputs.length > 0 ? instanceCount(expandInputs, facts) : null;
    if (!count) return [{ taskId, mapIndex: -1 }];
    return Array.from({ length: count }, (_, mapIndex) => ({ taskId, mapIndex }));
  });
}
