import { expect, it } from "vitest";
import { estimateMigration } from "./estimate.ts";

const million = { name: "task_instance", rows: 1_000_000, bytes: 270e6, totalBytes: 470e6 };
const small = { name: "pool", rows: 3, bytes: 8192, totalBytes: 32768 };

function estimate(sql: string) {
  const { seconds, tables } = estimateMigration({ version: 2, name: "x", sql }, [million, small]);
  return { seconds: Math.round(seconds * 10) / 10, tables };
}

const touches = ["task_instance"];

it.each([
  ["alter table task_instance add column note2 text", 0.1, []],
  ["alter table task_instance add column n integer not null default 0", 0.1, []],
  ["create table more (id integer, ti uuid references task_instance)", 0.1, []],
  ["create index concurrently if not exists i on task_instance (end_date desc)", 1.6, touches],
  ['CREATE UNIQUE INDEX ON public."task_instance" (id)', 1.6, touches],
  ["alter table task_instance alter column pool_slots type bigint", 10.1, touches],
  ["alter table task_instance add column u uuid not null default gen_random_uuid()", 10.1, touches],
  ["alter table task_instance add constraint c check (pool_slots > 0)", 0.3, touches],
  ["update task_instance set note = ''; create index on task_instance (note)", 26.6, touches],
  ["insert into copy select * from task_instance", 25.1, touches],
  ["insert into pool (pool, slots) values ('more', 1)", 0.1, []],
  ["do $$ begin update task_instance set note = ''; end $$", 25.1, touches],
  ["update pool set slots = 1", 0.1, ["pool"]],
  ["-- update task_instance\ncomment on table task_instance is 'update task_instance'", 0.1, []],
])("tells from the kind of a statement what it costs: %s", (sql, seconds, tables) => {
  expect(estimate(sql)).toEqual({ seconds, tables });
});
