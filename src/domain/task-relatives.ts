import type { DagGraph, TaskGroupNode, TaskNode } from "./dag-graph.ts";

/** Walks over a DAG's edges, as clear and mark need them. Follows `airflow._shared.dagnode.node` and `DAG.partial_subset`. */

export type Direction = "upstream" | "downstream";

/** A task with all its map indexes, or one of them. */
export type TaskMarker = string | readonly [taskId: string, mapIndex: number];

/** Everything reachable from a task in one direction, the task itself not included (unless the graph has a cycle). */
export function flatRelatives(graph: DagGraph, taskId: string, direction: Direction): Set<string> {
  const found = new Set<string>();
  const open = [...(graph.tasks.get(taskId)?.[direction] ?? [])];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (found.has(next)) continue;
    found.add(next);
    open.push(...(graph.tasks.get(next)?.[direction] ?? []));
  }
  return found;
}

export interface SubsetOptions {
  upstream: boolean;
  downstream: boolean;
  /** Leave the given tasks themselves out, unless they are relatives of each other. */
  excludeOriginal?: boolean;
}

/**
 * The tasks a user means by "these and their upstream/downstream": setups and teardowns that belong to them are always
 * taken along, as a cleared task needs its resources set up again.
 */
export function subset(graph: DagGraph, taskIds: Iterable<string>, options: SubsetOptions): Set<string> {
  const originals = new Set([...taskIds].filter((id) => graph.tasks.has(id)));
  const found = new Set<string>();
  const take = (ids: Iterable<string>): void => {
    for (const id of ids) found.add(id);
  };
  for (const id of originals) {
    const task = node(graph, id);
    if (options.downstream) {
      for (const relative of flatRelatives(graph, id, "downstream")) {
        found.add(relative);
        const other = node(graph, relative);
        if (!originals.has(relative) && !other.isSetup && !other.isTeardown) take(setupsAndTeardownsOf(graph, other));
      }
    }
    if (options.upstream) take(upstreamsWithTeardowns(graph, task));
    else if (!task.isSetup && !task.isTeardown) take(setupsAndTeardownsOf(graph, task));
    if (task.isSetup && !options.downstream) take(teardownsBehind(graph, task));
  }
  if (!options.excludeOriginal) take(originals);
  return found;
}

/** All upstreams and, for each setup among them, its teardowns. */
function* upstreamsWithTeardowns(graph: DagGraph, task: TaskNode): Iterable<string> {
  for (const id of flatRelatives(graph, task.taskId, "upstream")) {
    yield id;
    const upstream = node(graph, id);
    if (upstream.isSetup) yield* teardownsBehind(graph, upstream, task.taskId);
  }
}

/** Setups upstream that serve this task, with their teardowns: those whose teardown is behind the task, or that have none. */
function* setupsAndTeardownsOf(graph: DagGraph, task: TaskNode): Iterable<string> {
  const behind = flatRelatives(graph, task.taskId, "downstream");
  for (const id of flatRelatives(graph, task.taskId, "upstream")) {
    const setup = node(graph, id);
    if (!setup.isSetup) continue;
    const teardowns = [...teardownsBehind(graph, setup)];
    if (teardowns.length > 0 && !setup.downstream.some((next) => behind.has(next) && node(graph, next).isTeardown))
      continue;
    yield id;
    yield* teardowns.filter((teardown) => teardown !== task.taskId);
  }
}

function* teardownsBehind(graph: DagGraph, setup: TaskNode, except?: string): Iterable<string> {
  for (const id of setup.downstream) if (id !== except && node(graph, id).isTeardown) yield id;
}

function node(graph: DagGraph, taskId: string): TaskNode {
  const task = graph.tasks.get(taskId);
  if (!task) throw new Error(`task ${taskId} is not in dag ${graph.dagId}`);
  return task;
}

/** The group with this id anywhere below the root; null when there is none. */
export function findGroup(root: TaskGroupNode, groupId: string): TaskGroupNode | null {
  for (const child of root.children) {
    if (child.kind !== "group") continue;
    if (child.group.groupId === groupId) return child.group;
    const deeper = findGroup(child.group, groupId);
    if (deeper) return deeper;
  }
  return null;
}

/** Ids of the tasks in a group and the groups below it, in their order. */
export function tasksOfGroup(group: TaskGroupNode): string[] {
  return group.children.flatMap((child) => (child.kind === "task" ? [child.taskId] : tasksOfGroup(child.group)));
}

/** How many times a task or a mapped group was expanded in a run; null while that is unknown. */
export type ExpandedCount = (what: { kind: "task" | "group"; id: string }) => Promise<number | null>;

/**
 * The relatives of tasks and of single mapped instances in one run: inside a common mapped task group only the map indexes
 * that belong to the same iteration. Follows `find_relevant_relatives`.
 */
export async function relevantRelatives(
  graph: DagGraph,
  markers: Iterable<TaskMarker>,
  direction: Direction,
  expandedCount: ExpandedCount,
): Promise<TaskMarker[]> {
  const whole = new Set<string>();
  const single = new Map<string, readonly [string, number]>();
  const visitWhole = (ids: readonly string[]): void => {
    const options = {
      upstream: direction === "upstream",
      downstream: direction === "downstream",
      excludeOriginal: true,
    };
    for (const id of subset(graph, ids, options)) whole.add(id);
  };
  const visitSingle = async ([taskId, mapIndex]: readonly [string, number]): Promise<void> => {
    const task = node(graph, taskId);
    if (!isMapped(task)) return visitWhole([taskId]);
    const count = await expandedCount({ kind: "task", id: taskId });
    for (const relativeId of flatRelatives(graph, taskId, direction)) {
      if (whole.has(relativeId)) continue;
      const indexes = await relevantIndexes(task, node(graph, relativeId), mapIndex, count, expandedCount);
      if (indexes === null) {
        visitWhole([relativeId]);
        whole.add(relativeId);
        continue;
      }
      for (const index of indexes) {
        const key = `${index}:${relativeId}`;
        if (single.has(key)) continue;
        single.set(key, [relativeId, index]);
        await visitSingle([relativeId, index]);
      }
    }
  };
  const all = [...markers];
  visitWhole(all.filter((marker) => typeof marker === "string"));
  for (const marker of all) if (typeof marker !== "string") await visitSingle(marker);
  return [...whole, ...single.values()];
}

/** Whether a task has map indexes: expanded itself, or inside a mapped group. */
export function isMapped(task: TaskNode): boolean {
  return task.expandInput !== null || task.mappedGroups.length > 0;
}

async function relevantIndexes(
  task: TaskNode,
  relative: TaskNode,
  mapIndex: number,
  count: number | null,
  expandedCount: ExpandedCount,
): Promise<number[] | null> {
  if (!count) return null;
  const shared = task.mappedGroups.filter((group, depth) => relative.mappedGroups[depth] === group);
  const ancestor = shared.at(-1);
  if (ancestor === undefined) return null;
  const ancestorCount = await expandedCount({ kind: "group", id: ancestor });
  if (!ancestorCount) return null;
  const iteration = Math.floor((mapIndex * ancestorCount) / count);
  const mappedFurther = relative.expandInput !== null || relative.mappedGroups.length > shared.length;
  if (!mappedFurther) return [iteration];
  const further = Math.floor(count / ancestorCount);
  return Array.from({ length: further }, (_, offset) => iteration * further + offset);
}
