import { sql, type Transaction } from "kysely";
import type { Instant } from "../kit/instant.ts";
import { newId } from "../kit/ids.ts";
import type { Clock } from "../kit/clock.ts";
import { toJsonText } from "../kit/json-text.ts";
import type { DagGraph } from "../domain/dag-graph.ts";
import type { EventBus, LeoflowEvent } from "../domain/events.ts";
import type { DagRunState, TaskInstanceState } from "../domain/states.ts";
import { HOLDS_PROCESS } from "../domain/states-of-work.ts";
import type { Database } from "./database.ts";
import { moveRunToVersion } from "./run-version.ts";
import { HITL_COLUMNS } from "./execution-hitl.ts";
import type { Schema } from "./schema.ts";
import { lockTaskInstances, selectTaskInstances, type TaskSelection } from "./task-selection.ts";
import { inTransaction } from "./transaction.ts";

/** What clearing and marking need; the API's context has it all. */
export interface Surgery {
  db: Database;
  bus: EventBus;
  kit: { clock: Clock };
  /** The graph of a DAG version. */
  graph(dagVersionId: string): Promise<DagGraph>;
}

export interface ClearOptions {
  /** What a finished run becomes; false leaves runs alone. Default queued. */
  dagRunState?: "queued" | "running" | false;
  /** Cleared tasks and their runs go on with the DAG's current version. */
  runOnLatestVersion?: boolean;
  /** Refuse when one of them is running. */
  preventRunningTask?: boolean;
  /** Put on every cleared task instance; "" removes notes. */
  note?: { text: string; userId: string } | null;
}

export interface ClearedTaskInstance {
  /** The try that was taken away, which lives on in task_instance_history; of a running one, which keeps its id until it ends. */
  oldId: string;
  id: string;
  dagRunId: number;
  taskId: string;
  mapIndex: number;
}

export type ClearResult =
  { kind: "cleared"; cleared: ClearedTaskInstance[]; killed: string[]; dagRunIds: number[] } | { kind: "running" };

/**
 * Gives the selected task instances a new try: the old one goes to the history and the state becomes empty; what runs is asked
 * to end first ("restarting"). Finished runs are queued again. Tells the scheduler and the executors after the commit.
 */
export async function clearTaskInstances(
  surgery: Surgery,
  which: TaskSelection | { ids: readonly string[] },
  options: ClearOptions = {},
): Promise<ClearResult> {
  const result = await inTransaction(surgery.db, async (trx) => {
    const ids =
      "ids" in which ? await lockTaskInstances(trx, which.ids) : await selectTaskInstances(trx, which, { lock: true });
    return await clearLocked(trx, surgery, ids, options);
  });
  if (result.kind === "cleared") publishAll(surgery.bus, clearEvents(result));
  return result;
}

/** The events of a clear, for those who clear inside a transaction of their own. */
export function clearEvents(result: { killed: string[]; dagRunIds: number[] }, reason = "cleared"): LeoflowEvent[] {
  return [
    ...(result.killed.length > 0 ? [{ kind: "kill", ids: result.killed, reason } as const] : []),
    ...result.dagRunIds.map((dagRunId) => ({ kind: "dag-run", dagRunId }) as const),
  ];
}

export function publishAll(bus: EventBus, events: readonly LeoflowEvent[]): void {
  for (const event of events) bus.publish(event);
}

interface LockedRow {
  id: string;
  dag_run_id: number;
  dag_id: string;
  task_id: string;
  map_index: number;
  state: TaskInstanceState | null;
  try_number: number;
  max_tries: number;
  dag_version_id: string | null;
}

interface RunRow {
  id: number;
  dag_id: string;
  state: DagRunState;
  dag_version_id: string | null;
  latest_version_id: string | null;
  latest_bundle_version: string | null;
}

const RUNS: ReadonlySet<TaskInstanceState | null> = new Set(["running", "restarting"]);

