-- Assets: what tasks update and DAGs wait for. Names follow Airflow's models; what differs is said beside it.

create table asset (
  id bigint generated always as identity primary key,
  name text not null,
  uri text not null,
  "group" text not null default '',
  extra json not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  unique (name, uri)
);

-- Assets that some DAG names. Among them names and URIs are each unique: of two that conflict, the first stays active.
create table asset_active (
  name text not null unique,
  uri text not null unique,
  primary key (name, uri),
  foreign key (name, uri) references asset (name, uri) on delete cascade
);

create table asset_alias (
  id bigint generated always as identity primary key,
  name text not null unique,
  "group" text not null default ''
);

-- Assets that tasks have updated through the alias.
create table asset_alias_asset (
  alias_id bigint not null references asset_alias on delete cascade,
  asset_id bigint not null references asset on delete cascade,
  primary key (alias_id, asset_id)
);
create index asset_alias_asset_by_asset on asset_alias_asset (asset_id);

-- What a DAG's schedule names.
create table dag_schedule_asset_reference (
  asset_id bigint not null references asset on delete cascade,
  dag_id text not null references dag on delete cascade,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (asset_id, dag_id)
);
create index dag_schedule_asset_reference_by_dag on dag_schedule_asset_reference (dag_id);

create table dag_schedule_asset_alias_reference (
  alias_id bigint not null references asset_alias on delete cascade,
  dag_id text not null references dag on delete cascade,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (alias_id, dag_id)
);
create index dag_schedule_asset_alias_reference_by_dag on dag_schedule_asset_alias_reference (dag_id);

create table dag_schedule_asset_name_reference (
  name text not null,
  dag_id text not null references dag on delete cascade,
  created_at timestamptz not null default now(),
  primary key (name, dag_id)
);
create index dag_schedule_asset_name_reference_by_dag on dag_schedule_asset_name_reference (dag_id);

create table dag_schedule_asset_uri_reference (
  uri text not null,
  dag_id text not null references dag on delete cascade,
  created_at timestamptz not null default now(),
  primary key (uri, dag_id)
);
create index dag_schedule_asset_uri_reference_by_dag on dag_schedule_asset_uri_reference (dag_id);

create table task_outlet_asset_reference (
  asset_id bigint not null references asset on delete cascade,
  dag_id text not null references dag on delete cascade,
  task_id text not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (asset_id, dag_id, task_id)
);
create index task_outlet_asset_reference_by_dag on task_outlet_asset_reference (dag_id);

create table task_inlet_asset_reference (
  asset_id bigint not null references asset on delete cascade,
  dag_id text not null references dag on delete cascade,
  task_id text not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (asset_id, dag_id, task_id)
);
create index task_inlet_asset_reference_by_dag on task_inlet_asset_reference (dag_id);

-- Outlives its asset and what updated it.
create table asset_event (
  id bigint generated always as identity primary key,
  asset_id bigint not null,
  extra json not null default '{}',
  source_task_id text,
  source_dag_id text,
  source_run_id text,
  source_map_index integer default -1,
  timestamp timestamptz not null,
  partition_key text
);
create index asset_event_by_asset on asset_event (asset_id, timestamp);
create index asset_event_by_time on asset_event (timestamp);
create index asset_event_by_source on asset_event (source_dag_id, source_run_id);

create table asset_alias_asset_event (
  alias_id bigint not null references asset_alias on delete cascade,
  event_id bigint not null references asset_event on delete cascade,
  primary key (alias_id, event_id)
);
create index asset_alias_asset_event_by_event on asset_alias_asset_event (event_id);

-- Events that a run was made for.
create table dagrun_asset_event (
  dag_run_id bigint not null references dag_run on delete cascade,
  event_id bigint not null references asset_event on delete cascade,
  primary key (dag_run_id, event_id)
);
create index dagrun_asset_event_by_event on dagrun_asset_event (event_id);

-- Assets that were updated since the DAG's last run for them.
create table asset_dag_run_queue (
  asset_id bigint not null references asset on delete cascade,
  target_dag_id text not null references dag on delete cascade,
  created_at timestamptz not null, -- of the first event
  primary key (asset_id, target_dag_id)
);
create index asset_dag_run_queue_by_dag on asset_dag_run_queue (target_dag_id);

-- Runs of one partition: pending until its assets have what it needs.
create table asset_partition_dag_run (
  id bigint generated always as identity primary key,
  target_dag_id text not null references dag on delete cascade,
  created_dag_run_id bigint references dag_run on delete cascade,
  partition_key text not null,
  partition_date timestamptz,
  rollup_fingerprint json, -- the mappers of the DAG's assets then
  created_at timestamptz not null,
  updated_at timestamptz not null
);
create index asset_partition_dag_run_pending on asset_partition_dag_run (target_dag_id, partition_key)
  where created_dag_run_id is null;
create index asset_partition_dag_run_by_dag on asset_partition_dag_run (target_dag_id, created_at desc);
create index asset_partition_dag_run_by_run on asset_partition_dag_run (created_dag_run_id);

-- Which event counts for which partition.
create table partitioned_asset_key_log (
  id bigint generated always as identity primary key,
  asset_id bigint not null,
  asset_event_id bigint not null,
  asset_partition_dag_run_id bigint not null references asset_partition_dag_run on delete cascade,
  source_partition_key text not null,
  target_dag_id text not null,
  target_partition_key text not null,
  created_at timestamptz not null
);
create index partitioned_asset_key_log_by_run on partitioned_asset_key_log (asset_partition_dag_run_id);

-- Watchers as DAGs declare them. Airflow has a row only while the watcher is to run; here `trigger_id` says that it is.
create table asset_watcher (
  asset_id bigint not null references asset on delete cascade,
  dag_id text not null references dag on delete cascade, -- whose file declares it
  name text not null,
  classpath text not null,
  kwargs text not null,
  trigger_id bigint references trigger on delete set null,
  primary key (asset_id, dag_id, name)
);
create index asset_watcher_by_dag on asset_watcher (dag_id);
create index asset_watcher_by_trigger on asset_watcher (trigger_id) where trigger_id is not null;

create table asset_state_store (
  asset_id bigint not null references asset on delete cascade,
  key text not null,
  value json not null,
  updated_at timestamptz not null default now(),
  last_updated_by_kind text,
  last_updated_by_dag_id text,
  last_updated_by_run_id text,
  last_updated_by_task_id text,
  last_updated_by_map_index integer,
  primary key (asset_id, key)
);
