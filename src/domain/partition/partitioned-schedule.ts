import type { JsonValue } from "../../kit/json-text.ts";
import type { Instant } from "../../kit/instant.ts";
import { leavesOf, parseAssetCondition, type AssetCondition, type AssetKey } from "../asset/asset-condition.ts";
import type { SerializedTimetable } from "../dag-graph.ts";
import { listOf } from "../serialized-value.ts";
import { mapperFor } from "./mapper-for.ts";
import type { PartitionMapper } from "./partition-mapper.ts";

/** What a schedule of assets waits for; null when the schedule has no assets. Throws RangeError on what is no condition. */
export function assetConditionOf(timetable: SerializedTimetable): AssetCondition | null {
  const encoded = timetable.data["asset_condition"];
  return encoded === undefined || encoded === null ? null : parseAssetCondition(encoded);
}

/** `PartitionedAssetTimetable`: which mapper each asset's keys go through. */
export interface PartitionedSchedule {
  mapperOf(asset: { name?: string; uri?: string }): PartitionMapper;
  /** One text for all mappers: what waits for a partition under others is stale. */
  fingerprint: string;
}

/** null: the schedule is not partitioned by its assets. */
export function partitionedSchedule(timetable: SerializedTimetable): PartitionedSchedule | null {
  if (!timetable.type.endsWith(".PartitionedAssetTimetable")) return null;
  const { data } = timetable;
  const encodedDefault = data["default_partition_mapper"];
  const names = new Map<string, JsonValue>();
  const uris = new Map<string, JsonValue>();
  for (const pair of listOf(data["partition_mapper_config"])) {
    const [of, mapper = null] = Array.isArray(pair) ? pair : [];
    for (const leaf of leavesOf(parseAssetCondition(of))) {
      if (leaf.kind === "asset" || leaf.kind === "name-ref") names.set(leaf.name, mapper);
      if (leaf.kind === "asset" || leaf.kind === "uri-ref") uris.set(leaf.uri, mapper);
    }
  }
  const encodedOf = ({ name = "", uri = "" }: { name?: string; uri?: string }): JsonValue | undefined => {
    // As Airflow does: one that has a name is looked up by its name alone.
    if (name !== "") return names.get(name) ?? encodedDefault;
    return (uri === "" ? undefined : uris.get(uri)) ?? encodedDefault;
  };
  const mappers = new Map<JsonValue | undefined, PartitionMapper>();
  const mapperOf: PartitionedSchedule["mapperOf"] = (asset) => {
    const encoded = encodedOf(asset);
    const known = mappers.get(encoded) ?? mapperFor(encoded);
    mappers.set(encoded, known);
    return known;
  };
  const condition = assetConditionOf(timetable);
  const entries = (condition === null ? [] : [...leavesOf(condition)])
    .filter((leaf) => leaf.kind !== "alias")
    .map((leaf) => {
      const { name = "", uri = "" } = leaf as { name?: string; uri?: string };
      return [`${name}|${uri}`, encodedOf({ name, uri })] as const;
    });
  const fingerprint = JSON.stringify(Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))));
  return { mapperOf, fingerprint };
}

/**
 * The date a run of this partition gets (`_resolve_partition_date`): what all mappers that know times agree on; where none does,
 * the one that came with the event. Disagreement and broken mappers leave it out: `problem` says why.
 */
export function partitionDateOf(
  schedule: PartitionedSchedule,
  assets: readonly AssetKey[],
  key: string,
  carried: Instant | null,
): { date: Instant | null; problem: string | null } {
  try {
    const dates = new Set(
      assets.map((asset) => schedule.mapperOf(asset).toPartitionDate(key)).filter((at) => at !== null),
    );
    const [date = null] = dates;
    if (dates.size > 1) return { date: null, problem: `its assets' mappers disagree: ${[...dates].sort().join(", ")}` };
    return { date: date ?? carried, problem: null };
  } catch (error) {
    return { date: null, problem: error instanceof Error ? error.message : String(error) };
  }
}