/** The body of a clear, on rows the transaction has locked. */
export async function clearLocked(
  trx: Transaction<Schema>,
  surgery: Pick<Surgery, "graph" | "kit">,
  ids: readonly string[],
  options: ClearOptions,
): Promise<ClearResult> {
  const { dagRunState = "queued", runOnLatestVersion = false } = options;
  if (ids.length === 0) return { kind: "cleared", cleared: [], killed: [], dagRunIds: [] };
  const now = surgery.kit.clock.now();
  const rows: LockedRow[] = await trx
    .selectFrom("task_instance")
    .select([
      "id",
      "dag_run_id",
      "dag_id",
      "task_id",
      "map_index",
      "state",
      "try_number",
      "max_tries",
      "dag_version_id",
    ])
    .where("id", "=", sql<string>`any(${ids}::uuid[])`)
    .execute();
  if (options.preventRunningTask && rows.some((row) => row.state === "running")) return { kind: "running" };
  const runs = await lockRuns(trx, [...new Set(rows.map((row) => row.dag_run_id))]);
  const usesLatest = (run: RunRow): boolean => runOnLatestVersion || run.dag_version_id === null;

  const planned = await Promise.all(
    rows.map(async (row) => {
      const run = runs.get(row.dag_run_id) as RunRow;
      const latest = usesLatest(run);
      const versionId = (latest ? run.latest_version_id : run.dag_version_id) ?? run.latest_version_id;
      const task = versionId ? (await surgery.graph(versionId)).tasks.get(row.task_id) : undefined;
      return {
        oldId: row.id,
        // What runs keeps its id until its process has ended: nothing may run twice at once.
        id: RUNS.has(row.state) ? row.id : newId(),
        dagRunId: row.dag_run_id,
        taskId: row.task_id,
        mapIndex: row.map_index,
        // A task that its version no longer has keeps what it had.
        maxTries: task ? row.try_number + task.retries : Math.max(row.max_tries, row.try_number),
        versionId: latest ? versionId : (row.dag_version_id ?? versionId),
        task,
      };
    }),
  );
  const restarting = planned.filter(({ oldId, id }) => oldId === id);
  const fresh = planned.filter(({ oldId, id }) => oldId !== id);
  await restartTries(trx, restarting, options.note ?? null, now);
  await archiveTries(
    trx,
    fresh.map(({ oldId }) => oldId),
    now,
  );
  await renewTries(trx, fresh, options.note ?? null, now);
  const killed = rows.filter((row) => row.state !== null && HOLDS_PROCESS.has(row.state)).map((row) => row.id);
  if (dagRunState !== false) {
    for (const run of runs.values()) {
      await reopenRun(trx, run.id, dagRunState, now);
      const versionId = run.latest_version_id;
      if (!usesLatest(run) || versionId === null || versionId === run.dag_version_id) continue;
      const version = {
        id: versionId,
        graph: await surgery.graph(versionId),
        bundleVersion: run.latest_bundle_version,
      };
      const reopened = run.state === "success" || run.state === "failed" ? dagRunState : run.state;
      killed.push(...(await moveRunToVersion(trx, { ...run, state: reopened }, version, now)));
    }
  }
  const cleared = planned.map(({ oldId, id, dagRunId, taskId, mapIndex }) => ({
    oldId,
    id,
    dagRunId,
    taskId,
    mapIndex,
  }));
  return { kind: "cleared", cleared, killed, dagRunIds: [...runs.keys()] };
}

async function lockRuns(trx: Transaction<Schema>, runIds: readonly number[]): Promise<Map<number, RunRow>> {
  const rows = await trx
    .selectFrom("dag_run as dr")
    .innerJoin("dag", "dag.dag_id", "dr.dag_id")
    .select(["dr.id", "dr.dag_id", "dr.state", "dr.dag_version_id"])
    .select(["dag.current_version_id as latest_version_id", "dag.bundle_version as latest_bundle_version"])
    .where("dr.id", "in", runIds)
    .orderBy("dr.id")
    .forNoKeyUpdate(["dr"])
    .execute();
  return new Map(rows.map((row) => [row.id, row]));
}

/**
 * Copies tries into the history as they ended; one that had not ended failed now. A try whose row is there already (it was
 * retried) is left, and what was never scheduled and has no state left no trace worth keeping.
 */
export async function archiveTries(trx: Transaction<Schema>, ids: readonly string[], now: Instant): Promise<void> {
  await sql`
    insert into task_instance_history (id, dag_run_id, dag_id, task_id, map_index, state, try_number, max_tries,
      task_display_name, operator, custom_operator_name, pool, pool_slots, queue, executor, executor_config, priority_weight,
      dag_version_id, scheduled_dttm, queued_dttm, start_date, end_date, duration, hostname, unixname, pid, worker_id, retry_reason,
      trigger_id, trigger_timeout, next_method, next_kwargs, rendered_map_index, rendered_fields, note, note_user_id)
    select ti.id, ti.dag_run_id, ti.dag_id, ti.task_id, ti.map_index,
      case when ti.state in ('success', 'failed', 'skipped', 'upstream_failed', 'removed') then ti.state else 'failed' end,
      ti.try_number, ti.max_tries, ti.task_display_name, ti.operator, ti.custom_operator_name, ti.pool, ti.pool_slots, ti.queue,
      ti.executor, ti.executor_config, ti.priority_weight, ti.dag_version_id, ti.scheduled_dttm, ti.queued_dttm, ti.start_date,
      coalesce(ended.at, ti.end_date), coalesce(extract(epoch from ended.at - ti.start_date), ti.duration), ti.hostname,
      ti.unixname, ti.pid, ti.worker_id, ti.retry_reason, ti.trigger_id, ti.trigger_timeout, ti.next_method, ti.next_kwargs,
      ti.rendered_map_index, rendered.rendered_fields, ti.note, ti.note_user_id
    from task_instance ti
    left join rendered_task_instance_fields rendered using (dag_run_id, task_id, map_index)
    cross join lateral (select case when ti.end_date is null and (ti.state is null
      or ti.state not in ('success', 'failed', 'skipped', 'upstream_failed', 'removed')) then ${now}::timestamptz end) as ended(at)
    where ti.id = any(${ids}::uuid[]) and (ti.state is not null or ti.try_number > 0)
    on conflict do nothing`.execute(trx);
  await sql`
    insert into hitl_detail_history (ti_id, ${sql.raw(HITL_COLUMNS)})
    select ti_id, ${sql.raw(HITL_COLUMNS)} from hitl_detail h
    where ti_id = any(${ids}::uuid[]) and exists (select from task_instance_history t where t.id = h.ti_id)
    on conflict do nothing`.execute(trx);
  await sql`delete from task_reschedule where ti_id = any(${ids}::uuid[])`.execute(trx);
}

