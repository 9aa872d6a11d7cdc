import { sql } from "kysely";
import type { CallbackState } from "../domain/callback.ts";
import type { DueCallback } from "../domain/callback.ts";
import { newId } from "../kit/ids.ts";
import type { Instant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import type { Database } from "./database.ts";
import { DAG_RUN_COLUMNS } from "./execution-dag-run.ts";
import type { Executor } from "./transaction.ts";

// What a callback is told is written down when it comes to be: the run or the task may be cleared before it runs.

/** `dag_run r` as a callback's process takes it. */
const RUN_JSON = sql.raw(`(select row_to_json(run) from (select ${DAG_RUN_COLUMNS}) as run)`);

/** `task_instance ti` of `dag_run r`, as Airflow's execution API has it. */
const TASK_INSTANCE_JSON = sql.raw(`json_build_object('id', ti.id, 'task_id', ti.task_id, 'dag_id', ti.dag_id,
    'run_id', r.run_id, 'try_number', ti.try_number, 'dag_version_id', coalesce(ti.dag_version_id, r.dag_version_id),
    'map_index', ti.map_index, 'hostname', ti.hostname, 'queue', coalesce(ti.queue, 'default'))`);

/** Which task instance a DAG's callback is told of. */
export type RelevantTry = "last-success" | "last-failed" | "last-begun-unfinished" | { id: string } | null;

function relevantTry(which: RelevantTry) {
  if (which === null) return sql`select null::json where false`;
  const json = sql`select ${TASK_INSTANCE_JSON} from task_instance ti where ti.dag_run_id = r.id`;
  if (typeof which === "object") return sql`${json} and ti.id = ${which.id}::uuid`;
  switch (which) {
    case "last-success":
      return sql`${json} and ti.state = 'success' order by ti.end_date desc nulls last limit 1`;
    case "last-failed":
      return sql`${json} and ti.state = 'failed' order by ti.end_date desc nulls last limit 1`;
    case "last-begun-unfinished":
      return sql`${json} and (ti.state is null
        or ti.state not in ('success', 'failed', 'skipped', 'upstream_failed', 'removed'))
        order by ti.start_date desc nulls last limit 1`;
  }
}

/** Has the DAG's callbacks called for a run that has just ended, in the transaction that ended it. */
export async function addDagCallback(
  db: Executor,
  run: { id: number; state: "success" | "failed"; reason: string; relevant: RelevantTry; now: Instant },
): Promise<void> {
  await sql`
    insert into callback (id, type, state, dag_run_id, dag_version_id, data, created_at, updated_at)
    select ${newId()}::uuid, 'dag_processor', 'pending', r.id, r.dag_version_id,
      json_build_object('kind', 'dag', 'state', ${run.state}::text, 'msg', ${run.reason}::text, 'dag_run', ${RUN_JSON},
        'ti', (${relevantTry(run.relevant)})), ${run.now}::timestamptz, ${run.now}::timestamptz
    from dag_run r where r.id = ${run.id}`.execute(db);
}

/** What is called for a task whose process cannot do it. */
export interface TaskCallback {
  taskInstanceId: string;
  kind: "task" | "email";
  state: "failed" | "up_for_retry";
  reason: string | null;
  /** Its trigger ended it: Airflow tells the callback nothing of the run then. */
  byTrigger: boolean;
  now: Instant;
}

/**
 * Writes down what is to be called once a try has been settled: it is held until then. One id per try and kind, so that a
 * settling which is repeated after Leoflow was killed calls nothing twice. Returns the ids.
 */
export async function holdTaskCallbacks(db: Database, callbacks: readonly TaskCallback[]): Promise<string[]> {
  const ids: string[] = [];
  for (const { taskInstanceId, kind, state, reason, byTrigger, now } of callbacks) {
    const { rows } = await sql<{ id: string }>`
      insert into callback (id, type, state, dag_run_id, dag_version_id, data, created_at, updated_at)
      select md5(${`${kind} `} || ti.id)::uuid, 'dag_processor', 'queued', r.id, coalesce(ti.dag_version_id, r.dag_version_id),
        json_build_object('kind', ${kind}::text, 'state', ${state}::text, 'msg', ${reason}::text,
          'by_trigger', ${byTrigger}::boolean, 'ti', ${TASK_INSTANCE_JSON}, 'dag_run', ${RUN_JSON},
          'max_tries', ti.max_tries), ${now}::timestamptz, ${now}::timestamptz
      from task_instance ti join dag_run r on r.id = ti.dag_run_id
      where ti.id = ${taskInstanceId}::uuid and ti.state in ('queued', 'running', 'restarting', 'deferred')
      on conflict (id) do update set updated_at = excluded.updated_at where callback.state = 'queued'
      returning id`.execute(db);
    ids.push(...rows.map((row) => row.id));
  }
  return ids;
}

/** The try was settled: its callbacks may run. */
export async function releaseCallbacks(db: Database, ids: readonly string[], now: Instant): Promise<void> {
  if (ids.length === 0) return;
  await sql`update callback set state = 'pending', updated_at = ${now}::timestamptz
    where id = any(${ids}::uuid[]) and state = 'queued'`.execute(db);
}

/** The try was not settled after all. */
export async function dropHeldCallbacks(db: Database, ids: readonly string[]): Promise<void> {
  if (ids.length === 0) return;
  await sql`delete from callback where id = any(${ids}::uuid[]) and state = 'queued'`.execute(db);
}

/** Lets go of what is held for longer than any settling takes: who held it did not come to say how that went. */
export async function releaseForgotten(db: Database, heldSince: Instant, now: Instant): Promise<void> {
  await sql`
    update callback set state = 'pending', updated_at = ${now}::timestamptz
    where type = 'dag_processor' and state = 'queued' and updated_at < ${heldSince}::timestamptz`.execute(db);
}

/** What a Leoflow that ended has begun or held is to run again. Returns how many. */
export async function adoptCallbacks(db: Database, now: Instant): Promise<number> {
  const { rows } = await sql`
    update callback set state = 'pending', updated_at = ${now}::timestamptz
    where (type = 'dag_processor' and state in ('queued', 'running')) or (type = 'executor' and state = 'running')
    returning id`.execute(db);
  return rows.length;
}

/** Takes callbacks that are to run now, the most important first; they are running from then on. */
export async function takeCallbacks(
  db: Database,
  given: { type: "dag_processor" | "executor"; limit: number; now: Instant },
): Promise<Omit<DueCallback, "logPath">[]> {
  const { type, limit, now } = given;
  const { rows } = await sql<{
    id: string;
    dag_id: string;
    run_id: string;
    data: JsonText;
    attempts: number;
    environment: string;
    archive_digest: string;
    dag_rel_path: string;
  }>`
    with due as (
      select id from callback where state = 'pending' and type = ${type}
      order by priority_weight desc, created_at, id limit ${limit} for update skip locked
    ), taken as (
      update callback set state = 'running', attempts = attempts + 1, updated_at = ${now}::timestamptz
      from due where callback.id = due.id
      returning callback.*
    )
    select taken.id, r.dag_id, r.run_id, taken.data, taken.attempts, v.environment, v.archive_digest, v.dag_rel_path
    from taken join dag_run r on r.id = taken.dag_run_id join dag_version v on v.id = taken.dag_version_id
    order by taken.priority_weight desc, taken.created_at, taken.id`.execute(db);
  return rows.map((row) => ({
    id: row.id,
    type,
    dagId: row.dag_id,
    runId: row.run_id,
    data: row.data,
    attempt: row.attempts,
    environment: row.environment,
    archiveDigest: row.archive_digest,
    dagRelPath: row.dag_rel_path,
  }));
}

/** A callback that ran: what executors run stays to be looked at, as in Airflow; the others are done with. */
export async function finishCallback(
  db: Database,
  callback: Pick<DueCallback, "id" | "type">,
  outcome: { state: Extract<CallbackState, "success" | "failed">; output: string | null; now: Instant },
): Promise<void> {
  if (callback.type === "dag_processor") {
    await db.deleteFrom("callback").where("id", "=", callback.id).where("state", "=", "running").execute();
    return;
  }
  await db
    .updateTable("callback")
    .set({ state: outcome.state, output: outcome.output, updated_at: outcome.now })
    .where("id", "=", callback.id)
    .where("state", "=", "running")
    .execute();
}

/** It is to run once more. */
export async function retryCallback(db: Database, id: string, now: Instant): Promise<void> {
  await db
    .updateTable("callback")
    .set({ state: "pending", updated_at: now })
    .where("id", "=", id)
    .where("state", "=", "running")
    .execute();
}

/** Says in the audit log of the DAG, its run and its task why a callback did not do what it should. */
export async function auditCallback(db: Database, id: string, why: { event: string; extra: string }): Promise<void> {
  await sql`
    insert into log (dag_id, task_id, map_index, event, logical_date, run_id, extra, try_number)
    select r.dag_id, c.data->'ti'->>'task_id', (c.data->'ti'->>'map_index')::integer, ${why.event}, r.logical_date, r.run_id,
      ${why.extra}, (c.data->'ti'->>'try_number')::integer
    from callback c join dag_run r on r.id = c.dag_run_id where c.id = ${id}::uuid`.execute(db);
}
