import { sql } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { TaskInstanceState } from "../domain/states.ts";
import type { TaskMarker } from "../domain/task-relatives.ts";
import type { Executor } from "./transaction.ts";

/** Which task instances a clear or a mark means. Every field narrows; what is left out does not. */
export interface TaskSelection {
  dagId: string;
  runIds?: readonly string[];
  excludeRunIds?: readonly string[];
  /** Bounds of the runs' logical dates, both included. Runs without one are then not meant. */
  startDate?: Instant | null;
  endDate?: Instant | null;
  /** Tasks, or single map indexes of them. An empty list means none. */
  tasks?: readonly TaskMarker[];
  excludeTaskIds?: readonly string[];
  /** null stands for "no state yet". An empty list means any. */
  states?: readonly (TaskInstanceState | null)[];
  notState?: TaskInstanceState;
}

/** Ids of the selected task instances, by run, task and map index. With `lock`, nobody changes them until the transaction ends. */
export async function selectTaskInstances(
  db: Executor,
  selection: TaskSelection,
  options: { lock?: boolean } = {},
): Promise<string[]> {
  const { tasks, states } = selection;
  let query = db
    .selectFrom("task_instance as ti")
    .innerJoin("dag_run as dr", "dr.id", "ti.dag_run_id")
    .select("ti.id")
    .where("ti.dag_id", "=", selection.dagId)
    .where("dr.dag_id", "=", selection.dagId)
    .orderBy("dr.id")
    .orderBy("ti.task_id")
    .orderBy("ti.map_index");
  if (selection.runIds) query = query.where("dr.run_id", "=", anyOf(selection.runIds));
  if (selection.excludeRunIds?.length) query = query.where("dr.run_id", "!=", allOf(selection.excludeRunIds));
  if (selection.startDate) query = query.where("dr.logical_date", ">=", selection.startDate);
  if (selection.endDate) query = query.where("dr.logical_date", "<=", selection.endDate);
  if (selection.excludeTaskIds?.length) query = query.where("ti.task_id", "!=", allOf(selection.excludeTaskIds));
  if (tasks) {
    const whole = tasks.filter((task) => typeof task === "string");
    const single = tasks.filter((task) => typeof task !== "string");
    query = query.where((eb) =>
      eb.or([
        eb("ti.task_id", "=", anyOf(whole)),
        sql<boolean>`(ti.task_id, ti.map_index) in (select * from unnest(${single.map(([id]) => id)}::text[],
          ${single.map(([, index]) => index)}::integer[]))`,
      ]),
    );
  }
  if (states && states.length > 0) {
    query = query.where((eb) =>
      eb.or([
        eb("ti.state", "=", anyOf(states.filter((state) => state !== null))),
        ...(states.includes(null) ? [eb("ti.state", "is", null)] : []),
      ]),
    );
  }
  if (selection.notState) query = query.where(sql<boolean>`ti.state is distinct from ${selection.notState}`);
  if (options.lock) query = query.forNoKeyUpdate(["ti"]);
  return (await query.execute()).map((row) => row.id);
}

/** Locks task instances by the place they fill, so that one whose try changed meanwhile is still found. */
export async function lockTaskInstances(db: Executor, ids: readonly string[]): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    with place as (
      select dag_run_id, task_id, map_index from task_instance where id = any(${ids}::uuid[])
    )
    select ti.id from task_instance ti join place using (dag_run_id, task_id, map_index)
    order by ti.dag_run_id, ti.task_id, ti.map_index
    for no key update of ti`.execute(db);
  return rows.map((row) => row.id);
}

const anyOf = (values: readonly string[]) => sql<never>`any(${values}::text[])`;
const allOf = (values: readonly string[]) => sql<never>`all(${values}::text[])`;
