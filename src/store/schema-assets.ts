import type { Generated, GeneratedAlways } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";

/** The tables of migrations/0002_assets.sql. */
export interface AssetSchema {
  asset: AssetTable;
  asset_active: AssetActiveTable;
  asset_alias: AssetAliasTable;
  asset_alias_asset: AssetAliasAssetTable;
  dag_schedule_asset_reference: DagScheduleAssetReferenceTable;
  dag_schedule_asset_alias_reference: DagScheduleAssetAliasReferenceTable;
  dag_schedule_asset_name_reference: DagScheduleAssetNameReferenceTable;
  dag_schedule_asset_uri_reference: DagScheduleAssetUriReferenceTable;
  task_outlet_asset_reference: TaskOutletAssetReferenceTable;
  task_inlet_asset_reference: TaskAssetReferenceTable;
  asset_event: AssetEventTable;
  asset_alias_asset_event: AssetAliasAssetEventTable;
  dagrun_asset_event: DagrunAssetEventTable;
  asset_dag_run_queue: AssetDagRunQueueTable;
  asset_partition_dag_run: AssetPartitionDagRunTable;
  partitioned_asset_key_log: PartitionedAssetKeyLogTable;
  asset_watcher: AssetWatcherTable;
  asset_state_store: AssetStateStoreTable;
}

export interface AssetTable {
  id: GeneratedAlways<number>;
  name: string;
  uri: string;
  group: Generated<string>;
  extra: Generated<JsonText>;
  created_at: Generated<Instant>;
  updated_at: Generated<Instant>;
}

export interface AssetActiveTable {
  name: string;
  uri: string;
}

export interface AssetAliasTable {
  id: GeneratedAlways<number>;
  name: string;
  group: Generated<string>;
}

export interface AssetAliasAssetTable {
  alias_id: number;
  asset_id: number;
}

export interface DagScheduleAssetReferenceTable {
  asset_id: number;
  dag_id: string;
  allow_producer_teams: string[] | null;
  allow_global_producers: Generated<boolean>;
  created_at: Generated<Instant>;
  updated_at: Generated<Instant>;
}

export interface DagScheduleAssetAliasReferenceTable {
  alias_id: number;
  dag_id: string;
  created_at: Generated<Instant>;
  updated_at: Generated<Instant>;
}

export interface DagScheduleAssetNameReferenceTable {
  name: string;
  dag_id: string;
  created_at: Generated<Instant>;
}

export interface DagScheduleAssetUriReferenceTable {
  uri: string;
  dag_id: string;
  created_at: Generated<Instant>;
}

export interface TaskOutletAssetReferenceTable extends TaskAssetReferenceTable {
  /** null: any. */
  allow_consumer_teams: string[] | null;
  allow_global_consumers: Generated<boolean>;
}

/** Of both `task_outlet_asset_reference` and `task_inlet_asset_reference`. */
export interface TaskAssetReferenceTable {
  asset_id: number;
  dag_id: string;
  task_id: string;
  created_at: Generated<Instant>;
  updated_at: Generated<Instant>;
}

export interface AssetEventTable {
  id: GeneratedAlways<number>;
  asset_id: number;
  extra: Generated<JsonText>;
  source_task_id: string | null;
  source_dag_id: string | null;
  source_run_id: string | null;
  source_map_index: Generated<number | null>;
  timestamp: Instant;
  partition_key: string | null;
}

export interface AssetAliasAssetEventTable {
  alias_id: number;
  event_id: number;
}

export interface DagrunAssetEventTable {
  dag_run_id: number;
  event_id: number;
}

export interface AssetDagRunQueueTable {
  asset_id: number;
  target_dag_id: string;
  created_at: Instant;
}

export interface AssetPartitionDagRunTable {
  id: GeneratedAlways<number>;
  target_dag_id: string;
  created_dag_run_id: number | null;
  partition_key: string;
  partition_date: Instant | null;
  rollup_fingerprint: JsonText | null;
  created_at: Instant;
  updated_at: Instant;
}

export interface PartitionedAssetKeyLogTable {
  id: GeneratedAlways<number>;
  asset_id: number;
  asset_event_id: number;
  asset_partition_dag_run_id: number;
  source_partition_key: string;
  target_dag_id: string;
  target_partition_key: string;
  created_at: Instant;
}

export interface AssetWatcherTable {
  asset_id: number;
  dag_id: string;
  name: string;
  classpath: string;
  kwargs: string;
  trigger_id: number | null;
}

export interface AssetStateStoreTable {
  asset_id: number;
  key: string;
  value: JsonText;
  updated_at: Generated<Instant>;
  last_updated_by_kind: string | null;
  last_updated_by_dag_id: string | null;
  last_updated_by_run_id: string | null;
  last_updated_by_task_id: string | null;
  last_updated_by_map_index: number | null;
}
