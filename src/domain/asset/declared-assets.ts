import { exactStringify, ExactObject, parseExact, type ExactJson } from "../../kit/exact-json.ts";
import type { JsonText } from "../../kit/json-text.ts";
import type { AssetKey } from "./asset-condition.ts";

/** What one DAG says about assets: in its schedule, and as inlets and outlets of its tasks. */
export interface DeclaredAssets {
  assets: DeclaredAsset[];
  aliases: { name: string; group: string }[];
  schedule: AssetKey[];
  scheduleAliases: string[];
  scheduleNames: string[];
  scheduleUris: string[];
  inlets: (AssetKey & { taskId: string })[];
  outlets: (AssetKey & { taskId: string })[];
}

export interface DeclaredAsset extends AssetKey {
  group: string;
  /** As Python wrote it. */
  extra: JsonText;
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
    if (named?.kind === "asset") found.schedule.push({ name: named.asset.name, uri: named.asset.uri });
    else if (named?.kind === "alias") found.scheduleAliases.push(named.name);
    else if (named?.kind === "name-ref") found.scheduleNames.push(named.name);
    else if (named?.kind === "uri-ref") found.scheduleUris.push(named.uri);
  }
  for (const encoded of list(field(dag, "tasks"))) {
    const task = field(encoded, "__var");
    const taskId = text(field(task, "task_id"));
    const ports = field(task, "_is_mapped") === true ? field(task, "partial_kwargs") : task;
    for (const [name, into] of [
      ["inlets", found.inlets],
      ["outlets", found.outlets],
    ] as const) {
      for (const port of list(unwrapped(field(ports, name)))) {
        const named = take(port);
        if (named?.kind === "asset") into.push({ taskId, name: named.asset.name, uri: named.asset.uri });
      }
    }
  }
  return { ...found, assets: [...assets.values()], aliases: [...aliases.values()] };
}

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
