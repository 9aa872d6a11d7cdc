import type { DagGraph, TaskGroupNode, TaskNode } from "../../domain/dag-graph.ts";
import { cleanDoc } from "../public/dag-response.ts";
import { GroupOrder } from "./group-order.ts";

/** A row of the grid; absent fields are null to Airflow. */
export interface GridNode {
  id: string;
  label: string;
  children?: GridNode[];
  is_mapped?: true;
  setup_teardown_type?: "setup" | "teardown";
  doc_md?: string;
}

/** A node of the graph view. */
export interface StructureNode {
  id: string;
  label: string;
  type: string;
  team: string | null;
  children: StructureNode[] | null;
  is_mapped: boolean | null;
  tooltip: string | null;
  setup_teardown_type: "setup" | "teardown" | null;
  operator: string | null;
  asset_condition_type: "or-gate" | "and-gate" | null;
}

const rows = new WeakMap<DagGraph, GridNode[]>();

/** The rows of a version's grid. Kept with the graph: the page asks again every second while a run is live. */
export function gridNodes(graph: DagGraph): GridNode[] {
  const known = rows.get(graph);
  if (known) return known;
  const order = new GroupOrder(graph);
  const made = childrenOfGrid(graph, order, graph.root, false);
  rows.set(graph, made);
  return made;
}

function childrenOfGrid(graph: DagGraph, order: GroupOrder, group: TaskGroupNode, mappedAround: boolean): GridNode[] {
  return order.sorted(group).flatMap((child): GridNode[] => {
    if (child.kind === "task") {
      const task = graph.tasks.get(child.taskId);
      if (!task) return [];
      const kind = setupTeardown(task);
      return [
        {
          id: task.taskId,
          label: labelOf(task),
          ...(mappedAround || task.expandInput ? { is_mapped: true } : {}),
          ...(kind ? { setup_teardown_type: kind } : {}),
        },
      ];
    }
    const { group: inner } = child;
    const mapped = inner.expandInput !== null;
    const children = childrenOfGrid(graph, order, inner, mappedAround || mapped);
    return [
      {
        id: inner.groupId ?? "",
        label: inner.displayName || inner.label,
        ...(mapped ? { is_mapped: true } : {}),
        ...(children.length > 0 ? { children } : {}),
        ...(inner.docMd === null ? {} : { doc_md: cleanDoc(inner.docMd) }),
      },
    ];
  });
}

/** Adds the rows that only other versions have, the latest version's order first. */
export function mergeGridNodes(current: readonly GridNode[], other: readonly GridNode[]): GridNode[] {
  const others = new Map(other.map((node) => [node.id, node]));
  const merged = current.map((node) => {
    const { children } = others.get(node.id) ?? {};
    return node.children && children ? { ...node, children: mergeGridNodes(node.children, children) } : node;
  });
  const known = new Set(current.map(({ id }) => id));
  return [...merged, ...other.filter(({ id }) => !known.has(id))];
}

/** The nodes of the graph view, with the joins that bundle the edges of groups. */
export function structureNodes(graph: DagGraph): StructureNode[] {
  return childrenOfStructure(graph, new GroupOrder(graph), graph.root, false);
}

function childrenOfStructure(
  graph: DagGraph,
  order: GroupOrder,
  group: TaskGroupNode,
  mappedAround: boolean,
): StructureNode[] {
  return order.sorted(group).flatMap((child): StructureNode[] => {
    if (child.kind === "task") {
      const task = graph.tasks.get(child.taskId);
      if (!task) return [];
      return [
        structureNode(task.taskId, labelOf(task), "task", {
          operator: task.operatorName,
          setup_teardown_type: setupTeardown(task),
          is_mapped: mappedAround || task.expandInput ? true : null,
        }),
      ];
    }
    const { group: inner } = child;
    const id = inner.groupId ?? "";
    const mapped = inner.expandInput !== null;
    const children = childrenOfStructure(graph, order, inner, mappedAround || mapped);
    const hasUpstream = inner.upstreamGroupIds.length + inner.upstreamTaskIds.length > 0;
    const hasDownstream = inner.downstreamGroupIds.length + inner.downstreamTaskIds.length > 0;
    if (hasUpstream) children.push(structureNode(upstreamJoinId(id), "", "join", {}));
    if (hasDownstream) children.push(structureNode(downstreamJoinId(id), "", "join", {}));
    return [
      structureNode(id, inner.displayName || inner.label, "task", {
        tooltip: inner.tooltip,
        is_mapped: mapped,
        children,
      }),
    ];
  });
}

export const upstreamJoinId = (groupId: string) => `${groupId}.upstream_join_id`;
export const downstreamJoinId = (groupId: string) => `${groupId}.downstream_join_id`;

export function structureNode(
  id: string,
  label: string,
  type: string,
  more: Partial<Omit<StructureNode, "id" | "label" | "type">>,
): StructureNode {
  return {
    id,
    label,
    type,
    team: null,
    children: null,
    is_mapped: null,
    tooltip: null,
    setup_teardown_type: null,
    operator: null,
    asset_condition_type: null,
    ...more,
  };
}

/** The id without the prefix of its groups, unless its author named it. */
function labelOf(task: TaskNode): string {
  return task.displayName !== task.taskId ? task.displayName : task.label;
}

function setupTeardown(task: TaskNode): "setup" | "teardown" | null {
  if (task.isSetup) return "setup";
  return task.isTeardown ? "teardown" : null;
}
