import { isObject, listOf, numberOr, objectOf, textOr } from "../../domain/serialized-value.ts";
import type { JsonValue } from "../../kit/json-text.ts";
import { structureEdge, type StructureEdge } from "./graph-edges.ts";
import { structureNode, type StructureNode } from "./graph-nodes.ts";

/** The assets a DAG waits for, as gates and assets before its first node (`get_upstream_assets`). */
export function upstreamAssets(
  expression: JsonValue,
  entry: string,
): { nodes: StructureNode[]; edges: StructureEdge[] } {
  const nodes: StructureNode[] = [];
  const edges: StructureEdge[] = [];
  const used = new Map<string, number>();

  const walk = (part: JsonValue, target: string, level: number): void => {
    if (!isObject(part)) return;
    const gate = "any" in part ? "or-gate" : "all" in part ? "and-gate" : null;
    if (gate === null) return;
    const parts = listOf(part["any"] ?? part["all"]);
    const count = (used.get(`${gate}-${level}`) ?? 0) + 1;
    used.set(`${gate}-${level}`, count);
    const id = count === 1 ? `${gate}-${level}` : `${gate}-${level}-${count}`;
    edges.push(structureEdge(id, target, level === 0));
    nodes.push(structureNode(id, id, "asset-condition", { asset_condition_type: gate }));
    for (const one of parts) {
      const leaf = leafOf(one);
      if (!leaf) continue;
      edges.push(structureEdge(leaf.id, id));
      nodes.push(leaf);
    }
    for (const one of parts) walk(one, id, level + 1);
  };
  walk(expression, entry, 0);
  return { nodes, edges };
}

function leafOf(part: JsonValue): StructureNode | null {
  if (!isObject(part)) return null;
  if ("asset" in part) {
    const asset = objectOf(part["asset"]);
    return structureNode(String(numberOr(asset["id"], "")), textOr(asset["name"], ""), "asset", {});
  }
  if ("alias" in part) {
    const name = textOr(objectOf(part["alias"])["name"], "");
    return structureNode(name, name, "asset-alias", {});
  }
  if (!("asset_ref" in part)) return null;
  const ref = objectOf(part["asset_ref"]);
  const name = textOr(ref["name"], null);
  const uri = textOr(ref["uri"], "");
  return structureNode(name ?? uri, name ?? uri, name === null ? "asset-uri-ref" : "asset-name-ref", {});
}
