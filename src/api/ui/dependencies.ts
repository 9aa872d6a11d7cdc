import { Type } from "typebox";
import { dataLineage } from "../../store/ui-assets.ts";
import { listDagDependencies, type DagDependency } from "../../store/ui-dependencies.ts";
import { teamsOfDags } from "../../store/teams.ts";
import { teamsOf, type ApiContext, type TypedApp } from "../context.ts";
import { badRequest, notFound } from "../errors.ts";
import { enumOf } from "../schema.ts";

interface Node {
  id: string;
  label: string;
  type: string;
  team: string | null;
}

interface Edge {
  source_id: string;
  target_id: string;
}

const ASSET_TYPES = ["asset", "asset-alias", "asset-name-ref", "asset-uri-ref"];

/** How the graph names what stands between two DAGs. */
export function nodeIdOf(dependency: DagDependency): string {
  const { dependency_type: type, dependency_id: id, source, target } = dependency;
  const name = ASSET_TYPES.includes(type) ? type : `${type}:${source}:${target}`;
  return id ? `${name}:${id}` : name;
}

/** The graph of all DAGs that wait for or start each other. As `get_scheduling_dependencies`. */
function schedulingGraph(dependencies: ReadonlyMap<string, DagDependency[]>): { nodes: Node[]; edges: Edge[] } {
  const nodes = new Map<string, Node>();
  const edges = new Map<string, Edge>();
  const addNode = (id: string, label: string, type: string) => {
    if (!nodes.has(id)) nodes.set(id, { id, label, type, team: null });
  };
  const addEdge = (source: string, target: string) =>
    edges.set(JSON.stringify([source, target]), { source_id: source, target_id: target });
  const endpoint = (name: string) => (name.includes(":") ? name : `dag:${name}`);
  for (const [dagId, list] of dependencies) {
    for (const dependency of list) {
      const { source, target, label, dependency_type } = dependency;
      const id = nodeIdOf(dependency);
      addNode(`dag:${dagId}`, dagId, "dag");
      addNode(id, label, dependency_type);
      if (source !== dependency_type) addEdge(endpoint(source), id);
      if (target !== dependency_type) addEdge(id, endpoint(target));
    }
  }
  const sorted = [...edges.values()].sort((a, b) =>
    a.source_id === b.source_id ? (a.target_id < b.target_id ? -1 : 1) : a.source_id < b.source_id ? -1 : 1,
  );
  // A DAG that is only named by others has no entry of its own above.
  for (const { source_id, target_id } of sorted) {
    for (const id of [source_id, target_id]) if (id.startsWith("dag:")) addNode(id, id.slice(4), "dag");
  }
  return { nodes: [...nodes.values()], edges: sorted };
}

/** Everything connected with one node, in either direction. */
function connectedWith(nodeId: string, graph: { nodes: Node[]; edges: Edge[] }): { nodes: Node[]; edges: Edge[] } {
  const next = new Map<string, string[]>();
  const link = (from: string, to: string) => next.set(from, [...(next.get(from) ?? []), to]);
  for (const { source_id, target_id } of graph.edges) {
    link(source_id, target_id);
    link(target_id, source_id);
  }
  if (!next.has(nodeId)) {
    throw notFound(
      `Unique connected component not found, got [] for connected components of node ${nodeId}, expected only 1 connected component.`,
    );
  }
  const found = new Set([nodeId]);
  for (const id of found) for (const other of next.get(id) ?? []) found.add(other);
  return {
    nodes: graph.nodes.filter(({ id }) => found.has(id)),
    edges: graph.edges.filter(({ source_id, target_id }) => found.has(source_id) && found.has(target_id)),
  };
}

const SEPARATOR = "__SEPARATOR__";

/** What tasks read and update, around an asset. As `get_data_dependencies`. */
function dataGraph(
  assetId: number,
  lineage: Awaited<ReturnType<typeof dataLineage>>,
): { nodes: Node[]; edges: Edge[] } {
  if (lineage.assets.length === 0) throw notFound(`Asset with id ${assetId} was not found`);
  const nodes = new Map<string, Node>();
  for (const { id, name } of lineage.assets) {
    nodes.set(`asset:${id}`, { id: `asset:${id}`, label: name, type: "asset", team: null });
  }
  const edges = lineage.edges.map(({ asset_id, dag_id, task_id, direction }): Edge => {
    const asset = `asset:${asset_id}`;
    const task = `task:${dag_id}${SEPARATOR}${task_id}`;
    nodes.set(task, { id: task, label: `${dag_id}.${task_id}`, type: "task", team: null });
    return direction === "outlet" ? { source_id: task, target_id: asset } : { source_id: asset, target_id: task };
  });
  return { nodes: [...nodes.values()], edges };
}

/** The page of dependencies between DAGs. */
export function dependencyRoutes(app: TypedApp, { db, multiTeam = false }: ApiContext): void {
  const Query = Type.Object({
    node_id: Type.Optional(Type.String()),
    dependency_type: Type.Unsafe<"scheduling" | "data">({ ...enumOf(["scheduling", "data"]), default: "scheduling" }),
  });
  app.get("/dependencies", { schema: { querystring: Query } }, async (request) => {
    const { node_id, dependency_type } = request.query;
    const teams = teamsOf(request);
    if (dependency_type === "data") {
      if (!node_id?.startsWith("asset:")) {
        throw badRequest("Data dependencies require an asset node_id (e.g., 'asset:123')");
      }
      const id = node_id.slice("asset:".length);
      if (!/^\d+$/.test(id)) throw badRequest(`Invalid asset node_id: ${node_id}`);
      return await withTeams(dataGraph(Number(id), await dataLineage(db, Number(id), teams)));
    }
    const whole = schedulingGraph(await listDagDependencies(db, teams));
    const { nodes, edges } = node_id === undefined ? whole : connectedWith(node_id, whole);
    return await withTeams({ edges, nodes });
  });

  /** DAGs and tasks say whose they are. */
  async function withTeams({ edges, nodes }: { edges: Edge[]; nodes: Node[] }) {
    if (!multiTeam) return { edges, nodes };
    const dagOf = ({ id, label, type }: Node): string =>
      type === "dag" ? label : type === "task" ? (id.slice("task:".length).split(SEPARATOR, 1)[0] ?? "") : "";
    const owners = await teamsOfDags(db, nodes.map(dagOf));
    return { edges, nodes: nodes.map((node) => ({ ...node, team: owners.get(dagOf(node)) ?? null })) };
  }
}
