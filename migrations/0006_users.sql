-- People beside the admin of config.yaml. Tokens carry session_key: another one, and every token given out before is worthless.

create table users (
  name text primary key check (name = lower(name) and name <> ''),
  password_hash text not null,
  role text not null check (role in ('VIEWER', 'USER', 'OP', 'ADMIN')),
  active boolean not null default true,
  session_key uuid not null default gen_random_uuid(),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  last_login timestamptz
);
