import type { DagGraph, TaskGroupNode } from "../../domain/dag-graph.ts";

export type Child = TaskGroupNode["children"][number];

export const idOfChild = (child: Child) => (child.kind === "task" ? child.taskId : (child.group.groupId ?? ""));

/** Ids of all tasks in a group, those of nested groups included, in the DAG's order. */
export function tasksIn(group: TaskGroupNode): string[] {
  return group.children.flatMap((child) => (child.kind === "task" ? [child.taskId] : tasksIn(child.group)));
}

/** Tasks of a group that have no upstream inside it. */
export function rootsOf(graph: DagGraph, group: TaskGroupNode): string[] {
  const ids = new Set(tasksIn(group));
  return [...ids].filter((id) => !graph.tasks.get(id)?.upstream.some((other) => ids.has(other)));
}

/** Every group by its id, with the groups around it, outermost first. */
export function groupPaths(root: TaskGroupNode): Map<string, { group: TaskGroupNode; path: string[] }> {
  const found = new Map<string, { group: TaskGroupNode; path: string[] }>();
  const visit = (group: TaskGroupNode, path: string[]): void => {
    for (const child of group.children) {
      if (child.kind !== "group") continue;
      const id = child.group.groupId ?? "";
      found.set(id, { group: child.group, path });
      visit(child.group, [...path, id]);
    }
  };
  visit(root, []);
  return found;
}

/** Puts the children of groups into the order in which the grid and the graph list them: upstream first. */
export class GroupOrder {
  readonly #graph: DagGraph;
  readonly #groups: ReturnType<typeof groupPaths>;

  constructor(graph: DagGraph) {
    this.#graph = graph;
    this.#groups = groupPaths(graph.root);
  }

  /** Airflow's `topological_sort`: repeated sweeps that take every child whose upstream siblings were taken. */
  sorted(group: TaskGroupNode): Child[] {
    const siblings = new Map(group.children.map((child) => [idOfChild(child), child]));
    const taken = new Set<string>();
    const order: Child[] = [];
    let pending = [...siblings].map(([id, child]) => ({ id, child, after: this.#siblingsBefore(id, child, siblings) }));
    while (pending.length > 0) {
      const rest: typeof pending = [];
      for (const entry of pending) {
        if (entry.after.some((id) => !taken.has(id))) {
          rest.push(entry);
          continue;
        }
        taken.add(entry.id);
        order.push(entry.child);
      }
      // No DAG with a cycle gets this far; if one did, its order would not matter.
      if (rest.length === pending.length) return [...order, ...rest.map(({ child }) => child)];
      pending = rest;
    }
    return order;
  }

  #siblingsBefore(id: string, child: Child, siblings: ReadonlyMap<string, Child>): string[] {
    const before = new Set<string>();
    for (const upstream of this.#upstreamOf(child)) {
      const sibling = siblings.has(upstream)
        ? upstream
        : this.#groupsAround(upstream).findLast((ancestor) => siblings.has(ancestor));
      if (sibling !== undefined && sibling !== id) before.add(sibling);
    }
    return [...before];
  }

  #groupsAround(id: string): readonly string[] {
    return this.#groups.get(id)?.path ?? this.#graph.tasks.get(id)?.groups ?? [];
  }

  #upstreamOf(child: Child): string[] {
    if (child.kind === "task") return [...(this.#graph.tasks.get(child.taskId)?.upstream ?? [])];
    const { group } = child;
    return [
      ...group.upstreamTaskIds,
      ...group.upstreamGroupIds,
      ...rootsOf(this.#graph, group).flatMap((id) => this.#graph.tasks.get(id)?.upstream ?? []),
    ];
  }
}
