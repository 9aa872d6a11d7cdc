-- Airflow's multi-team mode: who owns the DAGs of a bundle, and what of pools, variables and connections. Users have teams.

create table team (
  name text primary key
);

create table dag_bundle_team (
  dag_bundle_name text primary key,
  team_name text not null references team (name) on delete cascade
);
create index dag_bundle_team_team_name on dag_bundle_team (team_name);

alter table users add column teams text[] not null default '{}';

insert into team (name)
select team_name from variable where team_name is not null
union select team_name from connection where team_name is not null
union select team_name from pool where team_name is not null;

alter table variable add foreign key (team_name) references team (name) on delete set null;
alter table connection add foreign key (team_name) references team (name) on delete set null;
alter table pool add foreign key (team_name) references team (name) on delete set null;

-- Whose updates a schedule listens to beside its own team's, and who may hear of what a task updates (AssetAccessControl).
alter table dag_schedule_asset_reference
  add column allow_producer_teams text[],
  add column allow_global_producers boolean not null default true;
alter table task_outlet_asset_reference
  add column allow_consumer_teams text[], -- null: any
  add column allow_global_consumers boolean not null default true;
