import { sql, type Transaction } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { DagGraph } from "../domain/dag-graph.ts";
import type { DagRunState, TaskInstanceState } from "../domain/states.ts";
import { HOLDS_PROCESS } from "../domain/states-of-work.ts";
import { flatRelatives, subset, type TaskMarker } from "../domain/task-relatives.ts";
import { clearEvents, clearLocked, publishAll, type Surgery } from "./clear.ts";
import type { Schema } from "./schema.ts";
import { selectTaskInstances, type TaskSelection } from "./task-selection.ts";
import { inTransaction, type Executor } from "./transaction.ts";

/** What users may set a task instance to. */
export type MarkState = "success" | "failed" | "skipped";

export interface MarkRequest {
  /** The version whose edges are followed: the DAG's current one. */
  graph: DagGraph;
  runId: string;
  /** Tasks, or single map indexes of them. */
  tasks: readonly TaskMarker[];
  state: MarkState;
  upstream?: boolean;
  downstream?: boolean;
  /** Also in all later or earlier runs, by logical date. */
  future?: boolean;
  past?: boolean;
}

/** Ids of the task instances that a mark would change, in order: those meant that are not in the state already. */
export async function selectToMark(
  db: Executor,
  request: MarkRequest,
  options: { lock?: boolean } = {},
): Promise<string[]> {
  const selection: TaskSelection = {
    dagId: request.graph.dagId,
    runIds: await runIdsInRange(db, request),
    tasks: request.tasks.flatMap((marker) => withRelatives(request, marker)),
    notState: request.state,
  };
  return await selectTaskInstances(db, selection, options);
}

/**
 * Sets task instances to a state, ends those that run, and clears failed tasks behind them so that the run goes on. Returns the
 * ids that were changed; an empty list means all of them were in that state already, and nothing was done.
 */
export async function markTaskInstances(surgery: Surgery, request: MarkRequest): Promise<string[]> {
  const { changed, events } = await inTransaction(surgery.db, async (trx) => {
    const ids = await selectToMark(trx, request, { lock: true });
    if (ids.length === 0) return { changed: ids, events: [] };
    const marked = await setStates(trx, ids, request.state, surgery.kit.clock.now());
    const failedBehind = await selectTaskInstances(trx, await failedBehindOf(trx, request), { lock: true });
    const resumed = await clearLocked(trx, surgery, failedBehind, {});
    return {
      changed: ids,
      events: [
        ...clearEvents(marked, `marked ${request.state}`),
        ...(resumed.kind === "cleared" ? clearEvents(resumed) : []),
      ],
    };
  });
  publishAll(surgery.bus, events);
  return changed;
}

function withRelatives(request: MarkRequest, marker: TaskMarker): TaskMarker[] {
  const { graph } = request;
  const taskId = typeof marker === "string" ? marker : marker[0];
  const behind = request.downstream ? [...flatRelatives(graph, taskId, "downstream")] : [];
  const before = request.upstream ? [...flatRelatives(graph, taskId, "upstream")] : [];
  return [marker, ...behind.filter((id) => !graph.tasks.get(id)?.isTeardown), ...before];
}

/** Timetables that never make runs by themselves: any run counts as past or future. */
const NEVER_SCHEDULED = /\.(NullTimetable|AssetTriggeredTimetable|PartitionedAssetTimetable)$/;
const NOT_PERIODIC = /\.(OnceTimetable|ContinuousTimetable)$/;

/** The runs that "past" and "future" reach from a run. Follows `airflow.api.common.mark_tasks.get_run_ids`. */
async function runIdsInRange(db: Executor, request: MarkRequest): Promise<string[]> {
  const { graph, runId, future, past } = request;
  const timetable = graph.timetable.type;
  if ((!future && !past) || NOT_PERIODIC.test(timetable)) return [runId];
  const anyRun = NEVER_SCHEDULED.test(timetable);
  const { rows } = await sql<{ run_id: string }>`
    with given as (
      select logical_date from dag_run where dag_id = ${graph.dagId} and run_id = ${runId}
    )
    select dr.run_id from dag_run dr, given
    where dr.dag_id = ${graph.dagId} and (dr.run_id = ${runId} or (
      (${past ?? false} or dr.logical_date >= given.logical_date)
      and (${future ?? false} or dr.logical_date <= given.logical_date)
      and given.logical_date is not null and dr.logical_date is not null
      -- Of a schedule's runs, those that were triggered by hand at odd times are not part of it.
      and (${anyRun} or dr.run_type in ('scheduled', 'backfill'))))
    order by dr.run_id`.execute(db);
  return rows.map((row) => row.run_id);
}

