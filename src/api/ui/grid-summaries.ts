import type { DagGraph, TaskGroupNode } from "../../domain/dag-graph.ts";
import type { TaskInstanceState } from "../../domain/states.ts";
import type { Instant } from "../../kit/instant.ts";
import type { TaskStates } from "../../store/ui-grid.ts";
import { instantOrNull } from "../serialize.ts";
import { GroupOrder } from "./group-order.ts";

/** What many task instances amount to: the worst state, and how many are in each. */
interface Aggregate {
  states: Map<TaskInstanceState | null, number>;
  start: Instant | null;
  end: Instant | null;
  versionNumber: number | null;
  hasNote: boolean;
}

export interface GridSummary {
  task_id: string;
  task_display_name: string;
  state: TaskInstanceState | null;
  child_states: Record<string, number> | null;
  min_start_date: string | null;
  max_end_date: string | null;
  dag_version_number: number | null;
  has_note: boolean;
}

/** A group shows the first of these that any of its tasks is in. */
const PRIORITY: readonly (TaskInstanceState | null)[] = [
  "failed",
  "upstream_failed",
  "up_for_retry",
  "up_for_reschedule",
  "running",
  "restarting",
  "deferred",
  "awaiting_input",
  "queued",
  "scheduled",
  null,
  "success",
  "skipped",
  "removed",
];

const nothing = (): Aggregate => ({
  states: new Map(),
  start: null,
  end: null,
  versionNumber: null,
  hasNote: false,
});

function merge(into: Aggregate, from: Aggregate): void {
  for (const [state, count] of from.states) into.states.set(state, (into.states.get(state) ?? 0) + count);
  if (from.start !== null && (into.start === null || from.start < into.start)) into.start = from.start;
  if (from.end !== null && (into.end === null || from.end > into.end)) into.end = from.end;
  if (from.versionNumber !== null) into.versionNumber = Math.max(into.versionNumber ?? 0, from.versionNumber);
  into.hasNote ||= from.hasNote;
}

const aggregateOf = (row: TaskStates): Aggregate => ({
  states: new Map([[row.state, row.count]]),
  start: row.min_start_date,
  end: row.max_end_date,
  versionNumber: row.version_number,
  hasNote: row.has_note,
});

/** The squares of one run: its tasks and groups by the structure of the given version, then tasks only the run has. */
export function summarizeRun(graph: DagGraph, rows: readonly TaskStates[]): GridSummary[] {
  const byTask = new Map<string, Aggregate>();
  for (const row of rows) {
    const known = byTask.get(row.task_id);
    if (known) merge(known, aggregateOf(row));
    else byTask.set(row.task_id, aggregateOf(row));
  }
  const summaries: GridSummary[] = [];
  const listed = new Set<string>();
  const order = new GroupOrder(graph);
  const visit = (group: TaskGroupNode): Aggregate => {
    const total = nothing();
    for (const child of order.sorted(group)) {
      if (child.kind === "group") {
        const inner = visit(child.group);
        merge(total, inner);
        const id = child.group.groupId ?? "";
        listed.add(id);
        summaries.push(summary(id, id, inner, true));
        continue;
      }
      const task = graph.tasks.get(child.taskId);
      if (!task) continue;
      const mapped = task.expandInput !== null;
      // A mapped task that is not expanded yet is one square without a state.
      const own = byTask.get(task.taskId) ?? (mapped ? { ...nothing(), states: new Map([[null, 1]]) } : nothing());
      merge(total, own);
      listed.add(task.taskId);
      summaries.push(summary(task.taskId, task.displayName, own, mapped));
    }
    return total;
  };
  visit(graph.root);
  for (const [taskId, aggregate] of byTask) {
    if (!listed.has(taskId)) summaries.push(summary(taskId, taskId, aggregate, false));
  }
  return summaries;
}

function summary(id: string, displayName: string, of: Aggregate, withCounts: boolean): GridSummary {
  const counts = [...of.states].map(([state, count]) => [state ?? "none", count] as const);
  return {
    task_id: id,
    task_display_name: displayName,
    state: PRIORITY.find((state) => of.states.has(state)) ?? null,
    child_states: withCounts ? Object.fromEntries(counts) : null,
    min_start_date: instantOrNull(of.start),
    max_end_date: instantOrNull(of.end),
    dag_version_number: of.versionNumber,
    has_note: of.hasNote,
  };
}
