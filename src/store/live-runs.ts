import { sql } from "kysely";
import type { Instant } from "../kit/instant.ts";
import { toJsonText } from "../kit/json-text.ts";
import type { TaskNode } from "../domain/dag-graph.ts";
import type { InstanceSnapshot } from "../domain/decision.ts";
import type { DagRunState, DagRunType, TaskInstanceState } from "../domain/states.ts";
import type { Database } from "./database.ts";

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

/** The run with all its task instances in one round trip; null when it is gone or has no version. */
export async function loadRun(db: Database, id: number): Promise<LoadedRun | null> {
  type Row = [string, string, number, TaskInstanceState | null, number, string | null];
  const { rows } = await sql<LiveRunRow & { task_instances: Row[] }>`
    select id, dag_id, run_id, run_type, state, logical_date, run_after, start_date, dag_version_id, clear_number, backfill_id,
      (select sort_ordinal from backfill_dag_run b where b.dag_run_id = dag_run.id and b.backfill_id = dag_run.backfill_id)
        as backfill_ordinal,
      (select is_paused from dag where dag.dag_id = dag_run.dag_id) as dag_is_paused,
      (select coalesce(jsonb_agg(jsonb_build_array(ti.id, ti.task_id, ti.map_index, ti.state, ti.try_number,
          to_char(ti.wake_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))), '[]')
        from task_instance ti where ti.dag_run_id = dag_run.id) as task_instances
    from dag_run where id = ${id} and dag_version_id is not null`.execute(db);
  const row = rows[0];
  if (!row) return null;
  const { task_instances, ...run } = row;
  return {
    run,
    taskInstances: task_instances.map(([tiId, taskId, mapIndex, state, tryNumber, wakeAt]) => ({
      id: tiId,
      taskId,
      mapIndex,
      state,
      tryNumber,
      wakeAt: wakeAt as Instant | null,
    })),
  };
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
  task: TaskNode;
  mapIndex: number;
}

/** Inserts rows for a run; those that exist already are left alone. Returns the ids that were inserted. */
export async function insertTaskInstances(
  db: Database,
  run: { id: number; dag_id: string; dag_version_id: string },
  instances: readonly NewTaskInstance[],
): Promise<Set<string>> {
  if (instances.length === 0) return new Set();
  const tasks = [...new Map(instances.map(({ task }) => [task.taskId, task])).values()].map((task) => ({
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
  const { rows } = await sql<{ id: string }>`
    with task as (
      select * from json_to_recordset(${toJsonText(tasks)}::json) as t(task_id text, task_display_name text, operator text,
        custom_operator_name text, pool text, pool_slots integer, queue text, executor text, executor_config text,
        priority_weight integer, max_tries integer)
    ), wanted as (
      select * from unnest(${instances.map(({ id }) => id)}::uuid[], ${instances.map(({ task }) => task.taskId)}::text[],
        ${instances.map(({ mapIndex }) => mapIndex)}::integer[]) as w(id, task_id, map_index)
    )
    insert into task_instance (id, dag_run_id, dag_id, task_id, map_index, max_tries, task_display_name, operator,
      custom_operator_name, pool, pool_slots, queue, executor, executor_config, priority_weight, dag_version_id)
    select wanted.id, ${run.id}, ${run.dag_id}, wanted.task_id, wanted.map_index, max_tries, task_display_name,
      operator, custom_operator_name, pool, pool_slots, queue, executor, executor_config::json, priority_weight,
      ${run.dag_version_id}::uuid
    from wanted join task using (task_id)
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

/** queued → running. False when it was not queued any more. */
export async function startRun(db: Database, id: number, now: Instant): Promise<boolean> {
  const result = await db
    .updateTable("dag_run")
    .set({ state: "running", start_date: now, last_scheduling_decision: now, updated_at: now })
    .where("id", "=", id)
    .where("state", "=", "queued")
    .executeTakeFirst();
  return result.numUpdatedRows === 1n;
}

/** running → success or failed. False when it was not running any more. */
export async function finishRun(db: Database, id: number, state: "success" | "failed", now: Instant): Promise<boolean> {
  const result = await db
    .updateTable("dag_run")
    .set({ state, end_date: now, last_scheduling_decision: now, updated_at: now })
    .where("id", "=", id)
    .where("state", "=", "running")
    .executeTakeFirst();
  return result.numUpdatedRows === 1n;
}
