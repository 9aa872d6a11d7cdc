import type { Client } from "../../bench/client.ts";
import { runPath } from "./outcome.ts";
import type { Step } from "./scenarios.ts";

/** What is done to assets and to the DAGs that update them, from the scenario of a DAG that waits for them. */
export type AssetStep =
  | { kind: "update"; dagId: string; runId?: string; conf?: Record<string, unknown>; partitionKey?: string }
  | { kind: "clear-update"; dagId: string; runId: string }
  | { kind: "event"; asset: string; extra?: Record<string, unknown>; partitionKey?: string }
  | { kind: "materialize"; asset: string }
  | { kind: "pause" | "unpause" }
  /** DAGs that wait for the same: unpaused first, so that all of them see all. */
  | { kind: "with"; dagIds: string[] }
  /** Wait until another DAG has had so many runs. */
  | { kind: "others"; dagId: string; count: number };

const update = (
  dagId: string,
  more: Omit<Extract<AssetStep, { kind: "update" }>, "kind" | "dagId"> = {},
): AssetStep => ({
  kind: "update",
  dagId,
  ...more,
});
const event = (asset: string, more: Omit<Extract<AssetStep, { kind: "event" }>, "kind" | "asset"> = {}): AssetStep => ({
  kind: "event",
  asset,
  ...more,
});
const runs = (count: number): Step => ({ kind: "runs", count });
/** Others never come. */
const only = (count: number): Step => ({ kind: "runs", count, stuck: true });
const none = only(0);
const at = (key: string): AssetStep => update("asset_p_hours", { partitionKey: key });
const places = (...keys: string[]): AssetStep => update("asset_p_places", { conf: { keys } });

const together = (...dagIds: string[]): AssetStep => ({ kind: "with", dagIds });
const others = (dagId: string, count: number): AssetStep => ({ kind: "others", dagId, count });

const ASSET_SCENARIOS: Record<string, Step[]> = {
  asset_one: [update("asset_p_one"), runs(1)],
  asset_listed: [event("asset_listed", { extra: { by: "hand" } }), runs(1)],
  asset_all: [
    update("asset_p_a"),
    update("asset_p_a"),
    none,
    update("asset_p_b"),
    runs(1),
    update("asset_p_ab"),
    runs(2),
  ],
  asset_nested: [
    update("asset_p_a2"),
    none,
    update("asset_p_c2"),
    runs(1),
    update("asset_p_b2"),
    none,
    update("asset_p_a2"),
    runs(2),
  ],
  asset_any: [update("asset_p_ab3"), only(1)],
  asset_by_alias: [update("asset_p_alias"), only(1)],
  asset_by_silent_alias: [update("asset_p_alias_silent"), none],
  asset_by_name: [
    together("asset_by_uri"),
    update("asset_p_referred"),
    runs(1),
    update("asset_p_by_reference"),
    runs(2),
  ],
  asset_of_mapped: [update("asset_p_mapped"), runs(1)],
  asset_of_retried: [update("asset_p_retried"), only(1)],
  asset_of_failed: [update("asset_p_failed"), none],
  asset_of_nothing: [update("asset_p_nothing"), only(1)],
  asset_of_cleared: [
    update("asset_p_again", { runId: "u1" }),
    runs(1),
    { kind: "clear-update", dagId: "asset_p_again", runId: "u1" },
    runs(2),
  ],
  asset_paused: [
    { kind: "pause" },
    update("asset_p_paused"),
    { kind: "unpause" },
    none,
    update("asset_p_paused"),
    only(1),
  ],
  asset_busy: [
    { kind: "trigger", runId: "r1", conf: { seconds: 6 }, stuck: true },
    { kind: "until-state", runId: "r1", taskId: "takes_time", state: "running" },
    event("asset_busy", { extra: { n: 1 } }),
    event("asset_busy", { extra: { n: 2 } }),
    event("asset_busy", { extra: { n: 3 } }),
    runs(2),
    event("asset_busy", { extra: { n: 4 } }),
    runs(3),
  ],
  asset_or_time: [runs(2), update("asset_p_either"), runs(3)],
  asset_second: [together("asset_third"), update("asset_p_first"), runs(1), others("asset_third", 1)],
  asset_circle: [event("asset_round"), runs(4)],
  asset_made: [
    together("asset_made_next"),
    { kind: "materialize", asset: "asset_made" },
    runs(1),
    others("asset_made_next", 1),
  ],
  asset_of_multi: [update("asset_p_multi"), runs(1)],
  asset_keeps: [
    { kind: "trigger", runId: "r1" },
    { kind: "trigger", runId: "r2" },
  ],
  asset_from_outside: [event("asset_outside", { extra: { n: [1, null] } }), none, event("asset_outside_too"), runs(1)],
  asset_materialized: [
    together("asset_of_materialized"),
    { kind: "materialize", asset: "asset_materialized" },
    runs(1),
    others("asset_of_materialized", 1),
  ],
  asset_hourly: [
    together(
      "asset_daily_paris",
      "asset_unpartitioned",
      "asset_chained_months",
      "asset_fan_out",
      "asset_fan_out_exceeded",
    ),
    at("2024-03-10T10:42:15"),
    runs(1),
    others("asset_daily_paris", 1),
    others("asset_chained_months", 1),
    others("asset_fan_out", 7),
    at("2024-03-10T10:59:59"),
    runs(2),
    at("not a time"),
    event("asset_hours"),
    others("asset_daily_paris", 2),
    others("asset_chained_months", 2),
    others("asset_fan_out", 14),
    others("asset_unpartitioned", 1),
    only(2),
  ],
  asset_by_place: [
    together("asset_everywhere", "asset_somewhere", "asset_allowed_places", "asset_no_product"),
    places("eu", "us"),
    others("asset_everywhere", 1),
    others("asset_somewhere", 1),
    others("asset_allowed_places", 1),
    update("asset_p_other_places", { conf: { keys: ["us"] } }),
    runs(1),
    update("asset_p_other_places", { conf: { keys: ["eu", "us"] } }),
    runs(2),
    places("us"),
    runs(3),
  ],
  // Comes before the DAG it follows, which runs as soon as it may.
  asset_by_day: [together("asset_cron_partition"), others("asset_cron_partition", 2), runs(2)],
};

