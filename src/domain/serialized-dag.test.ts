import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { pythonIsoFormat, type Instant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import type { DagGraph, DagParam, MapSource, TaskGroupNode, TaskNode } from "./dag-graph.ts";
import { reachable } from "./graph-order.ts";
import { parseSerializedDag } from "./serialized-dag.ts";

/** Each file holds a DAG as Airflow 3.3.2 serialized it, and what Airflow says about it after loading it (fixtures/make.py). */
interface Fixture {
  serialized: { dag: { tasks: { __var: Record<string, unknown> }[] }; client_defaults?: object };
  expected: { tasks: Record<string, Record<string, unknown>>; dag: Record<string, unknown>; root: ExpectedGroup };
}

interface ExpectedGroup {
  groupId: string | null;
  label: string;
  children: string[];
  groups: ExpectedGroup[];
}

const folder = join(import.meta.dirname, "fixtures");
const names = readdirSync(folder).filter((file) => file.endsWith(".json"));
const load = (file: string): Fixture => JSON.parse(readFileSync(join(folder, file), "utf8")) as Fixture;
const parse = (file: string): DagGraph => parseSerializedDag(JSON.stringify(load(file).serialized) as JsonText);

const iso = (at: Instant | null): string | null => at && pythonIsoFormat(at);
const paramsOf = (params: readonly DagParam[]): unknown => params.map(([name, param]) => [name, param]);

function sourcesOf(source: MapSource): string[] {
  switch (source.kind) {
    case "xcom":
      return [source.taskId];
    case "map":
    case "filter":
      return sourcesOf(source.of);
    case "zip":
    case "concat":
      return source.of.flatMap(sourcesOf);
    default:
      return [];
  }
}

function described(task: TaskNode): Record<string, unknown> {
  const references = task.expandInput?.sources.flatMap(({ source }) => sourcesOf(source)) ?? [];
  return {
    ...task,
    upstream: [...task.upstream].sort(),
    downstream: [...task.downstream].sort(),
    startDate: iso(task.startDate),
    endDate: iso(task.endDate),
    params: paramsOf(task.params),
    mapped: task.expandInput !== null,
    needsExpansion: task.expandInput !== null || task.mappedGroups.length > 0,
    mappedDependencies: [...new Set(references)].sort(),
  };
}

const describedGroup = (group: TaskGroupNode): ExpectedGroup => ({
  groupId: group.groupId,
  label: group.label,
  children: group.children.map((child) => (child.kind === "task" ? child.taskId : (child.group.groupId ?? ""))),
  groups: group.children.flatMap((child) => (child.kind === "group" ? [describedGroup(child.group)] : [])),
});

describe.each(names)("parseSerializedDag reads %s as Airflow does", (file) => {
  const { expected } = load(file);
  const graph = parse(file);

  it("has the same tasks", () => {
    expect([...graph.tasks.keys()].sort()).toEqual(Object.keys(expected.tasks).sort());
    for (const [id, wanted] of Object.entries(expected.tasks)) {
      const { onlySetups: _, ...fields } = wanted;
      expect(described(graph.tasks.get(id) as TaskNode), id).toMatchObject(fields);
    }
  });

  it("has the same settings and groups", () => {
    expect({
      ...graph,
      startDate: iso(graph.startDate),
      endDate: iso(graph.endDate),
      params: paramsOf(graph.params),
    }).toMatchObject(expected.dag);
    expect(describedGroup(graph.root)).toMatchObject(withoutOrder(expected.root));
  });

  it("orders tasks upstream first", () => {
    const place = new Map(graph.topologicalOrder.map((id, index) => [id, index]));
    expect(place.size).toBe(graph.tasks.size);
    for (const task of graph.tasks.values()) {
      for (const above of task.upstream) expect(place.get(above)).toBeLessThan(place.get(task.taskId) ?? -1);
    }
  });
});

function withoutOrder(group: ExpectedGroup): ExpectedGroup {
  const { groupId, label, children, groups } = group;
  return { groupId, label, children, groups: groups.map(withoutOrder) };
}

describe("parseSerializedDag", () => {
  it("reads what tasks expand on", () => {
    const { tasks } = parse("mapping.json");
    expect(tasks.get("literal")?.expandInput).toEqual({
      kind: "dict-of-lists",
      sources: [
        { key: "x", source: { kind: "literal", length: 2, keys: null } },
        { key: "y", source: { kind: "literal", length: 3, keys: null } },
      ],
    });
    const zip: MapSource = {
      kind: "zip",
      of: [
        { kind: "xcom", taskId: "numbers", key: "return_value" },
        { kind: "xcom", taskId: "double", key: "return_value" },
      ],
      fillvalue: true,
    };
    expect(tasks.get("zipped")?.expandInput?.sources).toEqual([{ key: "", source: { kind: "map", of: zip } }]);
    expect(tasks.get("outer.inner.plain.deeper")).toMatchObject({
      mappedGroups: ["outer", "outer.inner"],
      groups: ["outer", "outer.inner", "outer.inner.plain"],
      label: "deeper",
    });
  });

  it("applies client defaults below a task's own fields, mapped tasks too", () => {
    const { serialized } = load("mapping.json");
    const graph = parseSerializedDag({
      ...serialized,
      client_defaults: { tasks: { retry_delay: 7, queue: "client" } },
    });
    expect(graph.tasks.get("double")).toMatchObject({ queue: "client", retries: 4 });
    expect(graph.tasks.get("numbers")).toMatchObject({ queue: "client", retryDelaySeconds: 300 });
  });

  it("reads Airflow 2's format", () => {
    const graph = parseSerializedDag({
      __version: 1,
      dag: {
        _dag_id: "old",
        fileloc: "old.py",
        schedule_interval: { __type: "timedelta", __var: 3600 },
        tasks: [
          { __type: "operator", __var: { task_id: "a", _task_type: "BashOperator", _downstream_task_ids: ["b"] } },
          { __type: "operator", __var: { task_id: "b", task_type: "BashOperator", params: { n: 1 } } },
        ],
      },
    });
    expect(graph.timetable).toEqual({
      type: "airflow.timetables.trigger.DeltaTriggerTimetable",
      data: { delta: 3600, interval: 0 },
    });
    expect(graph.tasks.get("b")).toMatchObject({ upstream: ["a"], params: [["n", { value: 1 }, true]] });
    expect(graph.root.children).toHaveLength(2);
  });

  it.each([
    ["another format", { __version: 9, dag: { dag_id: "x", tasks: [] } }],
    ["nothing", {}],
    [
      "a cycle",
      {
        __version: 3,
        dag: { dag_id: "x", tasks: [{ __type: "operator", __var: { task_id: "a", downstream_task_ids: ["a"] } }] },
      },
    ],
    [
      "an unknown task",
      {
        __version: 3,
        dag: { dag_id: "x", tasks: [{ __type: "operator", __var: { task_id: "a", downstream_task_ids: ["z"] } }] },
      },
    ],
  ])("refuses %s", (_what, serialized) => {
    expect(() => parseSerializedDag(serialized)).toThrow(RangeError);
  });

  it("weighs a wide DAG much faster than by walking on from every task", () => {
    const count = 3000;
    const tasks = Array.from({ length: count }, (_, index) => ({
      __type: "operator",
      __var: {
        task_id: `t${index}`,
        downstream_task_ids: [index + 1, index + 7].filter((n) => n < count).map((n) => `t${n}`),
      },
    }));
    const parse = () => parseSerializedDag({ __version: 3, dag: { dag_id: "wide", tasks } });
    const graph = parse();
    const downstream = (id: string) => graph.tasks.get(id)?.downstream ?? [];
    const walk = () => [...graph.tasks.keys()].map((id) => 1 + reachable(id, downstream).size);
    // One against the other: the machine and its load are the same for both.
    const timed = <T>(work: () => T): { ms: number; result: T } => {
      const started = performance.now();
      const result = work();
      return { ms: performance.now() - started, result };
    };
    const walked = timed(walk);
    const parsed = [1, 2, 3].map(() => timed(parse).ms);
    expect(Math.min(...parsed)).toBeLessThan(walked.ms / 4);
    expect([...graph.tasks.values()].map((task) => task.priorityWeightTotal)).toEqual(walked.result);
  });
});
