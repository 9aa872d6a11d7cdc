import type { DagGraph, TaskGroupNode } from "../../domain/dag-graph.ts";
import { groupPaths, rootsOf, tasksIn } from "./group-order.ts";
import { downstreamJoinId, upstreamJoinId } from "./graph-nodes.ts";

export interface StructureEdge {
  source_id: string;
  target_id: string;
  is_setup_teardown: boolean | null;
  label: string | null;
  is_source_asset: boolean | null;
}

/** An edge that does not come from the DAG's own tasks. */
export function structureEdge(source: string, target: string, isSourceAsset: boolean | null = null): StructureEdge {
  return {
    source_id: source,
    target_id: target,
    is_setup_teardown: null,
    label: null,
    is_source_asset: isSourceAsset,
  };
}

/** A set of edges: pairs of ids cannot be keys by themselves. */
class EdgeSet {
  readonly #edges = new Map<string, [string, string]>();

  add(source: string, target: string): void {
    this.#edges.set(JSON.stringify([source, target]), [source, target]);
  }

  has(source: string, target: string): boolean {
    return this.#edges.has(JSON.stringify([source, target]));
  }

  values(): Iterable<[string, string]> {
    return this.#edges.values();
  }
}

/**
 * The edges of the graph view. Where a group has something up- or downstream, all edges go through one join node at its
 * border instead of from every task to every other. As `airflow.utils.dag_edges`.
 */
export function structureEdges(graph: DagGraph): StructureEdge[] {
  const joined = new EdgeSet();
  const skipped = new EdgeSet();
  const groups = groupPaths(graph.root);
  for (const { group } of groups.values()) {
    bundle(graph, group, (id) => groups.get(id)?.group, joined, skipped);
  }
  const all = new EdgeSet();
  for (const [source, target] of joined.values()) all.add(source, target);
  for (const task of graph.tasks.values()) for (const target of task.downstream) all.add(task.taskId, target);
  return [...all.values()]
    .filter(([source, target]) => !skipped.has(source, target))
    .sort(([a, b], [c, d]) => compare(a, c) || compare(b, d))
    .map(([source, target]) => ({
      source_id: source,
      target_id: target,
      is_setup_teardown: graph.tasks.get(source)?.isSetup && graph.tasks.get(target)?.isTeardown === true ? true : null,
      label: graph.edgeInfo[source]?.[target]?.label ?? null,
      is_source_asset: null,
    }));
}

const compare = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);

function bundle(
  graph: DagGraph,
  group: TaskGroupNode,
  find: (id: string) => TaskGroupNode | undefined,
  joined: EdgeSet,
  skipped: EdgeSet,
): void {
  const id = group.groupId ?? "";
  const [entry, exit] = [upstreamJoinId(id), downstreamJoinId(id)];
  const leaves = leavesOf(graph, group);
  for (const targetId of group.downstreamGroupIds) {
    const target = find(targetId);
    if (!target) continue;
    const targetEntry = upstreamJoinId(targetId);
    const targetRoots = rootsOf(graph, target);
    joined.add(exit, targetEntry);
    for (const leaf of leaves) {
      joined.add(leaf, exit);
      for (const root of targetRoots) skipped.add(leaf, root);
      skipped.add(leaf, targetEntry);
    }
    for (const root of targetRoots) {
      joined.add(targetEntry, root);
      skipped.add(exit, root);
    }
  }
  for (const targetId of group.downstreamTaskIds) {
    joined.add(exit, targetId);
    for (const leaf of leaves) {
      joined.add(leaf, exit);
      skipped.add(leaf, targetId);
    }
  }
  for (const sourceId of group.upstreamTaskIds) {
    joined.add(sourceId, entry);
    for (const root of rootsOf(graph, group)) {
      joined.add(entry, root);
      skipped.add(sourceId, root);
    }
  }
}

/** Tasks of a group that nothing inside waits for; a teardown is passed over for the work before it. */
function leavesOf(graph: DagGraph, group: TaskGroupNode): string[] {
  const inside = new Set(tasksIn(group));
  const task = (id: string) => graph.tasks.get(id);
  const hasOtherWorkBehind = (id: string, except: string) =>
    (task(id)?.downstream ?? []).some((next) => next !== except && inside.has(next) && !task(next)?.isTeardown);
  const workBefore = (teardownId: string): string[] =>
    (task(teardownId)?.upstream ?? []).flatMap((id) => {
      const upstream = task(id);
      if (!upstream || !inside.has(id)) return [];
      if (upstream.isTeardown) return workBefore(id);
      if (upstream.isSetup) return [];
      return hasOtherWorkBehind(id, teardownId) ? [] : [id];
    });
  return [...inside].flatMap((id) => {
    const node = task(id);
    if (!node || node.downstream.some((next) => inside.has(next))) return [];
    return node.isTeardown ? workBefore(id) : [id];
  });
}
