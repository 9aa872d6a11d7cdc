import type { DagGraph, ExpandInput, MapSource, TaskGroupNode, TaskNode } from "./dag-graph.ts";
import { reachable } from "./graph-order.ts";

/**
 * What deciding needs of a graph, worked out once: tasks by number (their place in the topological order, so that every
 * dependent has a higher number) and who has to be looked at when something changes.
 */
export interface RunPlan {
  graph: DagGraph;
  tasks: readonly PlannedTask[];
  byId: ReadonlyMap<string, PlannedTask>;
  /** Tasks whose states make the run's state. */
  leaves: readonly PlannedTask[];
  dependingOnPast: readonly PlannedTask[];
}

export interface PlannedTask {
  number: number;
  node: TaskNode;
  upstream: readonly number[];
  /** Setups that must succeed first and are not direct upstreams. */
  indirectSetups: readonly number[];
  /** Of a teardown: what lies between its setups and itself. */
  teardownScope: readonly number[];
  /** Mapped, or in a mapped task group. */
  needsExpansion: boolean;
  inMappedGroup: boolean;
  /** What multiplies to its number of instances: its own input, then those of its mapped groups, innermost first. */
  expandInputs: readonly ExpandInput[];
  /** Tasks whose return values its own expansion (or else its closest mapped group's) iterates over. */
  mappedDependencies: readonly number[];
  /** The other way round. */
  mappedDependents: readonly number[];
  /** The same of all its mapped groups. */
  expansionDependencies: ReadonlySet<number>;
  /** Upstreams that skip what is below them: branches, short circuits. */
  skippingUpstream: readonly number[];
  /** For upstreams and setups in a mapped group around both: which of their indexes belong to one of ours. */
  sharedGroups: ReadonlyMap<number, SharedGroup>;
  /** Rules that one upstream can satisfy wait for the expansion of their mapped group. */
  fastTriggered: boolean;
  /** Numbers of the tasks a change of this one can affect. */
  dependents: readonly number[];
}

/** The innermost mapped group around two tasks. */
export interface SharedGroup {
  expandInputs: readonly ExpandInput[];
  /** The other task is mapped again inside it. */
  furtherMapped: boolean;
}

const plans = new WeakMap<DagGraph, RunPlan>();

export function planOf(graph: DagGraph): RunPlan {
  const known = plans.get(graph);
  if (known) return known;
  const plan = makePlan(graph);
  plans.set(graph, plan);
  return plan;
}

function makePlan(graph: DagGraph): RunPlan {
  const numbers = new Map(graph.topologicalOrder.map((id, number) => [id, number]));
  const groups = groupsOf(graph.root);
  const nodes = graph.topologicalOrder.map((id) => graph.tasks.get(id) as TaskNode);
  const relevantSetups = relevantSetupsOf(graph);
  const numbersOf = (ids: Iterable<string>): number[] =>
    [...ids].map((id) => numbers.get(id)).filter((number) => number !== undefined);
  const node = (number: number): TaskNode => nodes[number] as TaskNode;

  const tasks = nodes.map((task, number): Building => {
    const upstream = numbersOf(task.upstream);
    const indirectSetups = numbersOf([...(relevantSetups.get(task.taskId) ?? [])]).filter(
      (id) => !upstream.includes(id),
    );
    const teardownScope = task.isTeardown ? numbersOf(teardownScopeOf(graph, task)) : [];
    const mappedInnermostFirst = task.mappedGroups.toReversed().map((id) => groups.get(id)?.expandInput ?? EMPTY_INPUT);
    const own = task.expandInput;
    const ownDependencies = numbersOf(sourceTasks(own ? [own] : mappedInnermostFirst.slice(0, 1)));
    const expandInputs = own ? [own, ...mappedInnermostFirst] : mappedInnermostFirst;
    const expansionDependencies = new Set(numbersOf(sourceTasks(expandInputs)));
    const related = new Set([...upstream, ...indirectSetups, ...teardownScope]);
    const sharedGroups = new Map<number, SharedGroup>();
    for (const other of task.mappedGroups.length > 0 ? related : []) {
      const shared = sharedGroupOf(task, node(other), groups);
      if (shared) sharedGroups.set(other, shared);
    }
    return {
      number,
      node: task,
      upstream,
      indirectSetups,
      teardownScope,
      needsExpansion: expandInputs.length > 0,
      inMappedGroup: task.mappedGroups.length > 0,
      expandInputs,
      mappedDependencies: ownDependencies,
      mappedDependents: [],
      expansionDependencies,
      skippingUpstream: upstream.filter((other) => node(other).inheritsFromSkipMixin),
      sharedGroups,
      fastTriggered: FAST_TRIGGERED.has(task.triggerRule),
      dependents: [],
    };
  });
  for (const task of tasks) {
    const others = [...task.upstream, ...task.indirectSetups, ...task.teardownScope, ...task.expansionDependencies];
    for (const other of new Set(others)) tasks[other]?.dependents.push(task.number);
    for (const other of task.mappedDependencies) tasks[other]?.mappedDependents.push(task.number);
  }
  return {
    graph,
    tasks,
    byId: new Map(tasks.map((task) => [task.node.taskId, task])),
    leaves: leavesOf(tasks, graph),
    dependingOnPast: tasks.filter((task) => task.node.dependsOnPast),
  };
}