/** Nothing is done to other DAGs of assets for themselves, but for one without assets in its schedule. */
export function assetScenarioOf(dagId: string): Step[] | undefined {
  return ASSET_SCENARIOS[dagId] ?? (/^asset_(?!conflict$)/.test(dagId) ? [] : undefined);
}

/** Runs of the DAGs that update assets are numbered. */
const updatesOf = new Map<string, number>();

function nextRunId(dagId: string): string {
  const number = (updatesOf.get(dagId) ?? 0) + 1;
  updatesOf.set(dagId, number);
  return `u${number}`;
}

export interface Waiting {
  /** All runs of the DAG have ended. */
  idle(dagId: string): Promise<void>;
  finished(dagId: string, count: number, others: boolean): Promise<void>;
}

/** Does one of these things. */
export async function playAssetStep(client: Client, dagId: string, step: AssetStep, watch: Waiting): Promise<void> {
  switch (step.kind) {
    case "update": {
      const { runId = nextRunId(step.dagId), conf = {}, partitionKey } = step;
      await client.unpause(step.dagId);
      await client.call("POST", `/api/v2/dags/${step.dagId}/dagRuns`, {
        logical_date: null,
        conf,
        dag_run_id: runId,
        ...(partitionKey === undefined ? {} : { partition_key: partitionKey }),
      });
      return watch.idle(step.dagId);
    }
    case "clear-update":
      await client.call("POST", `${runPath(step.dagId, step.runId)}/clear`, { dry_run: false });
      return watch.idle(step.dagId);
    case "event":
      await client.call("POST", "/api/v2/assets/events", {
        asset_id: await assetId(client, step.asset),
        extra: step.extra ?? {},
        ...(step.partitionKey === undefined ? {} : { partition_key: step.partitionKey }),
      });
      return;
    case "materialize":
      await client.call("POST", `/api/v2/assets/${await assetId(client, step.asset)}/materialize`, {});
      return;
    case "with":
      for (const other of step.dagIds) await client.unpause(other);
      return;
    case "others":
      return watch.finished(step.dagId, step.count, false);
    case "pause":
    case "unpause":
      await client.call("PATCH", `/api/v2/dags/${dagId}`, { is_paused: step.kind === "pause" });
  }
}

async function assetId(client: Client, name: string): Promise<number> {
  const path = `/api/v2/assets?name_prefix_pattern=${name}&limit=100`;
  const { assets } = (await client.call("GET", path)) as { assets: { id: number; name: string }[] };
  const found = assets.find((asset) => asset.name === name);
  if (!found) throw new Error(`no asset ${name}`);
  return found.id;
}
