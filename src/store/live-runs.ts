import { sql } from "kysely";
import type { Instant } from "../kit/instant.ts";
import { toJsonText } from "../kit/json-text.ts";
import type { TaskNode } from "../domain/dag-graph.ts";
import type { InstanceSnapshot } from "../domain/decision.ts";
import type { DagRunState, DagRunType, TaskInstanceState } from "../domain/states.ts";
import type { Database } from "./database.ts";
import { instantJson } from "./instant-text.ts";

/** A queued or running run as the scheduler holds it. */
export interface LiveRunRow {
  id: number;
  dag_id: string;
  run_id: string;
  run_type: DagRunType;
  state: DagRunState;
  logical_date: Instant | null;
  run_after: Instant;
  start_date: Instant | null;
  dag_version_id: string;
  clear_number: number;
  backfill_id: number | null;
  /** Its place in its backfill; null outside of one. */
  backfill_ordinal: number | null;
  dag_is_paused: boolean;
  triggered_by: string | null;
}

export interface LoadedRun {
  run: LiveRunRow;
  taskInstances: InstanceSnapshot[];
}

/** Ids of all queued and running runs, oldest first: what a scheduler takes up when it starts. */
export async function liveRunIds(db: Database): Promise<number[]> {
  const rows = await db
    .selectFrom("dag_run")
    .select("id")
    .where("state", "in", ["queued", "running"])
    .orderBy("run_after")
    .orderBy("id")
    .execute();
  return rows.map((row) => row.id);
}

/** These runs with all their task instances, in one round trip; without those that are gone or have no version. */
export async function loadRuns(db: Database, ids: readonly number[]): Promise<LoadedRun[]> {
  type Row = [string, string, number, TaskInstanceState | null, number, string | null];
  const { rows } = await sql<LiveRunRow & { task_instances: Row[] }>`
    select id, dag_id, run_id, run_type, state, logical_date, run_after, start_date, dag_version_id, clear_number, backfill_id,
      triggered_by,
      case when backfill_id is not null then (select sort_ordinal from backfill_dag_run b
        where b.dag_run_id = dag_run.id and b.backfill_id = dag_run.backfill_id) end as backfill_ordinal,
      (select is_paused from dag where dag.dag_id = dag_run.dag_id) as dag_is_paused,
      (select coalesce(jsonb_agg(jsonb_build_array(ti.id, ti.task_id, ti.map_index, ti.state, ti.try_number,
          ${instantJson("ti.wake_at")})), '[]')
        from task_instance ti where ti.dag_run_id = dag_run.id) as task_instances
    from dag_run where id = any(${ids}::bigint[]) and dag_version_id is not null`.execute(db);
  return rows.map(({ task_instances: instances, ...run }) => ({
    run,
    taskInstances: instances.map(([id, taskId, mapIndex, state, tryNumber, wakeAt]) => ({
      id,
      taskId,
      mapIndex,
      state,
      tryNumber,
      wakeAt: wakeAt as Instant | null,
    })),
  }));
}

/**
 * What mapped tasks expand on: the length a task pushed; for tasks in `mapped` the number of values that their instances
 * returned. null where there is none.
 */
export async function mapLengths(
  db: Database,
  dagRunId: number,
  taskIds: readonly string[],
  mapped: readonly string[],
): Promise<Map<string, number | null>> {
  const { rows } = await sql<{ task_id: string; length: number | null }>`
    select wanted.task_id, case when wanted.task_id = any(${mapped}::text[]) then (
        select count(*)::integer from xcom where xcom.dag_run_id = ${dagRunId} and xcom.task_id = wanted.task_id
          and xcom.key = 'return_value' and xcom.map_index >= 0
      ) else (
        select length from task_map where task_map.dag_run_id = ${dagRunId} and task_map.task_id = wanted.task_id
          and task_map.map_index = -1
      ) end as length
    from unnest(${taskIds}::text[]) as wanted(task_id)`.execute(db);
  return new Map(rows.map((row) => [row.task_id, row.length]));
}

export interface NewTaskInstance {
  id: string;
  run: { id: number; dag_id: string; dag_version_id: string };
  task: TaskNode;
  mapIndex: number;
}

