-- Agents: programs on other machines that run the tasks of some queues.

create table agent_token (
  jti text primary key, -- of the JWT, which is kept nowhere
  name text not null unique,
  queues text[] not null check (cardinality(queues) > 0), -- their tasks are run by agents alone
  created_at timestamptz not null default now(),
  created_by text,
  expires_at timestamptz, -- null: never
  last_seen_at timestamptz
);

-- One process of an agent. A row is gone when the agent has left, gave no sign of life for too long, or lost its token.
create table agent_session (
  id uuid primary key,
  jti text not null references agent_token on delete cascade,
  queues text[] not null,
  hostname text not null,
  unixname text not null,
  pid integer not null,
  version text not null,
  concurrency integer not null,
  started_at timestamptz not null,
  last_seen_at timestamptz not null
);
create index agent_session_jti on agent_session (jti);

-- worker_id is the agent session that has the try. Few are queued at any time: task_instance_live finds what can be leased.
alter table task_instance add column lease_until timestamptz; -- queued: until when it is worker_id's to start
alter table task_instance_history add column worker_id text;
