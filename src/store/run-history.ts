import { sql } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { DagGraph } from "../domain/dag-graph.ts";
import type { PreviousRun, SkipRecord } from "../domain/decision.ts";
import type { TaskInstanceState } from "../domain/states.ts";
import type { Database } from "./database.ts";

export interface NamedPreviousRun extends PreviousRun {
  id: number;
  runId: string;
}

/** What decides of a run beside its own rows. */
export interface RunHistory {
  previous: NamedPreviousRun | null;
  skips: Map<string, Map<number, SkipRecord>>;
  /** Tasks with depends_on_past: what happens in the run before matters to them. */
  dependingOnPast: string[];
}

/** The run before, and what branches decided, where the tasks of the DAG look at that. */
export async function runHistory(
  db: Database,
  run: { id: number; dag_id: string; logical_date: Instant | null; backfill_ordinal: number | null },
  graph: DagGraph,
): Promise<RunHistory> {
  const tasks = [...graph.tasks.values()];
  // The first run of a backfill has no past.
  const looksBack = run.backfill_ordinal !== 1;
  const dependingOnPast = tasks.filter((task) => looksBack && task.dependsOnPast).map((task) => task.taskId);
  const past = { catchup: graph.catchup, taskIds: dependingOnPast };
  const branches = tasks.some((task) => task.inheritsFromSkipMixin);
  return {
    previous: dependingOnPast.length === 0 ? null : await previousRun(db, run, past),
    skips: branches ? await skipRecords(db, run.id) : new Map<string, never>(),
    dependingOnPast,
  };
}

/**
 * The run that tasks with depends_on_past look at: the one before by logical date, leaving out manual ones where the DAG
 * catches up (DagRun.get_previous_scheduled_dagrun). null: there is none. `taskIds` are those whose past matters.
 */
async function previousRun(
  db: Database,
  run: { dag_id: string; logical_date: Instant | null },
  options: { catchup: boolean; taskIds: readonly string[] },
): Promise<NamedPreviousRun | null> {
  if (run.logical_date === null) return null;
  const { rows } = await sql<{
    id: number;
    run_id: string;
    logical_date: Instant;
    states: [string, TaskInstanceState | null][];
    ever_ran: string[];
  }>`
    with previous as (
      select id, run_id, logical_date from dag_run
      where dag_id = ${run.dag_id} and logical_date < ${run.logical_date}::timestamptz
        and (not ${options.catchup} or run_type <> 'manual')
      order by logical_date desc limit 1
    )
    select id, run_id, logical_date,
      (select coalesce(jsonb_agg(jsonb_build_array(ti.task_id, ti.state)), '[]') from task_instance ti
        where ti.dag_run_id = previous.id) as states,
      (select coalesce(jsonb_agg(wanted.task_id), '[]') from unnest(${options.taskIds}::text[]) as wanted(task_id)
        where exists (select from task_instance ti join dag_run earlier on earlier.id = ti.dag_run_id
          where ti.dag_id = ${run.dag_id} and ti.task_id = wanted.task_id
            and earlier.logical_date < ${run.logical_date}::timestamptz)) as ever_ran
    from previous`.execute(db);
  const row = rows[0];
  if (!row) return null;
  const states = new Map<string, (TaskInstanceState | null)[]>();
  for (const [taskId, state] of row.states) states.set(taskId, [...(states.get(taskId) ?? []), state]);
  return { id: row.id, runId: row.run_id, logicalDate: row.logical_date, states, everRan: new Set(row.ever_ran) };
}

/** What branches and short circuits of the run decided (their XCom `skipmixin_key`): a cleared task must still honour it. */
async function skipRecords(db: Database, dagRunId: number): Promise<Map<string, Map<number, SkipRecord>>> {
  const rows = await db
    .selectFrom("xcom")
    .select(["task_id", "map_index", "value"])
    .where("dag_run_id", "=", dagRunId)
    .where("key", "=", "skipmixin_key")
    .execute();
  const records = new Map<string, Map<number, SkipRecord>>();
  for (const { task_id: taskId, map_index: mapIndex, value } of rows) {
    const record = value === null ? null : (JSON.parse(value) as SkipRecord | null);
    if (record === null || typeof record !== "object") continue;
    const ofTask = records.get(taskId) ?? new Map<number, SkipRecord>();
    records.set(taskId, ofTask.set(mapIndex, record));
  }
  return records;
}
