import type { ExpandInput, MapSource } from "./dag-graph.ts";
import type { RunPlan } from "./run-plan.ts";
import type { TaskRows } from "./task-rows.ts";

/** What a mapped length can be worked out from. */
export interface MappingFacts {
  plan: RunPlan;
  rows: readonly TaskRows[];
  /** See `RunSnapshot.lengths`. */
  lengths: ReadonlyMap<string, number | null>;
  /** Ids of tasks whose lengths were missing are added here. */
  needed: Set<string>;
}

/** Into how many instances these inputs multiply; null while what they iterate over is not known (NotFullyPopulated). */
export function instanceCount(inputs: readonly ExpandInput[], facts: MappingFacts): number | null {
  let count = 1;
  for (const input of inputs) {
    const length = lengthOfInput(input, facts);
    if (length === null) return null;
    count *= length;
  }
  return count;
}

function lengthOfInput(input: ExpandInput, facts: MappingFacts): number | null {
  if (input.sources.length === 0) return 0;
  let product = 1;
  for (const { source } of input.sources) {
    const length = lengthOfSource(source, facts);
    if (length === null) return null;
    product *= length;
  }
  return product;
}

function lengthOfSource(source: MapSource, facts: MappingFacts): number | null {
  switch (source.kind) {
    case "literal":
      return source.length;
    case "xcom":
      return lengthOfTask(source.taskId, facts);
    case "map":
    case "filter":
      return lengthOfSource(source.of, facts);
    case "zip":
    case "concat": {
      const lengths = source.of.map((part) => lengthOfSource(part, facts));
      const known = lengths.filter((length) => length !== null);
      if (known.length < lengths.length) return null;
      if (source.kind === "concat") return known.reduce((sum, length) => sum + length, 0);
      return source.fillvalue ? Math.max(...known) : Math.min(...known);
    }
    case "unknown":
      return null;
  }
}

/**
 * A mapped task's length is how many of its instances returned something, known once all have finished. A plain task inside
 * a mapped group has none: Airflow cannot expand on it either.
 */
function lengthOfTask(taskId: string, facts: MappingFacts): number | null {
  const task = facts.plan.byId.get(taskId);
  if (!task) return null;
  const counts = facts.rows[task.number]?.counts;
  const isMapped = task.node.expandInput !== null;
  if (isMapped ? counts && counts.finished < counts.total : task.inMappedGroup) return null;
  const known = facts.lengths.get(taskId);
  if (known !== undefined) return known;
  const ran = counts && counts.get("success") + (isMapped ? counts.get("failed") : 0) > 0;
  if (ran) facts.needed.add(taskId);
  return isMapped && counts && !ran ? 0 : null;
}

/** Indexes of another task's instances that belong to ours; null: all of them. */
export type RelevantIndexes = { from: number; to: number } | null;

/**
 * Airflow's `_get_relevant_map_indexes`: in a mapped task group around both, an instance depends on those of its own
 * iteration only. Unexpanded instances (index -1) always count and are not part of the answer.
 */
export function relevantIndexes(
  mapIndex: number,
  ownCount: number | null,
  shared: { count: number | null; furtherMapped: boolean } | null,
): RelevantIndexes {
  if (!ownCount || !shared || !shared.count) return null;
  const ancestorIndex = Math.floor((mapIndex * shared.count) / ownCount);
  if (!shared.furtherMapped) return { from: ancestorIndex, to: ancestorIndex + 1 };
  const further = Math.floor(ownCount / shared.count);
  return { from: ancestorIndex * further, to: ancestorIndex * further + further };
}