type Building = PlannedTask & { dependents: number[]; mappedDependents: number[] };

const EMPTY_INPUT: ExpandInput = { kind: "dict-of-lists", sources: [] };

const FAST_TRIGGERED: ReadonlySet<string> = new Set([
  "one_success",
  "one_failed",
  "one_done",
  "none_failed_min_one_success",
]);

function groupsOf(root: TaskGroupNode): Map<string, TaskGroupNode> {
  const found = new Map<string, TaskGroupNode>();
  const open = [root];
  for (let group = open.pop(); group; group = open.pop()) {
    if (group.groupId !== null) found.set(group.groupId, group);
    for (const child of group.children) if (child.kind === "group") open.push(child.group);
  }
  return found;
}

/** Ids of the tasks whose return values these inputs iterate over. */
export function sourceTasks(inputs: readonly ExpandInput[]): Set<string> {
  const ids = new Set<string>();
  const visit = (source: MapSource): void => {
    if (source.kind === "xcom") ids.add(source.taskId);
    else if (source.kind === "map" || source.kind === "filter") visit(source.of);
    else if (source.kind === "zip" || source.kind === "concat") source.of.forEach(visit);
  };
  for (const input of inputs) for (const { source } of input.sources) visit(source);
  return ids;
}

function sharedGroupOf(
  task: TaskNode,
  other: TaskNode,
  groups: ReadonlyMap<string, TaskGroupNode>,
): SharedGroup | null {
  const depth = task.mappedGroups.findIndex((id, place) => other.mappedGroups[place] !== id);
  const shared = depth === -1 ? task.mappedGroups : task.mappedGroups.slice(0, depth);
  if (shared.length === 0) return null;
  return {
    expandInputs: shared.toReversed().map((id) => groups.get(id)?.expandInput ?? EMPTY_INPUT),
    furtherMapped: other.expandInput !== null || other.mappedGroups.length > shared.length,
  };
}

/**
 * Setups each task must wait for: those whose teardown lies below the task, or that have none
 * (`get_upstreams_only_setups`). Teardowns themselves have no indirect setups.
 */
function relevantSetupsOf(graph: DagGraph): Map<string, Set<string>> {
  const relevant = new Map<string, Set<string>>();
  const down = (id: string): readonly string[] => graph.tasks.get(id)?.downstream ?? [];
  const up = (id: string): readonly string[] => graph.tasks.get(id)?.upstream ?? [];
  for (const setup of graph.tasks.values()) {
    if (!setup.isSetup) continue;
    const teardowns = setup.downstream.filter((id) => graph.tasks.get(id)?.isTeardown);
    const aboveTeardowns = teardowns.map((id) => reachable(id, up));
    for (const id of reachable(setup.taskId, down)) {
      if (graph.tasks.get(id)?.isTeardown) continue;
      if (teardowns.length > 0 && !aboveTeardowns.some((above) => above.has(id))) continue;
      relevant.set(id, (relevant.get(id) ?? new Set()).add(setup.taskId));
    }
  }
  return relevant;
}

function teardownScopeOf(graph: DagGraph, teardown: TaskNode): Set<string> {
  const above = reachable(teardown.taskId, (id) => graph.tasks.get(id)?.upstream ?? []);
  for (const direct of teardown.upstream) above.delete(direct);
  const scope = new Set<string>();
  for (const setup of teardown.upstream) {
    if (!graph.tasks.get(setup)?.isSetup) continue;
    for (const id of reachable(setup, (id) => graph.tasks.get(id)?.downstream ?? [])) if (above.has(id)) scope.add(id);
  }
  return scope;
}

/** Teardowns do not count for the run's state unless they say so (`_tis_for_dagrun_state`). */
function leavesOf(tasks: readonly PlannedTask[], graph: DagGraph): PlannedTask[] {
  const counts = (task: TaskNode): boolean => !task.isTeardown || task.onFailureFailDagrun;
  const leaves = tasks.filter(
    ({ node }) =>
      counts(node) &&
      !node.downstream.some((id) => {
        const below = graph.tasks.get(id);
        return below !== undefined && counts(below);
      }),
  );
  return leaves.length > 0 ? leaves : tasks.filter(({ node }) => node.downstream.length === 0);
}
