-- Leoflow's tables. Names follow Airflow's models; what differs is said beside it.
-- Times are timestamptz with microseconds. JSON that user code made is `json`, kept as it was written.

-- DAGs and their versions ---------------------------------------------------------------------------------------------

create table dag (
  dag_id text primary key,
  dag_display_name text,
  is_paused boolean not null default false,
  is_stale boolean not null default false, -- its file is gone, or no longer defines it
  bundle_name text not null default 'dags-folder',
  bundle_version text,
  fileloc text not null, -- absolute path in the workspace
  relative_fileloc text not null, -- path below the workspace
  owners text,
  description text,
  timetable_type text not null default '',
  timetable_summary text,
  timetable_description text,
  timetable_partitioned boolean not null default false,
  timetable_periodic boolean not null default false,
  asset_expression json,
  max_active_tasks integer not null,
  max_active_runs integer,
  max_consecutive_failed_dag_runs integer not null default 0,
  has_task_concurrency_limits boolean not null default false,
  has_import_errors boolean not null default false,
  fail_fast boolean not null default false,
  allowed_run_types json,
  exceeds_max_non_backfill boolean not null default false, -- max_active_runs is reached: no scheduled run is made
  next_dagrun timestamptz, -- logical date of the next scheduled run
  next_dagrun_data_interval_start timestamptz,
  next_dagrun_data_interval_end timestamptz,
  next_dagrun_create_after timestamptz, -- when it is to be made
  current_version_id uuid, -- new runs use this version
  last_parsed_time timestamptz,
  last_parse_duration double precision, -- seconds
  last_expired timestamptz
);
create index dag_next_run on dag (next_dagrun_create_after) where not is_paused and not is_stale;
create index dag_file on dag (relative_fileloc);

create table dag_tag (
  dag_id text not null references dag on delete cascade,
  name text not null,
  primary key (dag_id, name)
);

-- Immutable: a run finishes on the version it started with.
create table dag_version (
  id uuid primary key,
  dag_id text not null references dag on delete cascade,
  version_number integer not null,
  bundle_name text not null default 'dags-folder',
  bundle_version text,
  dag_hash text not null, -- Airflow's hash of the serialized DAG
  archive_digest text not null, -- content address of the files the DAG was imported from (~/.leoflow/versions/<digest>)
  dag_rel_path text not null, -- the DAG's file below the archive
  environment text not null default 'default', -- which venv runs it
  serialized json not null, -- Airflow's serialized DAG, format 3, as Python wrote it
  source_code text not null,
  created_at timestamptz not null default now(),
  last_updated timestamptz not null default now(),
  unique (dag_id, version_number)
);
create index dag_version_identity on dag_version (dag_id, dag_hash, archive_digest);

create table import_error (
  id bigint generated always as identity primary key,
  timestamp timestamptz not null,
  filename text not null, -- path below the workspace
  bundle_name text not null default 'dags-folder',
  stacktrace text not null,
  unique (bundle_name, filename)
);

create table dag_warning (
  dag_id text not null references dag on delete cascade,
  warning_type text not null,
  message text not null,
  timestamp timestamptz not null default now(),
  primary key (dag_id, warning_type)
);

create table dag_favorite (
  user_id text not null,
  dag_id text not null references dag on delete cascade,
  primary key (user_id, dag_id)
);

-- Runs ------------------------------------------------------------------------------------------------------------------

create table dag_run (
  id bigint generated always as identity primary key,
  dag_id text not null references dag on delete cascade,
  run_id text not null,
  run_type text not null check (run_type in ('backfill', 'scheduled', 'manual', 'operator_triggered', 'asset_triggered', 'asset_materialization')),
  state text not null check (state in ('queued', 'running', 'success', 'failed')),
  logical_date timestamptz,
  data_interval_start timestamptz,
  data_interval_end timestamptz,
  run_after timestamptz not null,
  queued_at timestamptz,
  start_date timestamptz,
  end_date timestamptz,
  last_scheduling_decision timestamptz,
  conf json,
  triggered_by text,
  triggering_user_name text,
  dag_version_id uuid references dag_version, -- the version its tasks run on
  bundle_version text,
  backfill_id bigint,
  clear_number integer not null default 0,
  note text,
  note_user_id text,
  partition_key text,
  partition_date timestamptz,
  context_carrier json,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  unique (dag_id, run_id),
  unique (dag_id, logical_date),
  check (state in ('queued', 'running') or end_date is not null)
);
create index dag_run_recent on dag_run (dag_id, run_after desc, id desc);
create index dag_run_by_time on dag_run (run_after);
create index dag_run_live on dag_run (dag_id, state) where state in ('queued', 'running');

