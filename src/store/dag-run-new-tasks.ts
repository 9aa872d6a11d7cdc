import { sql } from "kysely";
import type { DagGraph } from "../domain/dag-graph.ts";
import { clearEvents, publishAll, type Surgery } from "./clear.ts";
import { moveRunToVersion } from "./run-version.ts";
import { inTransaction } from "./transaction.ts";

/** Tasks of a DAG's newest version that a run has no task instance for. */
export async function newTasksOf(
  surgery: Pick<Surgery, "db">,
  run: { id: number },
  latest: DagGraph,
): Promise<string[]> {
  const rows = await surgery.db
    .selectFrom("task_instance")
    .select("task_id")
    .distinct()
    .where("dag_run_id", "=", run.id)
    .execute();
  const present = new Set(rows.map((row) => row.task_id));
  return [...latest.tasks.keys()].filter((taskId) => !present.has(taskId)).sort();
}

/** Gives a run the tasks its DAG got since, and queues it again for them; what ran already is left alone. */
export async function queueNewTasks(surgery: Surgery, run: { id: number; dag_id: string }): Promise<void> {
  const events = await inTransaction(surgery.db, async (trx) => {
    const row = await trx
      .selectFrom("dag_run as dr")
      .innerJoin("dag", "dag.dag_id", "dr.dag_id")
      .where("dr.id", "=", run.id)
      .select(["dr.state", "dag.current_version_id", "dag.bundle_version"])
      .forNoKeyUpdate(["dr"])
      .executeTakeFirst();
    if (!row?.current_version_id) return [];
    const graph = await surgery.graph(row.current_version_id);
    const present = await trx
      .selectFrom("task_instance")
      .select("task_id")
      .distinct()
      .where("dag_run_id", "=", run.id)
      .execute();
    const known = new Set(present.map(({ task_id }) => task_id));
    if ([...graph.tasks.keys()].every((taskId) => known.has(taskId))) return [];
    const now = surgery.kit.clock.now();
    const version = { id: row.current_version_id, graph, bundleVersion: row.bundle_version };
    const killed = await moveRunToVersion(trx, { ...run, state: row.state }, version, now);
    await sql`
      update dag_run set state = 'queued', queued_at = ${now}::timestamptz, start_date = null, end_date = null,
        last_scheduling_decision = null, clear_number = clear_number + 1, updated_at = ${now}::timestamptz
      where id = ${run.id} and state in ('success', 'failed')`.execute(trx);
    return clearEvents({ killed, dagRunIds: [run.id] });
  });
  publishAll(surgery.bus, events);
}
