import { Type } from "typebox";
import { fromJsonText } from "../../kit/json-text.ts";
import { findDagRow } from "../../store/query-dags.ts";
import { producersIn } from "../../store/ui-assets.ts";
import { listDagDependencies, type DagDependency } from "../../store/ui-dependencies.ts";
import { teamsOf, type ApiContext, type TypedApp } from "../context.ts";
import { requireVersion } from "../public/dag-lookup.ts";
import { upstreamAssets } from "./asset-structure.ts";
import { nodeIdOf } from "./dependencies.ts";
import { structureEdge, structureEdges, type StructureEdge } from "./graph-edges.ts";
import { structureNode, structureNodes, type StructureNode } from "./graph-nodes.ts";
import { partOf } from "./graph-part.ts";
import { partQuery } from "./grid.ts";

/** The graph view of one DAG version. */
export function structureRoutes(app: TypedApp, context: ApiContext): void {
  const { db } = context;
  const Query = Type.Object({
    dag_id: Type.String(),
    ...partQuery,
    external_dependencies: Type.Boolean({ default: false }),
    version_number: Type.Optional(Type.Integer()),
  });
  app.get("/structure/structure_data", { schema: { querystring: Query } }, async (request) => {
    const { query } = request;
    const { dag_id, version_number } = query;
    const version = await requireVersion(db, dag_id, version_number);
    const part = partOf(await context.graph(version.id), {
      root: query.root,
      includeUpstream: query.include_upstream,
      includeDownstream: query.include_downstream,
      depth: query.depth,
    });
    const nodes = structureNodes(part);
    const edges = structureEdges(part);
    if (!query.external_dependencies) return { edges, nodes };
    const outside = externalDependencies(dag_id, nodes, await listDagDependencies(db, teamsOf(request)));
    const producers = await producersIn(db, dag_id);
    // An asset hangs at the task that updates it.
    const bound = outside.edges.map((edge) => ({
      ...edge,
      source_id: producers.get(edge.target_id) ?? edge.source_id,
    }));
    const row = await findDagRow(db, dag_id);
    const entry = nodes[0]?.id;
    const assets =
      row?.asset_expression && entry !== undefined
        ? upstreamAssets(fromJsonText(row.asset_expression), entry)
        : { nodes: [], edges: [] };
    return {
      edges: [...edges, ...assets.edges, ...bound],
      nodes: [...nodes, ...outside.nodes, ...assets.nodes],
    };
  });
}

/** Other DAGs, triggers and sensors around a DAG, tied to its first and last node. */
function externalDependencies(
  dagId: string,
  nodes: readonly StructureNode[],
  all: ReadonlyMap<string, DagDependency[]>,
): { nodes: StructureNode[]; edges: StructureEdge[] } {
  const first = nodes[0]?.id;
  const last = nodes.at(-1)?.id;
  const found: StructureNode[] = [];
  const starts: StructureEdge[] = [];
  const ends: StructureEdge[] = [];
  for (const [owner, list] of all) {
    for (const dependency of list) {
      const { source, target, dependency_type: type, label } = dependency;
      if (owner !== dagId && target !== dagId) continue;
      // What feeds a schedule comes with the asset expression.
      if (target !== type && (type === "asset" || type === "asset-alias")) continue;
      const id = nodeIdOf(dependency);
      if ((source === type || target === dagId) && first !== undefined) starts.push(structureEdge(id, first));
      else if ((target === type || source === dagId) && last !== undefined) ends.push(structureEdge(last, id));
      found.push(structureNode(id, label, type, {}));
    }
  }
  return { nodes: found, edges: [...starts, ...ends] };
}
