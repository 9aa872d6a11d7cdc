import type { Instant } from "../../kit/instant.ts";
import type { JsonValue } from "../../kit/json-text.ts";
import type { DagGraph } from "../dag-graph.ts";
import type { Decision, InstanceSnapshot, RunSnapshot } from "../decision.ts";
import { instancesOfNewRun } from "../decide.ts";
import { RunMemory } from "../run-memory.ts";
import { parseSerializedDag } from "../serialized-dag.ts";
import type { TaskInstanceState } from "../states.ts";

export const NOW = "2026-01-01T00:00:00.000000Z" as Instant;

type Fields = Record<string, JsonValue>;

/** A DAG from task ids with their fields; `edges` are written "a > b". */
export function graphOf(tasks: Record<string, Fields>, edges: string[] = [], dag: Fields = {}): DagGraph {
  const pairs = edges.flatMap((chain) => {
    const ids = chain.split(">").map((id) => id.trim());
    return ids.slice(1).map((id, index) => [ids[index], id] as const);
  });
  return parseSerializedDag({
    __version: 3,
    dag: {
      dag_id: "test",
      fileloc: "test.py",
      ...dag,
      tasks: Object.entries(tasks).map(([taskId, fields]) => ({
        __type: "operator",
        __var: {
          task_id: taskId,
          task_type: "BashOperator",
          ...fields,
          downstream_task_ids: pairs.filter(([from]) => from === taskId).map(([, to]) => to),
        },
      })),
    },
  });
}

/** Fields of a task mapped over what another returned, or over a literal of that length. */
export function mappedOver(source: string | number, partial: Fields = {}): Fields {
  const value: JsonValue =
    typeof source === "number"
      ? Array.from({ length: source }, (_, index) => index)
      : { __type: "xcomref", __var: { task_id: source, key: "return_value" } };
  return {
    _is_mapped: true,
    _expand_input_attr: "expand_input",
    expand_input: { type: "dict-of-lists", value: { __type: "dict", __var: { x: value } } },
    partial_kwargs: partial,
  };
}

export function newIds(): () => string {
  let last = 0;
  return () => `new-${++last}`;
}

export const EMPTY: Fields = { task_type: "EmptyOperator", _is_empty: true };

/** A new run of a DAG as memory. */
export function newRun(graph: DagGraph, snapshot: Partial<RunSnapshot> = {}): RunMemory {
  const instances: InstanceSnapshot[] = instancesOfNewRun(graph, { runType: "manual", logicalDate: null }).map(
    ({ taskId, mapIndex }) => ({
      id: `${taskId}[${mapIndex}]`,
      taskId,
      mapIndex,
      state: null,
      tryNumber: 0,
      wakeAt: null,
    }),
  );
  return new RunMemory(graph, { instances, ...snapshot }, newIds());
}

/** One task instance reached a state by itself. */
export function report(
  run: RunMemory,
  taskId: string,
  state: TaskInstanceState | null,
  more: { mapIndex?: number; wakeAt?: string; newId?: string; mappedLength?: number } = {},
): void {
  const row = run.instance(taskId, more.mapIndex ?? -1);
  const known = run.apply({
    id: row?.id ?? "",
    taskId,
    mapIndex: more.mapIndex ?? -1,
    state,
    wakeAt: more.wakeAt ?? null,
    newId: more.newId ?? null,
    mappedLength: more.mappedLength ?? null,
  });
  if (!known) throw new Error(`no instance ${taskId}[${more.mapIndex ?? -1}]`);
}

/** "task" or "task[3]" to state, sorted, for one look. */
export function moves(decision: Decision): Record<string, string> {
  const named = decision.transitions.map(({ taskId, mapIndex, to }) => [nameOf(taskId, mapIndex), to] as const);
  return Object.fromEntries(named.sort(([a], [b]) => (a < b ? -1 : 1)));
}

export function statesOf(run: RunMemory): Record<string, string> {
  const rows = [...run.instances()].map(
    ({ taskId, mapIndex, state }) => [nameOf(taskId, mapIndex), state ?? "none"] as const,
  );
  return Object.fromEntries(rows.sort(([a], [b]) => (a < b ? -1 : 1)));
}

function nameOf(taskId: string, mapIndex: number): string {
  return mapIndex < 0 ? taskId : `${taskId}[${mapIndex}]`;
}
