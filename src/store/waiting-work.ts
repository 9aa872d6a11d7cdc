import { sql } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import type { Claim } from "../domain/slots.ts";
import type { TaskInstanceState } from "../domain/states.ts";
import { isOfFileIn } from "./dags-of-file.ts";
import type { Database } from "./database.ts";
import type { LiveRunRow } from "./live-runs.ts";

/** What is looked at to explain why something waits. All of it goes by the indexes of what is live: history costs nothing. */

export interface DagStanding {
  is_paused: boolean;
  is_stale: boolean;
  relative_fileloc: string;
  timetable_summary: string | null;
  current_version_id: string | null;
  /** Of its file; null: it imports. */
  import_error: string | null;
}

/** undefined: there is no such DAG. */
export async function dagStanding(db: Database, dagId: string): Promise<DagStanding | undefined> {
  const { rows } = await sql<DagStanding>`
    select is_paused, is_stale, relative_fileloc, timetable_summary, current_version_id,
      (select stacktrace from import_error e
        where ${isOfFileIn("dag.relative_fileloc", "e.filename")} and e.bundle_name = dag.bundle_name
        order by e.timestamp desc limit 1) as import_error
    from dag where dag_id = ${dagId}`.execute(db);
  return rows[0];
}

/** Names of the files that cannot be imported. */
export async function brokenFiles(db: Database): Promise<string[]> {
  const rows = await db.selectFrom("import_error").select("filename").orderBy("filename").limit(100).execute();
  return rows.map(({ filename }) => filename);
}

/** A run, which may have ended, or have no version. */
export interface RunStanding extends Omit<LiveRunRow, "dag_version_id" | "clear_number" | "dag_is_paused"> {
  end_date: Instant | null;
  dag_version_id: string | null;
}

const RUN_COLUMNS = sql`id, dag_id, run_id, run_type, state, logical_date, run_after, start_date, end_date, backfill_id,
  triggered_by,
  (select sort_ordinal from backfill_dag_run b where b.dag_run_id = r.id and b.backfill_id = r.backfill_id) as backfill_ordinal,
  coalesce(dag_version_id, (select current_version_id from dag where dag.dag_id = r.dag_id)) as dag_version_id`;

export async function runStanding(db: Database, dagId: string, runId: string): Promise<RunStanding | undefined> {
  const { rows } = await sql<RunStanding>`
    select ${RUN_COLUMNS} from dag_run r where dag_id = ${dagId} and run_id = ${runId}`.execute(db);
  return rows[0];
}

/** The DAG's queued and running runs, running ones first, at most `limit`. */
export async function liveRunsOf(db: Database, dagId: string, limit: number): Promise<RunStanding[]> {
  const { rows } = await sql<RunStanding>`
    select ${RUN_COLUMNS} from dag_run r where dag_id = ${dagId} and state in ('queued', 'running')
    order by state desc, run_after, id limit ${limit}`.execute(db);
  return rows;
}

/** What `Slots` is told to know what it knew: what holds slots now, in the whole installation or, deferred, in this pool or of this task. */
export async function slotHolders(
  db: Database,
  claim: { pool: string; dagId: string; taskId: string },
): Promise<ClaimRow[]> {
  return await claims(
    db,
    sql`ti.state in ('queued', 'running', 'restarting') or (ti.state in ('deferred', 'awaiting_input')
      and (ti.pool = ${claim.pool} or (ti.dag_id = ${claim.dagId} and ti.task_id = ${claim.taskId})))`,
    null,
  );
}

/** Scheduled task instances of at least this weight, the heaviest first, at most `limit`. */
export async function scheduledClaims(db: Database, weight: number, limit: number): Promise<ClaimRow[]> {
  return await claims(db, sql`ti.state = 'scheduled' and ti.priority_weight >= ${weight}`, limit);
}

export interface ClaimRow {
  claim: Claim;
  state: TaskInstanceState;
  runId: string;
}

async function claims(db: Database, where: ReturnType<typeof sql>, limit: number | null): Promise<ClaimRow[]> {
  const { rows } = await sql<{
    id: string;
    dag_run_id: number;
    run_id: string;
    dag_id: string;
    task_id: string;
    map_index: number;
    state: TaskInstanceState;
    pool: string;
    pool_slots: number;
    priority_weight: number;
    run_order: Instant;
  }>`
    select ti.id, ti.dag_run_id, r.run_id, ti.dag_id, ti.task_id, ti.map_index, ti.state, ti.pool, ti.pool_slots,
      ti.priority_weight, coalesce(r.logical_date, r.run_after) as run_order
    from task_instance ti join dag_run r on r.id = ti.dag_run_id
    where (${where}) and r.state in ('queued', 'running')
    order by ti.priority_weight desc, run_order, ti.map_index limit ${limit}`.execute(db);
  return rows.map((row) => ({
    claim: {
      id: row.id,
      dagRunId: row.dag_run_id,
      dagId: row.dag_id,
      task: {
        taskId: row.task_id,
        pool: row.pool,
        poolSlots: row.pool_slots,
        priorityWeightTotal: row.priority_weight,
        maxActiveTisPerDag: null,
        maxActiveTisPerDagrun: null,
      },
      mapIndex: row.map_index,
      runOrder: row.run_order,
    },
    state: row.state,
    runId: row.run_id,
  }));
}

/** What a task instance waits for by itself, or how it ended. */
export interface TaskStanding {
  id: string;
  state: TaskInstanceState | null;
  try_number: number;
  max_tries: number;
  wake_at: Instant | null;
  retry_reason: string | null;
  queued_dttm: Instant | null;
  queue: string;
  /** Agents that serve the queue; null: it is not one of agents. */
  agents: number | null;
  start_date: Instant | null;
  end_date: Instant | null;
  hostname: string;
  pid: number | null;
  trigger_timeout: Instant | null;
  trigger_id: number | null;
  trigger_classpath: string | null;
  trigger_created: Instant | null;
  question: string | null;
  question_options: JsonText | null;
  question_assignees: JsonText | null;
  question_created: Instant | null;
}

export async function taskStandings(db: Database, ids: readonly string[]): Promise<Map<string, TaskStanding>> {
  const { rows } = await sql<TaskStanding>`
    select ti.id, ti.state, ti.try_number, ti.max_tries, ti.wake_at, ti.retry_reason, ti.queued_dttm, ti.start_date,
      ti.end_date, ti.hostname, ti.pid, ti.trigger_timeout, t.id as trigger_id, t.classpath as trigger_classpath,
      t.created_date as trigger_created, h.subject as question, h.options as question_options,
      h.assignees as question_assignees, h.created_at as question_created, coalesce(ti.queue, 'default') as queue, (
        select case when count(distinct a.jti) > 0 then count(s.id)::integer end
        from agent_token a left join agent_session s on s.jti = a.jti and coalesce(ti.queue, 'default') = any(s.queues)
        where coalesce(ti.queue, 'default') = any(a.queues) and (a.expires_at is null or a.expires_at > now())
      ) as agents
    from task_instance ti left join trigger t on t.id = ti.trigger_id left join hitl_detail h on h.ti_id = ti.id
    where ti.id = any(${ids}::uuid[])`.execute(db);
  return new Map(rows.map((row) => [row.id, row]));
}
