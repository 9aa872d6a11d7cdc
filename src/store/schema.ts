import type { Generated, GeneratedAlways } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import type { AgentSchema } from "./schema-agents.ts";
import type { AssetSchema } from "./schema-assets.ts";
import type { BackfillSchema } from "./schema-backfills.ts";
import type { CallbackSchema } from "./schema-callbacks.ts";
import type { TeamSchema } from "./schema-teams.ts";
import type { UserSchema } from "./schema-users.ts";
import type { DagRunState, DagRunType, TaskInstanceState } from "../domain/states.ts";

/** The tables of migrations/, as Kysely sees them. `json` columns are text: see kit/json-text.ts. */
export interface Schema extends AgentSchema, AssetSchema, BackfillSchema, CallbackSchema, TeamSchema, UserSchema {
  dag: DagTable;
  dag_tag: DagTagTable;
  dag_version: DagVersionTable;
  import_error: ImportErrorTable;
  dag_warning: DagWarningTable;
  dag_favorite: DagFavoriteTable;
  dag_run: DagRunTable;
  task_instance: TaskInstanceTable;
  task_instance_history: TaskInstanceHistoryTable;
  rendered_task_instance_fields: RenderedTaskInstanceFieldsTable;
  task_map: TaskMapTable;
  task_reschedule: TaskRescheduleTable;
  xcom: XcomTable;
  trigger: TriggerTable;
  hitl_detail: HitlDetailTable;
  task_state_store: TaskStateStoreTable;
  pool: PoolTable;
  variable: VariableTable;
  connection: ConnectionTable;
  log: LogTable;
  job: JobTable;
  revoked_token: RevokedTokenTable;
}

export interface DagTable {
  dag_id: string;
  dag_display_name: string | null;
  is_paused: Generated<boolean>;
  is_stale: Generated<boolean>;
  bundle_name: Generated<string>;
  bundle_version: string | null;
  fileloc: string;
  relative_fileloc: string;
  owners: string | null;
  description: string | null;
  timetable_type: Generated<string>;
  timetable_summary: string | null;
  timetable_description: string | null;
  timetable_partitioned: Generated<boolean>;
  timetable_periodic: Generated<boolean>;
  asset_expression: JsonText | null;
  max_active_tasks: number;
  max_active_runs: number | null;
  max_consecutive_failed_dag_runs: Generated<number>;
  has_task_concurrency_limits: Generated<boolean>;
  has_import_errors: Generated<boolean>;
  fail_fast: Generated<boolean>;
  allowed_run_types: JsonText | null;
  exceeds_max_non_backfill: Generated<boolean>;
  next_dagrun: Instant | null;
  next_dagrun_data_interval_start: Instant | null;
  next_dagrun_data_interval_end: Instant | null;
  next_dagrun_create_after: Instant | null;
  timetable_error: Generated<string | null>;
  current_version_id: string | null;
  last_parsed_time: Instant | null;
  last_parse_duration: number | null;
  last_expired: Instant | null;
}

export interface DagTagTable {
  dag_id: string;
  name: string;
}

export interface DagVersionTable {
  id: string;
  dag_id: string;
  version_number: number;
  bundle_name: Generated<string>;
  bundle_version: string | null;
  dag_hash: string;
  archive_digest: string;
  dag_rel_path: string;
  environment: Generated<string>;
  serialized: JsonText;
  source_code: string;
  created_at: Generated<Instant>;
  last_updated: Generated<Instant>;
}

export interface ImportErrorTable {
  id: GeneratedAlways<number>;
  timestamp: Instant;
  filename: string;
  bundle_name: Generated<string>;
  stacktrace: string;
}

export interface DagWarningTable {
  dag_id: string;
  warning_type: string;
  message: string;
  timestamp: Generated<Instant>;
}

export interface DagFavoriteTable {
  user_id: string;
  dag_id: string;
}

export interface DagRunTable {
  id: GeneratedAlways<number>;
  dag_id: string;
  run_id: string;
  run_type: DagRunType;
  state: DagRunState;
  logical_date: Instant | null;
  data_interval_start: Instant | null;
  data_interval_end: Instant | null;
  run_after: Instant;
  queued_at: Instant | null;
  start_date: Instant | null;
  end_date: Instant | null;
  last_scheduling_decision: Instant | null;
  conf: JsonText | null;
  triggered_by: string | null;
  triggering_user_name: string | null;
  dag_version_id: string | null;
  bundle_version: string | null;
  backfill_id: number | null;
  clear_number: Generated<number>;
  note: string | null;
  note_user_id: string | null;
  partition_key: string | null;
  partition_date: Instant | null;
  context_carrier: JsonText | null;
  created_at: Generated<Instant>;
  updated_at: Generated<Instant>;
}