-- Task instances --------------------------------------------------------------------------------------------------------
-- `id` names one try: a retry or a clear gives the row a new id and keeps the old one in task_instance_history,
-- so a process that still runs for the old id can write nothing.

create table task_instance (
  id uuid primary key,
  dag_run_id bigint not null references dag_run on delete cascade,
  dag_id text not null,
  task_id text not null,
  map_index integer not null default -1,
  state text check (state in ('removed', 'scheduled', 'queued', 'running', 'success', 'restarting', 'failed', 'up_for_retry',
    'up_for_reschedule', 'upstream_failed', 'skipped', 'deferred', 'awaiting_input')),
  try_number integer not null default 0, -- counts up when it is scheduled; 0 until then
  max_tries integer not null default 0,
  task_display_name text,
  operator text,
  custom_operator_name text,
  pool text not null default 'default_pool',
  pool_slots integer not null default 1,
  queue text,
  executor text,
  executor_config json,
  priority_weight integer not null default 1, -- the total, by the weight rule
  dag_version_id uuid references dag_version,
  scheduled_dttm timestamptz,
  queued_dttm timestamptz,
  start_date timestamptz,
  end_date timestamptz,
  duration double precision, -- seconds
  last_heartbeat_at timestamptz,
  hostname text not null default '',
  unixname text not null default '',
  pid integer,
  worker_id text, -- which agent holds it
  wake_at timestamptz, -- up_for_retry, up_for_reschedule, deferred, awaiting_input: when it is due again or times out
  retry_delay_override double precision,
  retry_reason text,
  trigger_id bigint,
  trigger_timeout timestamptz,
  next_method text,
  next_kwargs json,
  rendered_map_index text,
  note text,
  note_user_id text,
  context_carrier json,
  updated_at timestamptz not null default now(),
  unique (dag_run_id, task_id, map_index)
);
-- The live rows: what the scheduler and the reapers look at, however long the history is.
create index task_instance_live on task_instance (state, dag_id)
  where state in ('scheduled', 'queued', 'running', 'restarting', 'deferred', 'awaiting_input');
create index task_instance_wake on task_instance (wake_at) where wake_at is not null;
create index task_instance_by_dag on task_instance (dag_id, task_id, start_date desc);
create index task_instance_trigger on task_instance (trigger_id) where trigger_id is not null;
create index task_instance_started on task_instance (start_date desc);

-- Earlier tries. Same columns as task_instance had when the try ended.
create table task_instance_history (
  id uuid primary key,
  dag_run_id bigint not null references dag_run on delete cascade,
  dag_id text not null,
  task_id text not null,
  map_index integer not null,
  state text,
  try_number integer not null,
  max_tries integer not null,
  task_display_name text,
  operator text,
  custom_operator_name text,
  pool text not null,
  pool_slots integer not null,
  queue text,
  executor text,
  executor_config json,
  priority_weight integer,
  dag_version_id uuid references dag_version,
  scheduled_dttm timestamptz,
  queued_dttm timestamptz,
  start_date timestamptz,
  end_date timestamptz,
  duration double precision,
  hostname text not null default '',
  unixname text not null default '',
  pid integer,
  retry_reason text,
  trigger_id bigint,
  trigger_timeout timestamptz,
  next_method text,
  next_kwargs json,
  rendered_map_index text,
  rendered_fields json,
  note text,
  note_user_id text,
  unique (dag_run_id, task_id, map_index, try_number)
);

