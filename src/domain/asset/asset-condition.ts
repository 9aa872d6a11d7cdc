import type { JsonValue } from "../../kit/json-text.ts";
import { isObject, textOr, type JsonObject } from "../serialized-value.ts";

/** What an asset is known by. */
export interface AssetKey {
  name: string;
  uri: string;
}

/** One text for an asset's name and URI, to look it up by. */
export function keyText({ name, uri }: AssetKey): string {
  return JSON.stringify([name, uri]);
}

/** What a schedule waits for, as `encode_asset_like` wrote it. */
export type AssetCondition = AssetLeaf | { kind: "all" | "any"; of: readonly AssetCondition[] };

export type AssetLeaf =
  | ({ kind: "asset" } & AssetKey)
  | { kind: "alias"; name: string }
  | { kind: "name-ref"; name: string }
  | { kind: "uri-ref"; uri: string };

/** Reads an encoded condition. Throws RangeError on anything else. */
export function parseAssetCondition(encoded: JsonValue | undefined): AssetCondition {
  if (!isObject(encoded)) throw new RangeError("not an asset condition");
  const type = textOr(encoded["__type"], "");
  // In tasks the fields stand below `__var`, in timetables beside the type.
  const fields: JsonObject = isObject(encoded["__var"]) ? encoded["__var"] : encoded;
  const name = textOr(fields["name"], null);
  switch (type) {
    case "asset":
      return { kind: "asset", name: name ?? "", uri: textOr(fields["uri"], "") };
    case "asset_alias":
      return { kind: "alias", name: name ?? "" };
    case "asset_ref":
      return name !== null ? { kind: "name-ref", name } : { kind: "uri-ref", uri: textOr(fields["uri"], "") };
    case "asset_all":
    case "asset_any": {
      const objects = Array.isArray(fields["objects"]) ? fields["objects"] : [];
      return { kind: type === "asset_all" ? "all" : "any", of: objects.map(parseAssetCondition) };
    }
    default:
      throw new RangeError(`not an asset condition: ${JSON.stringify(type)}`);
  }
}

/** Everything a condition names, in its order. */
export function* leavesOf(condition: AssetCondition): Generator<AssetLeaf> {
  if (!("of" in condition)) yield condition;
  else for (const part of condition.of) yield* leavesOf(part);
}

/** Which assets aliases and references stand for at the moment. */
export interface AssetResolution {
  alias(name: string): readonly AssetKey[];
  /** The active asset of this name or URI. */
  byName(name: string): AssetKey | null;
  byUri(uri: string): AssetKey | null;
}

/** `AssetEvaluator.run`: whether what was updated is enough. */
export function isSatisfied(
  condition: AssetCondition,
  isUpdated: (asset: AssetKey) => boolean,
  resolve: AssetResolution,
): boolean {
  switch (condition.kind) {
    case "asset":
      return isUpdated(condition);
    case "alias":
      return resolve.alias(condition.name).some(isUpdated);
    case "name-ref": {
      const asset = resolve.byName(condition.name);
      return asset !== null && isUpdated(asset);
    }
    case "uri-ref": {
      const asset = resolve.byUri(condition.uri);
      return asset !== null && isUpdated(asset);
    }
    case "all":
      return condition.of.every((part) => isSatisfied(part, isUpdated, resolve));
    case "any":
      return condition.of.some((part) => isSatisfied(part, isUpdated, resolve));
  }
}