export interface TaskInstanceTable {
  id: string;
  dag_run_id: number;
  dag_id: string;
  task_id: string;
  map_index: Generated<number>;
  state: TaskInstanceState | null;
  try_number: Generated<number>;
  max_tries: Generated<number>;
  task_display_name: string | null;
  operator: string | null;
  custom_operator_name: string | null;
  pool: Generated<string>;
  pool_slots: Generated<number>;
  queue: string | null;
  executor: string | null;
  executor_config: JsonText | null;
  priority_weight: Generated<number>;
  dag_version_id: string | null;
  scheduled_dttm: Instant | null;
  queued_dttm: Instant | null;
  start_date: Instant | null;
  end_date: Instant | null;
  duration: number | null;
  last_heartbeat_at: Instant | null;
  hostname: Generated<string>;
  unixname: Generated<string>;
  pid: number | null;
  /** The agent session that has it. */
  worker_id: string | null;
  /** Queued: until when it is worker_id's to start. */
  lease_until: Instant | null;
  wake_at: Instant | null;
  retry_delay_override: number | null;
  retry_reason: string | null;
  trigger_id: number | null;
  trigger_timeout: Instant | null;
  next_method: string | null;
  next_kwargs: JsonText | null;
  rendered_map_index: string | null;
  note: string | null;
  note_user_id: string | null;
  context_carrier: JsonText | null;
  updated_at: Generated<Instant>;
}

export interface TaskInstanceHistoryTable {
  id: string;
  dag_run_id: number;
  dag_id: string;
  task_id: string;
  map_index: number;
  state: TaskInstanceState | null;
  try_number: number;
  max_tries: number;
  task_display_name: string | null;
  operator: string | null;
  custom_operator_name: string | null;
  pool: string;
  pool_slots: number;
  queue: string | null;
  executor: string | null;
  executor_config: JsonText | null;
  priority_weight: number | null;
  dag_version_id: string | null;
  scheduled_dttm: Instant | null;
  queued_dttm: Instant | null;
  start_date: Instant | null;
  end_date: Instant | null;
  duration: number | null;
  hostname: Generated<string>;
  unixname: Generated<string>;
  pid: number | null;
  worker_id: string | null;
  retry_reason: string | null;
  trigger_id: number | null;
  trigger_timeout: Instant | null;
  next_method: string | null;
  next_kwargs: JsonText | null;
  rendered_map_index: string | null;
  rendered_fields: JsonText | null;
  note: string | null;
  note_user_id: string | null;
}

export interface RenderedTaskInstanceFieldsTable {
  dag_run_id: number;
  task_id: string;
  map_index: Generated<number>;
  rendered_fields: JsonText;
}

export interface TaskMapTable {
  dag_run_id: number;
  task_id: string;
  map_index: Generated<number>;
  length: number;
  keys: JsonText | null;
}

export interface TaskRescheduleTable {
  id: GeneratedAlways<number>;
  ti_id: string;
  dag_run_id: number;
  start_date: Instant;
  end_date: Instant;
  duration: number;
  reschedule_date: Instant;
}

export interface XcomTable {
  dag_run_id: number;
  task_id: string;
  map_index: Generated<number>;
  key: string;
  dag_id: string;
  run_id: string;
  value: JsonText | null;
  dag_result: Generated<boolean>;
  timestamp: Generated<Instant>;
}

export interface TriggerTable {
  id: GeneratedAlways<number>;
  classpath: string;
  kwargs: string;
  queue: string | null;
  created_date: Generated<Instant>;
  triggerer_id: number | null;
}

export interface HitlDetailTable {
  ti_id: string;
  options: JsonText;
  subject: string;
  body: string | null;
  defaults: JsonText | null;
  multiple: Generated<boolean>;
  params: Generated<JsonText>;
  assignees: JsonText | null;
  created_at: Generated<Instant>;
  responded_at: Instant | null;
  responded_by: JsonText | null;
  chosen_options: JsonText | null;
  params_input: Generated<JsonText>;
}

export interface TaskStateStoreTable {
  ti_dag_run_id: number;
  task_id: string;
  map_index: Generated<number>;
  key: string;
  value: JsonText | null;
  expires_at: Instant | null;
  updated_at: Generated<Instant>;
}

export interface PoolTable {
  id: GeneratedAlways<number>;
  pool: string;
  slots: number;
  description: string | null;
  include_deferred: Generated<boolean>;
  team_name: string | null;
}

export interface VariableTable {
  id: GeneratedAlways<number>;
  key: string;
  val: string;
  description: string | null;
  is_encrypted: Generated<boolean>;
  team_name: string | null;
}

export interface ConnectionTable {
  id: GeneratedAlways<number>;
  conn_id: string;
  conn_type: string;
  description: string | null;
  host: string | null;
  schema: string | null;
  login: string | null;
  password: string | null;
  port: number | null;
  extra: string | null;
  is_encrypted: Generated<boolean>;
  is_extra_encrypted: Generated<boolean>;
  team_name: string | null;
}

export interface LogTable {
  id: GeneratedAlways<number>;
  dttm: Generated<Instant>;
  dag_id: string | null;
  task_id: string | null;
  map_index: number | null;
  event: string;
  logical_date: Instant | null;
  run_id: string | null;
  owner: string | null;
  owner_display_name: string | null;
  extra: string | null;
  try_number: number | null;
}

export interface JobTable {
  id: GeneratedAlways<number>;
  dag_id: string | null;
  state: string;
  job_type: string;
  start_date: Generated<Instant>;
  end_date: Instant | null;
  latest_heartbeat: Generated<Instant>;
  executor_class: string | null;
  hostname: string;
  unixname: string;
}

export interface RevokedTokenTable {
  jti: string;
  exp: Instant;
}