create table rendered_task_instance_fields (
  dag_run_id bigint not null references dag_run on delete cascade,
  task_id text not null,
  map_index integer not null default -1,
  rendered_fields json not null,
  primary key (dag_run_id, task_id, map_index)
);

-- Length of what a task returned, for the mapped tasks behind it.
create table task_map (
  dag_run_id bigint not null references dag_run on delete cascade,
  task_id text not null,
  map_index integer not null default -1,
  length integer not null,
  keys json,
  primary key (dag_run_id, task_id, map_index)
);

create table task_reschedule (
  id bigint generated always as identity primary key,
  ti_id uuid not null,
  dag_run_id bigint not null references dag_run on delete cascade,
  start_date timestamptz not null,
  end_date timestamptz not null,
  duration integer not null, -- seconds
  reschedule_date timestamptz not null
);
create index task_reschedule_ti on task_reschedule (ti_id);

create table xcom (
  dag_run_id bigint not null references dag_run on delete cascade,
  task_id text not null,
  map_index integer not null default -1,
  key text not null,
  dag_id text not null,
  run_id text not null,
  value json, -- as the SDK serialized it
  dag_result boolean not null default false,
  timestamp timestamptz not null default clock_timestamp(),
  primary key (dag_run_id, task_id, map_index, key)
);
create index xcom_by_key on xcom (dag_id, task_id, key);

create table trigger (
  id bigint generated always as identity primary key,
  classpath text not null,
  kwargs text not null,
  queue text,
  created_date timestamptz not null default now(),
  triggerer_id bigint
);

create table hitl_detail (
  ti_id uuid primary key,
  options json not null,
  subject text not null,
  body text,
  defaults json,
  multiple boolean not null default false,
  params json not null default '{}',
  assignees json,
  created_at timestamptz not null default now(),
  responded_at timestamptz,
  responded_by json,
  chosen_options json,
  params_input json not null default '{}'
);

create table task_state_store (
  ti_dag_run_id bigint not null references dag_run on delete cascade,
  task_id text not null,
  map_index integer not null default -1,
  key text not null,
  value json,
  expires_at timestamptz,
  updated_at timestamptz not null default now(),
  primary key (ti_dag_run_id, task_id, map_index, key)
);

-- What users keep -------------------------------------------------------------------------------------------------------

create table pool (
  id bigint generated always as identity primary key,
  pool text not null unique,
  slots integer not null, -- -1: no limit
  description text,
  include_deferred boolean not null default false,
  team_name text
);
insert into pool (pool, slots, description) values ('default_pool', 128, 'Default pool');

-- `val`, `password` and `extra` are Fernet tokens under the install's fernet_key where is_encrypted says so.
create table variable (
  id bigint generated always as identity primary key,
  key text not null unique,
  val text not null,
  description text,
  is_encrypted boolean not null default true,
  team_name text
);

create table connection (
  id bigint generated always as identity primary key,
  conn_id text not null unique,
  conn_type text not null,
  description text,
  host text,
  schema text,
  login text,
  password text,
  port integer,
  extra text,
  is_encrypted boolean not null default false,
  is_extra_encrypted boolean not null default false,
  team_name text
);

-- Who did what, who runs, who is logged out -----------------------------------------------------------------------------

create table log (
  id bigint generated always as identity primary key,
  dttm timestamptz not null default clock_timestamp(),
  dag_id text,
  task_id text,
  map_index integer,
  event text not null,
  logical_date timestamptz,
  run_id text,
  owner text,
  owner_display_name text,
  extra text,
  try_number integer
);
create index log_by_dag on log (dag_id, dttm desc);
create index log_by_time on log (dttm desc);

create table job (
  id bigint generated always as identity primary key,
  dag_id text,
  state text not null,
  job_type text not null,
  start_date timestamptz not null default now(),
  end_date timestamptz,
  latest_heartbeat timestamptz not null default now(),
  executor_class text,
  hostname text not null,
  unixname text not null
);
create index job_alive on job (job_type, latest_heartbeat desc);

create table revoked_token (
  jti text primary key,
  exp timestamptz not null
);
