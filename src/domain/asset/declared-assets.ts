import { exactStringify, ExactObject, parseExact, type ExactJson } from "../../kit/exact-json.ts";
import type { JsonText } from "../../kit/json-text.ts";
import type { AssetKey } from "./asset-condition.ts";

/** What one DAG says about assets: in its schedule, and as inlets and outlets of its tasks. */
export interface DeclaredAssets {
  assets: DeclaredAsset[];
  aliases: { name: string; group: string }[];
  schedule: (AssetKey & AssetAccess)[];
  scheduleAliases: string[];
  scheduleNames: string[];
  scheduleUris: string[];
  inlets: (AssetKey & { taskId: string })[];
  outlets: (AssetKey & AssetAccess & { taskId: string })[];
}

/** Airflow's AssetAccessControl, as the reference needs it: of producers in a schedule, of consumers at an outlet. */
export interface AssetAccess {
  /** null: none said. */
  teams: string[] | null;
  allowGlobal: boolean;
}

export interface DeclaredAsset extends AssetKey {
  group: string;
  /** As Python wrote it. */
  extra: JsonText;
  producers: AssetAccess;
  consumers: AssetAccess;
  watchers: { name: string; classpath: string; kwargs: JsonText }[];
}

/** Cheaper than reading it: most DAGs name none. */
function mayName(serialized: JsonText): boolean {
  return /"asset(_alias|_ref|_all|_any)?"/.test(serialized);
}

/** Reads a serialized DAG as Airflow's `AssetModelOperation.collect` does. */
export function declaredAssets(serialized: JsonText): DeclaredAssets {
  const found: DeclaredAssets = {
    ...{ assets: [], aliases: [], schedule: [], scheduleAliases: [] },
    ...{ scheduleNames: [], scheduleUris: [], inlets: [], outlets: [] },
  };
  if (!mayName(serialized)) return found;
  const assets = new Map<string, DeclaredAsset>();
  const aliases = new Map<string, { name: string; group: string }>();
  const take = (encoded: ExactJson): Named | null => {
    const named = namedBy(encoded);
    if (named?.kind === "asset") assets.set(JSON.stringify([named.asset.name, named.asset.uri]), named.asset);
    if (named?.kind === "alias") aliases.set(named.name, { name: named.name, group: named.group });
    return named;
  };
  const dag = field(parseExact(serialized), "dag");
  for (const encoded of leaves(field(field(field(dag, "timetable"), "__var"), "asset_condition"))) {
    const named = take(encoded);
    if (named?.kind === "asset") found.schedule.push({ ...keyOf(named.asset), ...named.asset.producers });
    else if (named?.kind === "alias") found.scheduleAliases.push(named.name);
    else if (named?.kind === "name-ref") found.scheduleNames.push(named.name);
    else if (named?.kind === "uri-ref") found.scheduleUris.push(named.uri);
  }
  for (const encoded of list(field(dag, "tasks"))) {
    const task = field(encoded, "__var");
    const taskId = text(field(task, "task_id"));
    const ports = field(task, "_is_mapped") === true ? field(task, "partial_kwargs") : task;
    const assetsOf = (name: string) =>
      list(unwrapped(field(ports, name)))
        .map(take)
        .flatMap((named) => (named?.kind === "asset" ? [named.asset] : []));
    found.inlets.push(...assetsOf("inlets").map((asset) => ({ taskId, ...keyOf(asset) })));
    found.outlets.push(...assetsOf("outlets").map((asset) => ({ taskId, ...keyOf(asset), ...asset.consumers })));
  }
  return { ...found, assets: [...assets.values()], aliases: [...aliases.values()] };
}

const keyOf = ({ name, uri }: AssetKey): AssetKey => ({ name, uri });

type Named =
  | { kind: "asset"; asset: DeclaredAsset }
  | { kind: "alias"; name: string; group: string }
  | { kind: "name-ref"; name: string }
  | { kind: "uri-ref"; uri: string };

function namedBy(encoded: ExactJson): Named | null {
  const inner = field(encoded, "__var");
  const fields = inner instanceof ExactObject ? inner : encoded;
  const name = field(fields, "name");
  switch (field(encoded, "__type")) {
    case "asset":
      return {
        kind: "asset",
        asset: {
          name: text(name),
          uri: text(field(fields, "uri")),
          group: text(field(fields, "group")),
          extra: exactStringify(field(fields, "extra") ?? new ExactObject(new Map())) as JsonText,
          producers: accessOf(field(fields, "access_control"), "producer_teams"),
          consumers: accessOf(field(fields, "access_control"), "consumer_teams"),
          watchers: list(field(fields, "watchers")).map((watcher) => {
            const trigger = field(watcher, "trigger");
            return {
              name: text(field(watcher, "name")),
              classpath: text(field(trigger, "classpath")),
              kwargs: exactStringify(field(trigger, "kwargs") ?? new ExactObject(new Map())) as JsonText,
            };
          }),
        },
      };
    case "asset_alias":
      return { kind: "alias", name: text(name), group: text(field(fields, "group")) };
    case "asset_ref":
      return typeof name === "string"
        ? { kind: "name-ref", name }
        : { kind: "uri-ref", uri: text(field(fields, "uri")) };
    default:
      return null;
  }
}

function accessOf(control: ExactJson | undefined, teams: string): AssetAccess {
  const named = field(control, teams);
  return {
    teams: Array.isArray(named) ? named.map(text) : null,
    allowGlobal: field(control, "allow_global") !== false,
  };
}

function* leaves(condition: ExactJson | undefined): Generator<ExactJson> {
  if (condition === undefined || condition === null) return;
  const type = field(condition, "__type");
  if (type === "asset_all" || type === "asset_any") {
    for (const part of list(field(condition, "objects"))) yield* leaves(part);
  } else yield condition;
}

function field(value: ExactJson | undefined, name: string): ExactJson | undefined {
  return value instanceof ExactObject ? value.entries.get(name) : undefined;
}

function list(value: ExactJson | undefined): ExactJson[] {
  return Array.isArray(value) ? value : [];
}

function text(value: ExactJson | undefined): string {
  return typeof value === "string" ? value : "";
}

function unwrapped(value: ExactJson | undefined): ExactJson | undefined {
  return value instanceof ExactObject && value.entries.has("__var") ? value.entries.get("__var") : value;
}
