import { exactStringify, ExactObject, parseExact, type ExactJson } from "../../kit/exact-json.ts";
import type { JsonText } from "../../kit/json-text.ts";
import { keyText, type AssetKey } from "./asset-condition.ts";

/** What a task that succeeded says of its outlets (`SucceedTask`). */
export interface OutletReport {
  /** The outlets it declares. */
  assets: readonly AssetKey[];
  names: readonly string[];
  uris: readonly string[];
  /** What it said about assets, by `keyText`: an event for each. */
  events: ReadonlyMap<string, readonly OutletEvent[]>;
  /** Events it emitted through aliases that are outlets of it. */
  aliasEvents: readonly AliasEvent[];
}

export interface OutletEvent {
  extra: JsonText;
  /** null: that of the run. */
  partitionKey: string | null;
}

export interface AliasEvent {
  asset: AssetKey;
  assetExtra: JsonText;
  extra: JsonText;
  aliases: readonly string[];
}

interface OutletProfile {
  name?: string | null;
  uri?: string | null;
  type?: string;
}

/** The longest partition key, as any id of Airflow's. */
const MAX_PARTITION_KEY = 250;

/** null: it has no outlets. Throws RangeError when a partition key is none. */
export function readOutletReport(profiles: unknown, eventsText: JsonText | null): OutletReport | null {
  const outlets = (Array.isArray(profiles) ? profiles : []) as OutletProfile[];
  const parsed = eventsText === null ? [] : parseExact(eventsText);
  const emitted = Array.isArray(parsed) ? parsed : [];
  if (outlets.length === 0 && emitted.length === 0) return null;
  const of = (type: string) => outlets.filter((outlet) => outlet.type === type);
  const assets = of("Asset").flatMap(({ name, uri }) => (name && uri ? [{ name, uri }] : []));
  const aliases = new Set(of("AssetAlias").map(({ name }) => name));
  const events = new Map<string, OutletEvent[]>();
  const aliasEvents = new Map<string, AliasEvent & { aliases: string[] }>();
  for (const event of emitted) {
    const asset = keyOf(field(event, "dest_asset_key"));
    const alias = field(event, "source_alias_name");
    const partitionKey = field(event, "partition_key");
    if (typeof partitionKey === "string") checkPartitionKey(partitionKey);
    if (typeof alias !== "string") {
      const one = {
        extra: textOf(field(event, "extra")),
        partitionKey: typeof partitionKey === "string" ? partitionKey : null,
      };
      events.set(keyText(asset), [...(events.get(keyText(asset)) ?? []), one]);
    } else if (aliases.has(alias)) {
      // The same event through several aliases is one.
      const assetExtra = textOf(sorted(field(event, "dest_asset_extra")));
      const extra = textOf(sorted(field(event, "extra")));
      const same = JSON.stringify([asset.name, asset.uri, assetExtra, extra]);
      const known = aliasEvents.get(same);
      if (!known) aliasEvents.set(same, { asset, assetExtra, extra, aliases: [alias] });
      else if (!known.aliases.includes(alias)) known.aliases.push(alias);
    }
  }
  return {
    assets: [...new Map(assets.map((asset) => [keyText(asset), asset])).values()],
    names: unique(of("AssetNameRef").map(({ name }) => name)),
    uris: unique(of("AssetUriRef").map(({ uri }) => uri)),
    events,
    aliasEvents: [...aliasEvents.values()],
  };
}

function checkPartitionKey(key: string): void {
  if (key.trim() === "") {
    throw new RangeError(`partition_key in outlet event must not be empty or whitespace-only; got '${key}'.`);
  }
  if (key.length > MAX_PARTITION_KEY) {
    throw new RangeError(
      `partition_key in outlet event must be at most ${MAX_PARTITION_KEY} characters; got ${key.length}.`,
    );
  }
}

function unique(values: readonly (string | null | undefined)[]): string[] {
  return [...new Set(values.filter((value): value is string => typeof value === "string" && value !== ""))];
}

function keyOf(value: ExactJson | undefined): AssetKey {
  const [name, uri] = [field(value, "name"), field(value, "uri")];
  return { name: typeof name === "string" ? name : "", uri: typeof uri === "string" ? uri : "" };
}

function field(value: ExactJson | undefined, name: string): ExactJson | undefined {
  return value instanceof ExactObject ? value.entries.get(name) : undefined;
}

function textOf(value: ExactJson | undefined): JsonText {
  return (value instanceof ExactObject ? exactStringify(value) : "{}") as JsonText;
}

function sorted(value: ExactJson | undefined): ExactJson | undefined {
  if (Array.isArray(value)) return value.map((item) => sorted(item) as ExactJson);
  if (!(value instanceof ExactObject)) return value;
  const entries = [...value.entries].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return new ExactObject(new Map(entries.map(([key, item]) => [key, sorted(item) as ExactJson])));
}