/** What failed behind the marked tasks, in the runs that were marked. */
async function failedBehindOf(db: Executor, request: MarkRequest): Promise<TaskSelection> {
  const { graph, runId, future, past } = request;
  const taskIds = [...new Set(request.tasks.map((marker) => (typeof marker === "string" ? marker : marker[0])))];
  const selection: TaskSelection = {
    dagId: graph.dagId,
    tasks: [...subset(graph, taskIds, { upstream: false, downstream: true })],
    excludeTaskIds: taskIds,
    states: ["failed", "upstream_failed"],
  };
  if (!future && !past) return { ...selection, runIds: [runId] };
  if (future && past) return selection;
  const run = await db
    .selectFrom("dag_run")
    .select("logical_date")
    .where("dag_id", "=", graph.dagId)
    .where("run_id", "=", runId)
    .executeTakeFirstOrThrow();
  if (run.logical_date === null) return { ...selection, runIds: [runId] };
  return future ? { ...selection, startDate: run.logical_date } : { ...selection, endDate: run.logical_date };
}

/** Sets locked rows to a finished state. Whatever worked for them has to be ended. */
async function setStates(
  trx: Transaction<Schema>,
  ids: readonly string[],
  state: MarkState,
  now: Instant,
): Promise<{ killed: string[]; dagRunIds: number[] }> {
  if (ids.length === 0) return { killed: [], dagRunIds: [] };
  const { rows } = await sql<{ id: string; dag_run_id: number; before: TaskInstanceState | null }>`
    update task_instance ti set
      state = ${state}, start_date = coalesce(ti.start_date, ${now}), end_date = coalesce(ti.end_date, ${now}),
      duration = extract(epoch from coalesce(ti.end_date, ${now}) - coalesce(ti.start_date, ${now})),
      wake_at = null, trigger_id = null, trigger_timeout = null, next_method = null, next_kwargs = null,
      updated_at = ${now}
    from (select id, state from task_instance where id = any(${ids}::uuid[])) as old
    where ti.id = old.id
    returning ti.id, ti.dag_run_id, old.state as before`.execute(trx);
  return {
    killed: rows.filter((row) => row.before !== null && HOLDS_PROCESS.has(row.before)).map((row) => row.id),
    dagRunIds: [...new Set(rows.map((row) => row.dag_run_id))],
  };
}

/** States of a try that a terminal run state ends; what merely waits is skipped instead. */
const UNDER_WAY: readonly TaskInstanceState[] = [
  "running",
  "restarting",
  "deferred",
  "up_for_reschedule",
  "awaiting_input",
];
const WAITING = [null, "scheduled", "queued", "up_for_retry"] as const;

/**
 * Sets a run's state. "success" and "failed" end its running tasks with that state and skip what waits; teardown tasks are left
 * to finish, and while there are such the run itself stays live. "queued" only queues the run again. Returns the ids of the
 * task instances it changed. The graph is that of the run's version.
 */
export async function markDagRun(
  surgery: Surgery,
  run: { id: number; runId: string; graph: DagGraph },
  state: Exclude<DagRunState, "running">,
): Promise<string[]> {
  const { changed, events } = await inTransaction(surgery.db, async (trx) => {
    const now = surgery.kit.clock.now();
    if (state === "queued") {
      await setRunState(trx, run.id, state, now);
      return { changed: [], events: clearEvents({ killed: [], dagRunIds: [run.id] }) };
    }
    const tasks = [...run.graph.tasks.values()];
    const teardowns = tasks.filter((task) => task.isTeardown).map((task) => task.taskId);
    const ordinary = tasks.filter((task) => !task.isTeardown).map((task) => task.taskId);
    const inRun = { dagId: run.graph.dagId, runIds: [run.runId] };
    const lock = { lock: true };
    const skipped = await selectTaskInstances(trx, { ...inRun, tasks: ordinary, states: WAITING }, lock);
    const ended = await selectTaskInstances(trx, { ...inRun, tasks: ordinary, states: UNDER_WAY }, lock);
    const openTeardowns = await selectTaskInstances(trx, {
      ...inRun,
      tasks: teardowns,
      states: [...UNDER_WAY, ...WAITING],
    });
    const killed = [
      ...(await setStates(trx, skipped, "skipped", now)).killed,
      ...(await setStates(trx, ended, state, now)).killed,
    ];
    if (openTeardowns.length === 0) await setRunState(trx, run.id, state, now);
    return {
      changed: [...skipped, ...ended],
      events: clearEvents({ killed, dagRunIds: [run.id] }, `dag run marked ${state}`),
    };
  });
  publishAll(surgery.bus, events);
  return changed;
}

/** Follows the table of `DagRun.set_state`. */
async function setRunState(
  trx: Transaction<Schema>,
  id: number,
  state: Exclude<DagRunState, "running">,
  now: Instant,
): Promise<void> {
  const update = trx.updateTable("dag_run").where("id", "=", id);
  if (state === "queued") {
    await update
      .set({ state, queued_at: now, start_date: null, end_date: null, last_scheduling_decision: null, updated_at: now })
      .execute();
    return;
  }
  await update
    .set({ state, updated_at: now, end_date: sql<Instant>`coalesce(end_date, ${now})` })
    .where("state", "!=", state)
    .execute();
}
