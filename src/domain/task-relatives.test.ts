import { describe, expect, it } from "vitest";
import type { DagGraph, TaskNode } from "./dag-graph.ts";
import { flatRelatives, relevantRelatives, subset, type ExpandedCount } from "./task-relatives.ts";

/** A graph with what these walks look at; edges as "a>b". */
function graphOf(edges: string[], traits: Record<string, Partial<TaskNode>> = {}): DagGraph {
  const pairs = edges.map((edge) => edge.split(">") as [string, string]);
  const ids = [...new Set([...pairs.flat(), ...Object.keys(traits)])];
  const tasks = ids.map((taskId) => {
    const upstream = pairs.filter(([, to]) => to === taskId).map(([from]) => from);
    const downstream = pairs.filter(([from]) => from === taskId).map(([, to]) => to);
    const node = {
      taskId,
      upstream,
      downstream,
      isSetup: false,
      isTeardown: false,
      expandInput: null,
      mappedGroups: [],
    };
    return [taskId, { ...node, ...traits[taskId] }] as const;
  });
  return { dagId: "d", tasks: new Map(tasks) } as unknown as DagGraph;
}

const sorted = (ids: Iterable<string>) => [...ids].sort();

describe("relatives", () => {
  const diamond = graphOf(["a>b", "a>c", "b>d", "c>d"]);

  it("are all that can be reached", () => {
    expect(sorted(flatRelatives(diamond, "a", "downstream"))).toEqual(["b", "c", "d"]);
    expect(sorted(flatRelatives(diamond, "d", "upstream"))).toEqual(["a", "b", "c"]);
  });

  it("make a subset with or without the tasks themselves", () => {
    const up = { upstream: true, downstream: false };
    expect(sorted(subset(diamond, ["b"], up))).toEqual(["a", "b"]);
    expect(sorted(subset(diamond, ["b"], { ...up, excludeOriginal: true }))).toEqual(["a"]);
    expect(sorted(subset(diamond, ["b", "none"], { upstream: false, downstream: true }))).toEqual(["b", "d"]);
  });

  it("bring the setups and teardowns of a task", () => {
    const traits = { s: { isSetup: true }, t: { isTeardown: true }, s2: { isSetup: true } };
    const graph = graphOf(["s>w", "w>t", "s>t", "s2>s", "w>x"], traits);
    const alone = { upstream: false, downstream: false };
    expect(sorted(subset(graph, ["w"], alone))).toEqual(["s", "s2", "t", "w"]);
    expect(sorted(subset(graph, ["x"], alone))).toEqual(["s2", "x"]);
    expect(sorted(subset(graph, ["s"], alone))).toEqual(["s", "t"]);
  });
});

describe("relatives of one map index", () => {
  const inGroup = { mappedGroups: ["g"] };
  const expanded = { kind: "dict-of-lists" as const, sources: [] };
  const traits = { "g.a": inGroup, "g.b": inGroup, "g.c": { ...inGroup, expandInput: expanded }, end: {} };
  const graph = graphOf(["start>g.a", "g.a>g.b", "g.a>g.c", "g.b>end"], traits);
  const counts: ExpandedCount = async ({ id }) => ({ g: 3, "g.a": 3, "g.b": 3, "g.c": 6 })[id] ?? null;

  it("stay in its iteration inside the group", async () => {
    const found = await relevantRelatives(graph, [["g.b", 1]], "upstream", counts);
    expect(found).toEqual(["start", ["g.a", 1]]);
  });

  it("are whole outside of it", async () => {
    expect(await relevantRelatives(graph, [["g.b", 1]], "downstream", counts)).toEqual(["end"]);
  });

  it("are those of a plain task when it is not mapped", async () => {
    expect(await relevantRelatives(graph, [["end", -1]], "upstream", counts)).toEqual(
      expect.arrayContaining(["g.a", "g.b", "start"]),
    );
  });
});
