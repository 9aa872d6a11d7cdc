-- Callbacks that run outside of tasks, deadlines of runs, and what people were asked in earlier tries.

-- `dag_processor`: what DAGs and lost tasks have called, in a process with the DAG's file; gone once it has run.
-- `executor` and `triggerer`: what a missed deadline calls, in a process of its own or as a trigger.
create table callback (
  id uuid primary key,
  type text not null check (type in ('dag_processor', 'executor', 'triggerer')),
  state text not null check (state in ('pending', 'queued', 'running', 'success', 'failed')), -- queued: its trigger is to be run
  dag_run_id bigint not null references dag_run on delete cascade,
  dag_version_id uuid not null references dag_version,
  data json not null,
  output text, -- what it returned, or why it failed
  priority_weight integer not null default 1,
  attempts integer not null default 0,
  trigger_id bigint,
  created_at timestamptz not null,
  updated_at timestamptz not null
);
create index callback_due on callback (created_at) where state in ('pending', 'queued', 'running');
create index callback_by_run on callback (dag_run_id);

-- What a DAG version promises.
create table deadline_alert (
  id uuid primary key,
  dag_version_id uuid not null references dag_version on delete cascade,
  position integer not null, -- among those of the version
  name text,
  description text,
  reference json not null,
  interval json not null,
  callback_def json not null,
  created_at timestamptz not null
);
create index deadline_alert_by_version on deadline_alert (dag_version_id);

insert into deadline_alert (id, dag_version_id, position, name, reference, interval, callback_def, created_at)
select gen_random_uuid(), v.id, alert.position, alert.value->>'name', alert.value->'reference', alert.value->'interval',
  alert.value->'callback', v.created_at
from dag_version v cross join lateral json_array_elements(case when json_typeof(v.serialized->'dag'->'deadline') = 'array'
  then v.serialized->'dag'->'deadline' else '[]'::json end) with ordinality as alert(value, position);

create table deadline (
  id uuid primary key,
  dag_run_id bigint not null references dag_run on delete cascade,
  deadline_alert_id uuid references deadline_alert on delete set null,
  callback_id uuid references callback on delete set null, -- made when it is missed
  deadline_time timestamptz not null,
  unresolved boolean not null default false, -- deadline_time lacks what only a Variable or Python knows
  missed boolean not null default false,
  created_at timestamptz not null,
  last_updated_at timestamptz not null
);
create index deadline_due on deadline (deadline_time) where not missed and not unresolved;
create index deadline_unresolved on deadline (created_at) where unresolved;
create index deadline_by_run on deadline (dag_run_id);
create index deadline_by_callback on deadline (callback_id);
create index deadline_by_alert on deadline (deadline_alert_id);

create table hitl_detail_history (
  ti_id uuid primary key references task_instance_history on delete cascade,
  options json not null,
  subject text not null,
  body text,
  defaults json,
  multiple boolean not null default false,
  params json not null default '{}',
  assignees json,
  created_at timestamptz not null,
  responded_at timestamptz,
  responded_by json,
  chosen_options json,
  params_input json not null default '{}'
);
