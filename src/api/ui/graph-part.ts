import type { DagGraph, TaskGroupNode, TaskNode } from "../../domain/dag-graph.ts";
import { subset } from "../../domain/task-relatives.ts";

export interface PartWanted {
  /** Tasks whose id contains this text. */
  root?: string | undefined;
  includeUpstream: boolean;
  includeDownstream: boolean;
  depth?: number | null | undefined;
}

/** The part of a DAG that the UI's filter asks for; the whole when it asks for none. As `DAG.partial_subset`. */
export function partOf(graph: DagGraph, wanted: PartWanted): DagGraph {
  const { root } = wanted;
  if (!root) return graph;
  const matched = [...graph.tasks.keys()].filter((id) => id.includes(root));
  const limited = wanted.depth !== null && wanted.depth !== undefined;
  const ids = subset(graph, matched, {
    upstream: wanted.includeUpstream && !limited,
    downstream: wanted.includeDownstream && !limited,
  });
  if (limited) {
    const steps = wanted.depth ?? 0;
    const take = (direction: "upstream" | "downstream") => {
      for (const id of within(graph, matched, direction, steps)) ids.add(id);
    };
    if (wanted.includeUpstream) take("upstream");
    if (wanted.includeDownstream) take("downstream");
  }
  return cut(graph, ids);
}

function within(
  graph: DagGraph,
  from: readonly string[],
  direction: "upstream" | "downstream",
  steps: number,
): Set<string> {
  const found = new Set<string>();
  let edge: readonly string[] = from;
  for (let step = 0; step < steps && edge.length > 0; step++) {
    const next = new Set(edge.flatMap((id) => graph.tasks.get(id)?.[direction] ?? []));
    edge = [...next].filter((id) => !found.has(id));
    for (const id of edge) found.add(id);
  }
  return found;
}

/** A graph of only these tasks; groups that lose all their tasks go too. */
function cut(graph: DagGraph, ids: ReadonlySet<string>): DagGraph {
  const kept = (list: readonly string[]) => list.filter((id) => ids.has(id));
  const tasks = new Map<string, TaskNode>();
  for (const [id, task] of graph.tasks) {
    if (ids.has(id)) tasks.set(id, { ...task, upstream: kept(task.upstream), downstream: kept(task.downstream) });
  }
  const groupIds = new Set([...tasks.values()].flatMap((task) => task.groups));
  const keptGroups = (list: readonly string[]) => list.filter((id) => groupIds.has(id));
  const cutGroup = (group: TaskGroupNode): TaskGroupNode => ({
    ...group,
    children: group.children.flatMap((child): TaskGroupNode["children"] => {
      if (child.kind === "task") return ids.has(child.taskId) ? [child] : [];
      const inner = cutGroup(child.group);
      return inner.children.length > 0 ? [{ kind: "group", group: inner }] : [];
    }),
    upstreamGroupIds: keptGroups(group.upstreamGroupIds),
    downstreamGroupIds: keptGroups(group.downstreamGroupIds),
    upstreamTaskIds: kept(group.upstreamTaskIds),
    downstreamTaskIds: kept(group.downstreamTaskIds),
  });
  return { ...graph, tasks, topologicalOrder: kept(graph.topologicalOrder), root: cutGroup(graph.root) };
}
