import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { DagGraph } from "../../domain/dag-graph.ts";
import { parseSerializedDag } from "../../domain/serialized-dag.ts";
import { structureEdges } from "./graph-edges.ts";
import { gridNodes, mergeGridNodes, structureNodes, type GridNode, type StructureNode } from "./graph-nodes.ts";
import { partOf } from "./graph-part.ts";

interface Structure {
  nodes: StructureNode[];
  edges: object[];
}

/** DAGs with nested, mapped and labelled groups, setup and teardown, and what Airflow 3.3.2 made of them. */
const { whole, parts } = JSON.parse(readFileSync(new URL("fixtures/graph-shapes.json", import.meta.url), "utf8")) as {
  whole: { serialized: object; grid: GridNode[]; structure: Structure };
  /** Without the mapped group, which Airflow itself cannot cut a part from. */
  parts: { serialized: object; structures: Record<string, Structure> };
};
const graph = parseSerializedDag(whole.serialized);

describe("the grid's rows", () => {
  it("are Airflow's, in its order", () => {
    expect(gridNodes(graph)).toEqual(whole.grid);
  });

  it("keep what only older versions had", () => {
    const older: GridNode[] = [
      { id: "gone", label: "gone" },
      { id: "load", label: "Load it", children: [{ id: "load.old", label: "old" }] },
    ];
    const merged = mergeGridNodes(gridNodes(graph), older);
    expect(merged.at(-1)).toEqual({ id: "gone", label: "gone" });
    expect(merged.find(({ id }) => id === "load")?.children?.map(({ id }) => id)).toEqual([
      "load.l1",
      "load.l2",
      "load.old",
    ]);
  });
});

describe("the graph view", () => {
  const structureOf = (of: DagGraph) => ({ nodes: structureNodes(of), edges: structureEdges(of) });

  it("is Airflow's", () => {
    expect(structureOf(graph)).toEqual(whole.structure);
  });

  it.each(Object.keys(parts.structures))("shows the part %s as Airflow does", (name) => {
    const [root, direction, depth] = name.split(" ");
    const part = partOf(parseSerializedDag(parts.serialized), {
      root,
      includeUpstream: direction === "up" || direction === "both",
      includeDownstream: direction === "down" || direction === "both",
      depth: depth === undefined ? undefined : Number(depth),
    });
    expect(structureOf(part)).toEqual(parts.structures[name]);
  });
});
