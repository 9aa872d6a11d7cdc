import { sql, type RawBuilder } from "kysely";
import type { JsonText } from "../kit/json-text.ts";
import type { Database } from "./database.ts";
import { prepared, type Pool } from "./execution-statement.ts";

/** All values a task pushed under a key in a run, one per map index. */
export interface XComSeries {
  dagId: string;
  runId: string;
  taskId: string;
  key: string;
}

export interface XComKey extends XComSeries {
  mapIndex: number;
}

// A try that was retried or cleared may still be on its way down; what it pushes must not mix with the next try's.
const setStatement = prepared<{ run_found: boolean; allowed: boolean }>(
  "execution-set-xcom",
  `with run as (
    select id from dag_run where dag_id = $2::text and run_id = $3::text
  ), caller as (
    select $1::uuid is null or exists (select 1 from task_instance where id = $1::uuid) as allowed
  ), mapped as (
    insert into task_map (dag_run_id, task_id, map_index, length)
    select run.id, $4::text, $5::integer, $9::integer from run, caller where caller.allowed and $9::integer is not null
    on conflict (dag_run_id, task_id, map_index) do update set length = excluded.length, keys = null
  ), stored as (
    insert into xcom (dag_run_id, task_id, map_index, key, dag_id, run_id, value, dag_result)
    select run.id, $4::text, $5::integer, $6::text, $2::text, $3::text, $7::json, $8::boolean from run, caller where caller.allowed
    on conflict (dag_run_id, task_id, map_index, key) do update
      set value = excluded.value, dag_result = excluded.dag_result, timestamp = excluded.timestamp
  )
  select exists (select 1 from run) as run_found, allowed from caller`,
);

export type XComWrite = "stored" | "no_run" | "stale_caller";

/** `callerId` is the try that pushes; null when no task instance stands behind it. */
export async function storeXCom(
  pool: Pool,
  xcom: XComKey & { callerId: string | null; value: JsonText; dagResult: boolean; mappedLength: number | null },
): Promise<XComWrite> {
  const { callerId, dagId, runId, taskId, mapIndex, key, value, dagResult, mappedLength } = xcom;
  const values = [callerId, dagId, runId, taskId, mapIndex, key, value, dagResult, mappedLength];
  const row = (await setStatement(pool, values))[0];
  if (!row?.allowed) return "stale_caller";
  return row.run_found ? "stored" : "no_run";
}

const getStatement = prepared<{ value: JsonText | null }>(
  "execution-get-xcom",
  `select x.value from dag_run r join xcom x on x.dag_run_id = r.id
  where r.dag_id = $1::text and r.run_id = $2::text and x.task_id = $3::text and x.map_index = $4::integer and x.key = $5::text`,
);

/** undefined when there is none; a stored null is the JSON text "null". */
export async function findXCom(pool: Pool, xcom: XComKey): Promise<JsonText | undefined> {
  const row = (await getStatement(pool, [xcom.dagId, xcom.runId, xcom.taskId, xcom.mapIndex, xcom.key]))[0];
  return row && (row.value ?? ("null" as JsonText));
}

/** Runs that count as "this run and those before it". */
function priorRuns(dagId: string, runId: string): RawBuilder<unknown> {
  return sql`select r.id, coalesce(r.logical_date, r.run_after) as at from dag_run r where r.dag_id = ${dagId}
    and coalesce(r.logical_date, r.run_after) <= (
      select coalesce(own.logical_date, own.run_after) from dag_run own where own.dag_id = ${dagId} and own.run_id = ${runId})`;
}

/** The newest value of this run or any before it. */
export async function findXComOfPriorDates(db: Database, xcom: XComKey): Promise<JsonText | undefined> {
  const { rows } = await sql<{ value: JsonText | null }>`
    with prior_run as (${priorRuns(xcom.dagId, xcom.runId)})
    select x.value from prior_run join xcom x on x.dag_run_id = prior_run.id
    where x.task_id = ${xcom.taskId} and x.map_index = ${xcom.mapIndex} and x.key = ${xcom.key}
    order by prior_run.at desc, x.timestamp desc limit 1`.execute(db);
  const row = rows[0];
  return row && (row.value ?? ("null" as JsonText));
}

/** Silently does nothing when there is none, or the caller is an earlier try. */
export async function deleteXCom(db: Database, callerId: string | null, xcom: XComKey): Promise<void> {
  await sql`
    delete from xcom using dag_run r
    where r.id = xcom.dag_run_id and r.dag_id = ${xcom.dagId} and r.run_id = ${xcom.runId} and xcom.task_id = ${xcom.taskId}
      and xcom.map_index = ${xcom.mapIndex} and xcom.key = ${xcom.key}
      and (${callerId}::uuid is null or exists (select 1 from task_instance where id = ${callerId}::uuid))`.execute(db);
}

function series(xcom: XComSeries, includePriorDates: boolean): RawBuilder<unknown> {
  const runs = includePriorDates
    ? priorRuns(xcom.dagId, xcom.runId)
    : sql`select r.id from dag_run r where r.dag_id = ${xcom.dagId} and r.run_id = ${xcom.runId}`;
  return sql`xcom x join (${runs}) as matching on matching.id = x.dag_run_id
    where x.task_id = ${xcom.taskId} and x.key = ${xcom.key}`;
}

export async function countXComs(db: Database, xcom: XComSeries, includePriorDates = false): Promise<number> {
  const { rows } = await sql<{ count: number }>`
    select count(*) as count from ${series(xcom, includePriorDates)}`.execute(db);
  return rows[0]?.count ?? 0;
}

export interface XComRange {
  /** Counted from the end with the last value first, when true. */
  descending: boolean;
  offset: number;
  /** null: all that follow. */
  limit: number | null;
  includePriorDates: boolean;
}

/** Values by map index. */
export async function listXComs(db: Database, xcom: XComSeries, range: XComRange): Promise<JsonText[]> {
  const order = range.descending ? sql`desc` : sql`asc`;
  const { rows } = await sql<{ value: JsonText | null }>`
    select x.value from ${series(xcom, range.includePriorDates)}
    order by x.map_index ${order}, x.dag_run_id ${order} offset ${range.offset} limit ${range.limit}`.execute(db);
  return rows.map((row) => row.value ?? ("null" as JsonText));
}
