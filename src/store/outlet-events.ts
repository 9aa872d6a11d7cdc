import { sql, type Transaction } from "kysely";
import { toJsonText } from "../kit/json-text.ts";
import type { Instant } from "../kit/instant.ts";
import { keyText, type AssetKey } from "../domain/asset/asset-condition.ts";
import type { OutletReport } from "../domain/asset/outlet-events.ts";
import {
  activeAssets,
  createAsset,
  registerAssetChange,
  type AssetChange,
  type ChangeContext,
  type EventSource,
} from "./asset-changes.ts";
import { updateActiveAssets } from "./assets.ts";
import type { Database } from "./database.ts";
import { finishTaskInstance, type Finish } from "./execution-settle.ts";
import type { SettledRow } from "./execution-settled.ts";
import type { Schema } from "./schema.ts";
import { poolOf } from "./transaction-pool.ts";
import { inTransaction } from "./transaction.ts";

/** A task succeeded, and DAGs may have what they waited for. */
export interface SettledWithEvents {
  settled: SettledRow;
  /** DAGs that wait for what it updated. */
  dagIds: string[];
  /** Outlets it declares that are not active: nothing is told of them. */
  inactive: string[];
}

/** Ends a try with success, together with the events of its outlets. null when it was not running. */
export async function succeedWithOutlets(
  db: Database,
  finish: Finish,
  report: OutletReport,
  context: ChangeContext,
): Promise<SettledWithEvents | null> {
  return inTransaction(db, async (trx) => {
    const settled = await finishTaskInstance(poolOf(trx), finish);
    if (!settled) return null;
    const events = await registerOutletEvents(trx, settled, report, context);
    return { settled, ...events };
  });
}

/** Airflow's `TaskInstance.register_asset_changes_in_db`. */
async function registerOutletEvents(
  trx: Transaction<Schema>,
  settled: SettledRow,
  report: OutletReport,
  context: ChangeContext,
): Promise<{ dagIds: string[]; inactive: string[] }> {
  const run = await runOf(trx, settled.dag_run_id);
  const source: EventSource = {
    dagId: run.dag_id,
    runId: run.run_id,
    taskId: settled.task_id,
    mapIndex: settled.map_index,
  };
  const ofRun = { aliases: [], partitionKey: run.partition_key, partitionDate: run.partition_date, source };
  const dagIds = new Set<string>();
  const register = async (change: AssetChange): Promise<boolean> => {
    const registered = await registerAssetChange(trx, change, context);
    for (const dagId of registered?.dagIds ?? []) dagIds.add(dagId);
    return registered !== null;
  };

  const { updated, inactive } = await outletsOf(trx, report);
  for (const asset of updated) {
    const events = report.events.get(keyText(asset));
    if (!events) await register({ ...ofRun, asset, extra: toJsonText({}) });
    for (const { extra, partitionKey: own } of events ?? []) {
      const partitionKey = own ?? run.partition_key;
      // The date of the run says nothing about another partition.
      const partitionDate = partitionKey === run.partition_key ? run.partition_date : null;
      await register({ ...ofRun, asset, extra, partitionKey, partitionDate });
    }
  }
  for (const { asset, assetExtra, extra, aliases } of report.aliasEvents) {
    const change = { ...ofRun, asset, extra, aliases };
    if (await register(change)) continue;
    await createAsset(trx, { ...asset, group: "asset", extra: assetExtra }, context.now);
    await register(change);
  }
  // What was only known by an alias until now is referred to by it.
  const ofAliases = report.aliasEvents.map(({ asset }) => asset);
  if (ofAliases.length > 0) {
    const active = new Set((await activeAssets(trx, { keys: ofAliases, names: [], uris: [] })).map(keyText));
    if (!ofAliases.every((asset) => active.has(keyText(asset)))) await updateActiveAssets(trx, context.now);
  }
  return { dagIds: [...dagIds], inactive };
}

/** The declared outlets that are active, each as often as it is declared by key, name and URI. */
async function outletsOf(
  trx: Transaction<Schema>,
  report: OutletReport,
): Promise<{ updated: AssetKey[]; inactive: string[] }> {
  const { assets: keys, names, uris } = report;
  if (keys.length + names.length + uris.length === 0) return { updated: [], inactive: [] };
  const active = await activeAssets(trx, { keys, names, uris });
  const found = [
    ...keys.map((key) => [keyText(key), active.find((asset) => keyText(asset) === keyText(key))] as const),
    ...names.map((name) => [name, active.find((asset) => asset.name === name)] as const),
    ...uris.map((uri) => [uri, active.find((asset) => asset.uri === uri)] as const),
  ];
  return {
    updated: found.map(([, asset]) => asset).filter((asset) => asset !== undefined),
    inactive: found.filter(([, asset]) => asset === undefined).map(([named]) => named),
  };
}

interface RunRow {
  dag_id: string;
  run_id: string;
  partition_key: string | null;
  partition_date: Instant | null;
}

async function runOf(trx: Transaction<Schema>, dagRunId: number): Promise<RunRow> {
  const { rows } = await sql<RunRow>`
    select dag_id, run_id, partition_key, partition_date from dag_run where id = ${dagRunId}`.execute(trx);
  const [row] = rows;
  if (!row) throw new Error(`the run ${dagRunId} of a task that ends is gone`);
  return row;
}
