import { sql, type Transaction } from "kysely";
import type { Instant } from "../kit/instant.ts";
import { MappingError } from "../domain/partition/mapping-error.ts";
import { partitionedSchedule, type PartitionedSchedule } from "../domain/partition/partitioned-schedule.ts";
import type { AssetChange, ChangeContext } from "./asset-changes.ts";
import type { Schema } from "./schema.ts";

/** `[scheduler] partition_mapper_max_downstream_keys`. */
const MAX_DOWNSTREAM_KEYS = 1000;

interface PartitionedChange extends AssetChange {
  eventId: number;
  assetId: number;
  targets: readonly { dag_id: string; version_id: string | null }[];
}

/**
 * Notes an event for the partitions of the DAGs that wait for it (`AssetManager._queue_partitioned_dags`). What cannot be mapped
 * is left out, and the audit log says why. Returns the DAGs that got something.
 */
export async function queuePartitions(
  trx: Transaction<Schema>,
  change: PartitionedChange,
  context: ChangeContext,
): Promise<string[]> {
  const { targets, partitionKey, source } = change;
  if (targets.length === 0) return [];
  if (!partitionKey) {
    const none = (value: string | null | undefined) => value ?? "None";
    await note(
      trx,
      change,
      "missing partition key",
      "Listening Dags are partition-aware but the run has no partition key " +
        `(listening_dags=[${targets.map(({ dag_id }) => `'${dag_id}'`).join(", ")}], asset_id=${change.assetId}, ` +
        `run_id=${none(source?.runId)}, dag_id=${none(source?.dagId)}, task_id=${none(source?.taskId)})`,
    );
    return [];
  }
  // Two events at once must not make two pending runs of one partition.
  await sql`select from asset where id = ${change.assetId} for no key update`.execute(trx);
  const queued: string[] = [];
  for (const { dag_id, version_id } of targets) {
    const schedule = version_id === null ? null : partitionedSchedule((await context.graph(version_id)).timetable);
    if (!schedule) continue;
    const keys = await mapped(trx, change, dag_id, schedule);
    if (keys === null) continue;
    for (const key of keys) await logKey(trx, change, { dagId: dag_id, key, schedule }, context.now);
    queued.push(dag_id);
  }
  return queued;
}

/** The partitions an event counts for; null when it does for none. */
async function mapped(
  trx: Transaction<Schema>,
  change: PartitionedChange,
  dagId: string,
  schedule: PartitionedSchedule,
): Promise<readonly string[] | null> {
  const { asset } = change;
  const partitionKey = change.partitionKey as string;
  const mapper = schedule.mapperOf(asset);
  let keys: readonly string[];
  try {
    const made = mapper.toDownstream(partitionKey);
    keys = typeof made === "string" ? [made] : made;
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const name = error instanceof MappingError ? error.pythonName : error.name;
    await note(
      trx,
      change,
      "failed to map partition_key",
      `Could not map partition_key '${partitionKey}' for asset (name='${asset.name}', uri='${asset.uri}') in target Dag ` +
        `'${dagId}'. This likely indicates that the partition mapper in the target Dag is misconfigured or does not ` +
        `support this partition key.\n${name}: ${error.message}`,
    );
    return null;
  }
  const most = mapper.maxDownstreamKeys ?? MAX_DOWNSTREAM_KEYS;
  if (keys.length <= most) return keys;
  const source =
    mapper.maxDownstreamKeys === null
      ? `[scheduler] partition_mapper_max_downstream_keys=${most}`
      : `max_downstream_keys=${most}`;
  await note(
    trx,
    change,
    "partition fan-out exceeded",
    `Partition mapper for asset (name='${asset.name}', uri='${asset.uri}') in target Dag '${dagId}' produced ` +
      `${keys.length} downstream keys from partition_key='${partitionKey}', exceeding ${source}. ` +
      "No Dag runs were queued for this event.",
  );
  return null;
}

async function note(trx: Transaction<Schema>, change: AssetChange, event: string, extra: string): Promise<void> {
  const { source } = change;
  await sql`
    insert into log (event, extra, dag_id, task_id, run_id, map_index)
    values (${event}, ${extra}, ${source?.dagId ?? null}, ${source?.taskId ?? null}, ${source?.runId ?? null},
      ${source?.mapIndex ?? null})`.execute(trx);
}

/**
 * Of a pending run's date: the first that an event brings is taken, two that differ cancel each other out, as the assets do not
 * agree (`_get_or_create_apdr`).
 */
async function logKey(
  trx: Transaction<Schema>,
  change: PartitionedChange,
  target: { dagId: string; key: string; schedule: PartitionedSchedule },
  now: Instant,
): Promise<void> {
  const { dagId, key, schedule } = target;
  const date = schedule.mapperOf(change.asset).carriesPartitionDate ? change.partitionDate : null;
  await sql`
    with latest as (
      select id, created_dag_run_id, partition_date from asset_partition_dag_run
      where partition_key = ${key} and target_dag_id = ${dagId}
      order by id desc limit 1
    ), pending as (
      select id, partition_date from latest where created_dag_run_id is null
    ), dated as (
      update asset_partition_dag_run as apdr
      set partition_date = case when pending.partition_date is null then ${date}::timestamptz end,
        updated_at = ${now}::timestamptz
      from pending
      where apdr.id = pending.id and ${date}::timestamptz is not null and pending.partition_date is distinct from ${date}::timestamptz
    ), made as (
      insert into asset_partition_dag_run (target_dag_id, partition_key, partition_date, rollup_fingerprint, created_at,
        updated_at)
      select ${dagId}, ${key}, ${date}::timestamptz, ${schedule.fingerprint}::json, ${now}::timestamptz, ${now}::timestamptz
      where not exists (select from pending)
      returning id
    )
    insert into partitioned_asset_key_log (asset_id, asset_event_id, asset_partition_dag_run_id, source_partition_key,
      target_dag_id, target_partition_key, created_at)
    select ${change.assetId}, ${change.eventId}, id, ${change.partitionKey}, ${dagId}, ${key}, ${now}::timestamptz
    from (select id from pending union all select id from made) as apdr`.execute(trx);
}
