import type { JsonValue } from "../kit/json-text.ts";
import type { TaskGroupNode } from "./dag-graph.ts";
import { parseExpandInput } from "./serialized-expand-input.ts";
import { flagOr, isObject, objectOf, textOr, textsOf, type JsonObject } from "./serialized-value.ts";

/** Where a task stands in the tree of groups. */
export interface TaskPlace {
  groups: readonly string[];
  mappedGroups: readonly string[];
  /** What to cut off its id to get its label. */
  prefix: string;
}

export interface ParsedGroups {
  root: TaskGroupNode;
  placeOf(taskId: string): TaskPlace;
}

/** Reads the tree of task groups; a DAG so old that it has none gets a root with all its tasks. */
export function parseTaskGroups(encoded: JsonValue | undefined, taskIds: readonly string[]): ParsedGroups {
  const places = new Map<string, TaskPlace>();
  const outside: TaskPlace = { groups: [], mappedGroups: [], prefix: "" };
  const placeOf = (taskId: string): TaskPlace => places.get(taskId) ?? outside;
  if (isObject(encoded)) return { root: parseGroup(encoded, null, outside, new Set(taskIds), places).node, placeOf };
  const children = taskIds.map((taskId) => ({ kind: "task" as const, taskId }));
  return { root: { ...parseGroup({}, null, outside, new Set(), places).node, children }, placeOf };
}

function parseGroup(
  encoded: JsonObject,
  parent: { groupId: string | null; prefixes: boolean } | null,
  around: TaskPlace,
  known: ReadonlySet<string>,
  places: Map<string, TaskPlace>,
): { node: TaskGroupNode } {
  const shortId = textOr(encoded["_group_id"], null);
  const groupId = shortId && parent?.prefixes && parent.groupId ? `${parent.groupId}.${shortId}` : shortId;
  const prefixes = flagOr(encoded["prefix_group_id"], true);
  const expandInput = encoded["is_mapped"] === true ? parseExpandInput(encoded["expand_input"]) : null;
  const here: TaskPlace =
    groupId === null
      ? around
      : {
          groups: [...around.groups, groupId],
          mappedGroups: expandInput ? [...around.mappedGroups, groupId] : around.mappedGroups,
          prefix: prefixes ? `${groupId}.` : "",
        };
  const children: TaskGroupNode["children"][number][] = [];
  const entries = Object.entries(objectOf(encoded["children"])).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  for (const [label, entry] of entries) {
    const [kind, content] = Array.isArray(entry) ? entry : [];
    if (kind === "taskgroup" && isObject(content)) {
      children.push({ kind: "group", group: parseGroup(content, { groupId, prefixes }, here, known, places).node });
      continue;
    }
    const taskId = typeof content === "string" ? content : label;
    if (!known.has(taskId))
      throw new RangeError(`the task group ${groupId ?? "(root)"} names an unknown task ${taskId}`);
    children.push({ kind: "task", taskId });
    places.set(taskId, here);
  }
  const displayName = textOr(encoded["group_display_name"], "");
  const node: TaskGroupNode = {
    groupId,
    label: displayName || shortId || "",
    displayName,
    prefixGroupId: prefixes,
    tooltip: textOr(encoded["tooltip"], ""),
    docMd: textOr(encoded["doc_md"], null),
    uiColor: textOr(encoded["ui_color"], "CornflowerBlue"),
    uiFgcolor: textOr(encoded["ui_fgcolor"], "#000"),
    children,
    upstreamGroupIds: textsOf(encoded["upstream_group_ids"]),
    downstreamGroupIds: textsOf(encoded["downstream_group_ids"]),
    upstreamTaskIds: textsOf(encoded["upstream_task_ids"]),
    downstreamTaskIds: textsOf(encoded["downstream_task_ids"]),
    expandInput,
  };
  return { node };
}