/** Inserts rows, of one run or of many; those that exist already are left alone. Returns the ids that were inserted. */
export async function insertTaskInstances(db: Database, instances: readonly NewTaskInstance[]): Promise<Set<string>> {
  if (instances.length === 0) return new Set();
  const tasks = [...new Set(instances.map(({ task }) => task))];
  const numbers = new Map(tasks.map((task, number) => [task, number]));
  const facts = tasks.map((task, number) => ({
    number,
    task_id: task.taskId,
    task_display_name: task.displayName,
    operator: task.taskType,
    custom_operator_name: task.operatorName,
    pool: task.pool,
    pool_slots: task.poolSlots,
    queue: task.queue,
    executor: task.executor,
    executor_config: task.executorConfig,
    priority_weight: task.priorityWeightTotal,
    max_tries: task.retries,
  }));
  const runs = [...new Map(instances.map(({ run }) => [run.id, run])).values()];
  const { rows } = await sql<{ id: string }>`
    with task as (
      select * from json_to_recordset(${toJsonText(facts)}::json) as t(number integer, task_id text, task_display_name text,
        operator text, custom_operator_name text, pool text, pool_slots integer, queue text, executor text, executor_config text,
        priority_weight integer, max_tries integer)
    ), run as (
      select * from unnest(${runs.map(({ id }) => id)}::bigint[], ${runs.map((run) => run.dag_id)}::text[],
        ${runs.map((run) => run.dag_version_id)}::uuid[]) as r(id, dag_id, dag_version_id)
    ), wanted as (
      select * from unnest(${instances.map(({ id }) => id)}::uuid[], ${instances.map(({ run }) => run.id)}::bigint[],
        ${instances.map(({ task }) => numbers.get(task))}::integer[],
        ${instances.map(({ mapIndex }) => mapIndex)}::integer[]) as w(id, run_id, number, map_index)
    )
    insert into task_instance (id, dag_run_id, dag_id, task_id, map_index, max_tries, task_display_name, operator,
      custom_operator_name, pool, pool_slots, queue, executor, executor_config, priority_weight, dag_version_id)
    select wanted.id, run.id, run.dag_id, task_id, wanted.map_index, max_tries, task_display_name,
      operator, custom_operator_name, pool, pool_slots, queue, executor, executor_config::json, priority_weight,
      run.dag_version_id
    from wanted join task using (number) join run on run.id = wanted.run_id
    on conflict (dag_run_id, task_id, map_index) do nothing
    returning id`.execute(db);
  return new Set(rows.map((row) => row.id));
}

/** Turns the unexpanded row of a mapped task into its index 0, or takes it away. False when it was no longer as expected. */
export async function resolveUnexpanded(db: Database, id: string, becomes: 0 | "deleted"): Promise<boolean> {
  if (becomes === "deleted") {
    const deleted = await db
      .deleteFrom("task_instance")
      .where("id", "=", id)
      .where("map_index", "=", -1)
      .executeTakeFirst();
    return deleted.numDeletedRows === 1n;
  }
  const updated = await db
    .updateTable("task_instance")
    .set({ map_index: 0 })
    .where("id", "=", id)
    .where("map_index", "=", -1)
    .executeTakeFirst();
  return updated.numUpdatedRows === 1n;
}

export interface Transition {
  id: string;
  expected: TaskInstanceState | null;
  to: TaskInstanceState;
  tryNumber: number;
}

/**
 * Applies transitions of any number of runs in one statement, each guarded by the state it expects. Returns the ids of those
 * that were applied; what is missing has changed meanwhile, and its run must be read again.
 */
export async function applyTransitions(
  db: Database,
  transitions: readonly Transition[],
  now: Instant,
): Promise<Set<string>> {
  if (transitions.length === 0) return new Set();
  const { rows } = await sql<{ id: string }>`
    with wanted as (
      select * from unnest(${transitions.map(({ id }) => id)}::uuid[], ${transitions.map(({ expected }) => expected)}::text[],
        ${transitions.map(({ to }) => to)}::text[], ${transitions.map(({ tryNumber }) => tryNumber)}::integer[])
        as w(id, expected, state, try_number)
    )
    update task_instance as ti set
      state = wanted.state,
      try_number = wanted.try_number,
      wake_at = null,
      scheduled_dttm = case when wanted.state = 'scheduled' or (wanted.state = 'queued' and wanted.expected is distinct from 'scheduled')
        then ${now}::timestamptz else ti.scheduled_dttm end,
      queued_dttm = case when wanted.state = 'queued' then ${now}::timestamptz else ti.queued_dttm end,
      start_date = case when wanted.state in ('success', 'skipped', 'upstream_failed', 'failed')
        then coalesce(ti.start_date, ${now}::timestamptz) else ti.start_date end,
      end_date = case when wanted.state in ('success', 'skipped', 'upstream_failed', 'failed')
        then ${now}::timestamptz else ti.end_date end,
      duration = case when wanted.state in ('success', 'skipped', 'upstream_failed', 'failed')
        then extract(epoch from ${now}::timestamptz - coalesce(ti.start_date, ${now}::timestamptz)) else ti.duration end,
      updated_at = ${now}::timestamptz
    from wanted
    where ti.id = wanted.id and ti.state is not distinct from wanted.expected
    returning ti.id`.execute(db);
  return new Set(rows.map((row) => row.id));
}

/** queued → running. Returns the ids of those that were still queued. */
export async function startRuns(db: Database, ids: readonly number[], now: Instant): Promise<Set<number>> {
  if (ids.length === 0) return new Set();
  const { rows } = await sql<{ id: number }>`
    update dag_run set state = 'running', start_date = ${now}, last_scheduling_decision = ${now}, updated_at = ${now}
    where id = any(${ids}::bigint[]) and state = 'queued' returning id`.execute(db);
  return new Set(rows.map(({ id }) => id));
}

export interface FinishedRun {
  id: number;
  state: "success" | "failed";
}

/** running → success or failed. Returns the ids of those that were still running. */
export async function finishRuns(db: Database, runs: readonly FinishedRun[], now: Instant): Promise<Set<number>> {
  if (runs.length === 0) return new Set();
  const { rows } = await sql<{ id: number }>`
    with wanted as (
      select * from unnest(${runs.map(({ id }) => id)}::bigint[], ${runs.map(({ state }) => state)}::text[]) as w(id, state)
    )
    update dag_run set state = wanted.state, end_date = ${now}, last_scheduling_decision = ${now}, updated_at = ${now}
    from wanted where dag_run.id = wanted.id and dag_run.state = 'running' returning dag_run.id`.execute(db);
  return new Set(rows.map(({ id }) => id));
}
