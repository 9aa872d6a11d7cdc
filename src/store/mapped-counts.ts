import { sql } from "kysely";
import type { DagGraph } from "../domain/dag-graph.ts";
import type { ExpandedCount } from "../domain/task-relatives.ts";
import type { Database } from "./database.ts";

/** How often the tasks and the mapped groups of a run were expanded, read once. */
export async function expandedCounts(db: Database, dagRunId: number, graph: DagGraph): Promise<ExpandedCount> {
  const { rows } = await sql<{ task_id: string; count: number }>`
    select task_id, count(*) as count from task_instance
    where dag_run_id = ${dagRunId} and map_index >= 0 and state is distinct from 'removed'
    group by task_id`.execute(db);
  const byTask = new Map(rows.map((row) => [row.task_id, row.count]));
  return async ({ kind, id }) => {
    if (kind === "task") return byTask.get(id) ?? null;
    // A task that sits right in the group is expanded exactly as often as the group.
    const member = [...graph.tasks.values()].find((task) => task.mappedGroups.at(-1) === id && !task.expandInput);
    return (member && byTask.get(member.taskId)) ?? null;
  };
}