interface FreshTry extends ClearedTaskInstance {
  maxTries: number;
  versionId: string | null;
  task: ReturnType<DagGraph["tasks"]["get"]>;
}

/** Empties the rows and gives them new ids, so that a process that still runs for an old one can write nothing. */
async function renewTries(
  trx: Transaction<Schema>,
  fresh: readonly FreshTry[],
  note: ClearOptions["note"],
  now: Instant,
): Promise<void> {
  const rows = fresh.map(({ oldId, id, maxTries, versionId, task }) => ({
    old_id: oldId,
    new_id: id,
    max_tries: maxTries,
    version_id: versionId,
    known: task !== undefined,
    queue: task?.queue,
    pool: task?.pool,
    pool_slots: task?.poolSlots,
    priority_weight: task?.priorityWeightTotal,
    executor: task?.executor,
    executor_config: task?.executorConfig,
    operator: task?.taskType,
    custom_operator_name: task?.operatorName,
  }));
  const noteText = note ? note.text || null : null;
  await sql`
    with fresh as (
      select * from json_to_recordset(${toJsonText(rows)}::json) as f(old_id uuid, new_id uuid, max_tries integer,
        version_id uuid, known boolean, queue text, pool text, pool_slots integer, priority_weight integer, executor text,
        executor_config text, operator text, custom_operator_name text)
    )
    update task_instance ti set
      id = fresh.new_id, state = null, max_tries = fresh.max_tries, dag_version_id = fresh.version_id,
      queue = case when known then fresh.queue else ti.queue end,
      pool = case when known then fresh.pool else ti.pool end,
      pool_slots = case when known then fresh.pool_slots else ti.pool_slots end,
      priority_weight = case when known then fresh.priority_weight else ti.priority_weight end,
      executor = case when known then fresh.executor else ti.executor end,
      executor_config = case when known then fresh.executor_config::json else ti.executor_config end,
      operator = case when known then fresh.operator else ti.operator end,
      custom_operator_name = case when known then fresh.custom_operator_name else ti.custom_operator_name end,
      scheduled_dttm = null, queued_dttm = null, start_date = null, end_date = null, duration = null,
      last_heartbeat_at = null, hostname = '', pid = null, worker_id = null, lease_until = null, wake_at = null, retry_delay_override = null,
      retry_reason = null, trigger_id = null, trigger_timeout = null, next_method = null, next_kwargs = null,
      note = case when ${note !== null} then ${noteText} else ti.note end,
      note_user_id = case when ${note !== null} then ${noteText === null ? null : note?.userId} else ti.note_user_id end,
      updated_at = ${now}::timestamptz
    from fresh where ti.id = fresh.old_id`.execute(trx);
}

/**
 * Asks running tries to end (Airflow's RESTARTING). The end of their processes archives them and lets them be scheduled anew,
 * see execution/exited.ts; the reaper does so for those whose process is gone.
 */
async function restartTries(
  trx: Transaction<Schema>,
  tries: readonly { oldId: string; maxTries: number; versionId: string | null }[],
  note: ClearOptions["note"],
  now: Instant,
): Promise<void> {
  if (tries.length === 0) return;
  const rows = tries.map(({ oldId, maxTries, versionId }) => ({
    id: oldId,
    max_tries: maxTries,
    version_id: versionId,
  }));
  await sql`
    with asked as (
      select * from json_to_recordset(${toJsonText(rows)}::json) as a(id uuid, max_tries integer, version_id uuid)
    )
    update task_instance ti set state = 'restarting', max_tries = asked.max_tries, dag_version_id = asked.version_id,
      note = case when ${note != null} then ${note?.text || null} else ti.note end,
      note_user_id = case when ${note != null} then ${note?.text ? note.userId : null} else ti.note_user_id end,
      updated_at = ${now}::timestamptz
    from asked where ti.id = asked.id`.execute(trx);
}

/** A finished run goes back to work; a live one only notes that it was cleared. */
async function reopenRun(
  trx: Transaction<Schema>,
  id: number,
  state: "queued" | "running",
  now: Instant,
): Promise<void> {
  await sql`
    update dag_run set
      state = case when finished then ${state} else state end,
      start_date = case when finished then ${state === "running" ? now : null}::timestamptz else start_date end,
      end_date = case when finished then null else end_date end,
      last_scheduling_decision = case when finished and ${state === "queued"} then null else last_scheduling_decision end,
      clear_number = clear_number + 1, queued_at = ${now}::timestamptz, updated_at = ${now}::timestamptz
    from (select state in ('success', 'failed') as finished from dag_run where id = ${id}) as before
    where dag_run.id = ${id}`.execute(trx);
}
