-- Backfills: runs of a DAG's past, asked for by a user. Names follow Airflow's models.

create table backfill (
  id bigint generated always as identity primary key,
  dag_id text not null references dag on delete cascade,
  from_date timestamptz not null,
  to_date timestamptz not null,
  dag_run_conf json,
  is_paused boolean not null default false, -- none of its queued runs is started
  reprocess_behavior text not null check (reprocess_behavior in ('failed', 'completed', 'none')),
  max_active_runs integer not null, -- of this backfill; the DAG's own limit does not count here
  created_at timestamptz not null default now(),
  completed_at timestamptz, -- also when it was cancelled
  updated_at timestamptz not null default now(),
  triggering_user_name text
);
-- A DAG has one active backfill at most.
create unique index backfill_active on backfill (dag_id) where completed_at is null;
create index backfill_by_dag on backfill (dag_id, id);

-- What became of each time the backfill covers, in the order it works through them.
create table backfill_dag_run (
  id bigint generated always as identity primary key,
  backfill_id bigint not null references backfill on delete cascade,
  dag_run_id bigint references dag_run on delete set null,
  exception_reason text check (exception_reason in ('in flight', 'already exists', 'unknown')), -- why there is no run
  logical_date timestamptz,
  partition_key text,
  sort_ordinal integer not null check (sort_ordinal >= 1),
  unique (backfill_id, dag_run_id)
);
create index backfill_dag_run_run on backfill_dag_run (dag_run_id) where dag_run_id is not null;

alter table dag_run add constraint dag_run_backfill foreign key (backfill_id) references backfill on delete set null;
create index dag_run_of_backfill on dag_run (backfill_id, state) where backfill_id is not null;

-- Why a user's own timetable gave no next run: its traceback, or that it never answered.
alter table dag add column timetable_error text;
