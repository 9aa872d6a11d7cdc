import { sql, type NotNull, type SqlBool } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { TaskInstanceState } from "../domain/states.ts";
import type { TeamScope } from "../domain/team.ts";
import type { Database } from "./database.ts";
import {
  afterCursor,
  column,
  cursorValues,
  equals,
  inOpenRange,
  inRange,
  isOneOf,
  isOneOfOrNull,
  matches,
  orderExpressions,
  paginated,
  type Condition,
  type Order,
  type Page,
  type Patterns,
  type Range,
  type Sortable,
} from "./filters.ts";
import { dagsWithin } from "./team-scope.ts";

/** A task instance with what the API tells beside it. */
export type TaskInstanceRow = Awaited<ReturnType<typeof findTaskInstances>>[number];

export interface TaskInstanceFilter {
  dagId?: string;
  runId?: string;
  taskId?: string;
  /** Only instances of expanded tasks. */
  mapped?: boolean;
  dagIds?: readonly string[];
  runIds?: readonly string[];
  taskIds?: readonly string[];
  /** The tasks of a group: none of them, when it is empty. */
  groupTaskIds?: readonly string[];
  runAfter?: Range<Instant>;
  logicalDate?: Range<Instant>;
  /** What has not started or ended counts as now, unless `strictDates`. */
  startDate?: Range<Instant>;
  endDate?: Range<Instant>;
  strictDates?: boolean;
  updatedAt?: Range<Instant>;
  duration?: Range<number>;
  states?: readonly (TaskInstanceState | null)[];
  pools?: readonly string[];
  queues?: readonly string[];
  executors?: readonly string[];
  versionNumbers?: readonly number[];
  tryNumbers?: readonly number[];
  operators?: readonly string[];
  mapIndexes?: readonly number[];
  teams?: TeamScope;
  patterns?: {
    dagId?: Patterns;
    runId?: Patterns;
    taskDisplayName?: Patterns;
    pool?: Patterns;
    queue?: Patterns;
    operatorName?: Patterns;
    renderedMapIndex?: Patterns;
  };
}

const displayName = sql<string>`coalesce(ti.task_display_name, ti.task_id)`;
const dagDisplayName = sql<string>`coalesce(dag.dag_display_name, ti.dag_id)`;
const renderedMapIndex = sql<string | null>`coalesce(ti.rendered_map_index, case when ti.map_index >= 0
  then ti.map_index::text end)`;

/** What task instances may be sorted by. */
export const TASK_INSTANCE_SORTABLE: Sortable = {
  id: column("ti.id"),
  state: column("ti.state"),
  duration: column("ti.duration"),
  start_date: column("ti.start_date"),
  end_date: column("ti.end_date"),
  map_index: column("ti.map_index"),
  try_number: column("ti.try_number"),
  operator: column("ti.operator"),
  rendered_map_index: column("ti.rendered_map_index"),
  logical_date: column("dr.logical_date"),
  run_after: column("dr.run_after"),
  data_interval_start: column("dr.data_interval_start"),
  data_interval_end: column("dr.data_interval_end"),
};

function conditions(filter: TaskInstanceFilter): Condition[] {
  const { patterns = {} } = filter;
  const dates = filter.strictDates ? inRange : inOpenRange;
  return [
    ...equals(column("ti.dag_id"), filter.dagId),
    // Once more on the run: (dag_id, run_id) is the index that finds it.
    ...equals(column("dr.dag_id"), filter.dagId),
    ...equals(column("dr.run_id"), filter.runId),
    ...equals(column("ti.task_id"), filter.taskId),
    ...(filter.mapped ? [sql<SqlBool>`ti.map_index >= 0`] : []),
    ...isOneOf(column("ti.dag_id"), filter.dagIds),
    ...dagsWithin(column("ti.dag_id"), filter.teams),
    ...isOneOf(column("dr.run_id"), filter.runIds),
    ...isOneOf(column("ti.task_id"), filter.taskIds),
    ...(filter.groupTaskIds ? [sql<SqlBool>`ti.task_id = any(${filter.groupTaskIds}::text[])`] : []),
    ...inRange(column("dr.run_after"), filter.runAfter),
    ...inRange(column("dr.logical_date"), filter.logicalDate),
    ...dates(column("ti.start_date"), filter.startDate),
    ...dates(column("ti.end_date"), filter.endDate),
    ...inRange(column("ti.updated_at"), filter.updatedAt),
    ...inRange(column("ti.duration"), filter.duration),
    ...isOneOfOrNull(column("ti.state"), filter.states),
    ...isOneOf(column("ti.pool"), filter.pools),
    ...isOneOf(column("ti.queue"), filter.queues),
    ...isOneOf(column("ti.executor"), filter.executors),
    ...isOneOf(column("dv.version_number"), filter.versionNumbers),
    ...isOneOf(column("ti.try_number"), filter.tryNumbers),
    ...isOneOf(column("ti.operator"), filter.operators),
    ...isOneOf(column("ti.map_index"), filter.mapIndexes),
    ...matches(column("ti.dag_id"), patterns.dagId),
    ...matches(column("dr.run_id"), patterns.runId),
    ...matches(displayName, patterns.taskDisplayName),
    ...matches(column("ti.pool"), patterns.pool),
    ...matches(column("ti.queue"), patterns.queue),
    ...matches(column("ti.custom_operator_name"), patterns.operatorName),
    ...matches(renderedMapIndex, patterns.renderedMapIndex),
  ];
}

function joined(db: Database, filter: TaskInstanceFilter) {
  let query = db
    .selectFrom("task_instance as ti")
    // Every task instance has its run: as a left join it costs nothing where nothing is asked of it.
    .leftJoin("dag_run as dr", "dr.id", "ti.dag_run_id")
    .leftJoin("dag", "dag.dag_id", "ti.dag_id")
    .leftJoin("dag_version as dv", "dv.id", "ti.dag_version_id");
  for (const condition of conditions(filter)) query = query.where(condition);
  return query;
}

function complete(query: ReturnType<typeof joined>) {
  return query
    .leftJoin("rendered_task_instance_fields as rf", (join) =>
      join
        .onRef("rf.dag_run_id", "=", "ti.dag_run_id")
        .onRef("rf.task_id", "=", "ti.task_id")
        .onRef("rf.map_index", "=", "ti.map_index"),
    )
    .leftJoin("trigger as tr", "tr.id", "ti.trigger_id")
    .leftJoin("job as tj", "tj.id", "tr.triggerer_id")
    .select(["ti.id", "ti.dag_run_id", "ti.task_id", "ti.dag_id", "dr.run_id", "ti.map_index", "dr.logical_date"])
    .select([
      "dr.run_after",
      "ti.start_date",
      "ti.end_date",
      "ti.duration",
      "ti.state",
      "ti.try_number",
      "ti.max_tries",
    ])
    .select(["ti.hostname", "ti.unixname", "ti.pool", "ti.pool_slots", "ti.queue", "ti.priority_weight", "ti.operator"])
    .select([
      "ti.custom_operator_name",
      "ti.queued_dttm",
      "ti.scheduled_dttm",
      "ti.updated_at",
      "ti.pid",
      "ti.executor",
    ])
    .select(["ti.executor_config", "ti.note", "rf.rendered_fields", "tr.id as trigger_id", "tr.classpath"])
    .select(["tr.queue as trigger_queue", "tr.created_date as trigger_created_date", "tr.triggerer_id"])
    .select(["tj.state as triggerer_state", "tj.job_type as triggerer_job_type", "tj.hostname as triggerer_hostname"])
    .select(["tj.start_date as triggerer_start_date", "tj.latest_heartbeat as triggerer_heartbeat"])
    .select(["tj.end_date as triggerer_end_date", "tj.unixname as triggerer_unixname"])
    .select(["dv.id as version_id", "dv.version_number", "dv.bundle_name", "dv.bundle_version"])
    .select("dv.created_at as version_created_at")
    .select([displayName.as("task_display_name"), dagDisplayName.as("dag_display_name")])
    .select(renderedMapIndex.as("rendered_map_index"))
    .$narrowType<{ run_id: NotNull; run_after: NotNull }>();
}

/** All that match, by run, task and map index. For filters that name few. */
export async function findTaskInstances(db: Database, filter: TaskInstanceFilter) {
  return await complete(joined(db, filter)).orderBy("dr.id").orderBy("ti.task_id").orderBy("ti.map_index").execute();
}

/** These task instances in the order of the ids. */
export async function findTaskInstancesById(db: Database, ids: readonly string[]): Promise<TaskInstanceRow[]> {
  const rows = await complete(joined(db, {}))
    .where("ti.id", "=", sql<string>`any(${ids}::uuid[])`)
    .execute();
  const byId = new Map(rows.map((row) => [row.id, row]));
  return ids.flatMap((id) => byId.get(id) ?? []);
}

export async function findTaskInstance(
  db: Database,
  place: { dagId: string; runId: string; taskId: string; mapIndex: number },
): Promise<TaskInstanceRow | null> {
  const { mapIndex, ...filter } = place;
  return (await findTaskInstances(db, { ...filter, mapIndexes: [mapIndex] }))[0] ?? null;
}

export async function countTaskInstances(db: Database, filter: TaskInstanceFilter): Promise<number> {
  const { total } = await joined(db, filter)
    .select(sql<number>`count(*)`.as("total"))
    .executeTakeFirstOrThrow();
  return total;
}

/** One page by offset, with the exact number of all. */
export async function pageOfTaskInstances(
  db: Database,
  filter: TaskInstanceFilter,
  sorting: { orders: readonly Order[]; page: Page },
): Promise<{ rows: TaskInstanceRow[]; total: number }> {
  return await paginated(complete(joined(db, filter)), { ...sorting, sortable: TASK_INSTANCE_SORTABLE });
}

export interface CursorPage {
  rows: (TaskInstanceRow & { cursor: (string | null)[] })[];
  hasMore: boolean;
}

/** One page after (or, backward, before) a cursor, in the order given either way. */
export async function taskInstancesAfter(
  db: Database,
  filter: TaskInstanceFilter,
  paging: { orders: readonly Order[]; limit: number; after: readonly (string | null)[] | null; backward: boolean },
): Promise<CursorPage> {
  const { orders, limit, after, backward } = paging;
  let query = complete(joined(db, filter)).select(cursorValues(orders, TASK_INSTANCE_SORTABLE).as("cursor"));
  if (after) query = query.where(afterCursor(orders, TASK_INSTANCE_SORTABLE, after, backward));
  for (const order of orderExpressions(orders, TASK_INSTANCE_SORTABLE, backward)) query = query.orderBy(order);
  // One more than asked for tells whether there is a next page.
  const found = await query.limit(limit + 1).execute();
  const rows = found.slice(0, limit);
  return { rows: backward ? rows.reverse() : rows, hasMore: found.length > limit };
}

/** How many match, counting no further than `limit`. */
export async function countTaskInstancesUpTo(db: Database, filter: TaskInstanceFilter, limit: number): Promise<number> {
  const { total } = await db
    .selectFrom(joined(db, filter).select("ti.id").limit(limit).as("bounded"))
    .select(sql<number>`count(*)`.as("total"))
    .executeTakeFirstOrThrow();
  return total;
}

/** Removes task instances with everything that hangs on their place. Returns what was removed. */
export async function deleteTaskInstances(
  db: Database,
  ids: readonly string[],
): Promise<{ id: string; dagRunId: number; state: TaskInstanceState | null }[]> {
  const { rows } = await sql<{ id: string; dag_run_id: number; state: TaskInstanceState | null }>`
    with gone as (
      delete from task_instance where id = any(${ids}::uuid[]) returning id, dag_run_id, task_id, map_index, state
    ), history as (
      delete from task_instance_history h using gone
      where h.dag_run_id = gone.dag_run_id and h.task_id = gone.task_id and h.map_index = gone.map_index
    ), rendered as (
      delete from rendered_task_instance_fields r using gone
      where r.dag_run_id = gone.dag_run_id and r.task_id = gone.task_id and r.map_index = gone.map_index
    ), values_pushed as (
      delete from xcom x using gone
      where x.dag_run_id = gone.dag_run_id and x.task_id = gone.task_id and x.map_index = gone.map_index
    ), lengths as (
      delete from task_map m using gone
      where m.dag_run_id = gone.dag_run_id and m.task_id = gone.task_id and m.map_index = gone.map_index
    ), reschedules as (
      delete from task_reschedule s using gone where s.ti_id = gone.id
    )
    select id, dag_run_id, state from gone`.execute(db);
  return rows.map((row) => ({ id: row.id, dagRunId: row.dag_run_id, state: row.state }));
}

/** Writes a note on task instances; null takes it away. */
export async function noteTaskInstances(
  db: Database,
  ids: readonly string[],
  note: { text: string; userId: string } | null,
): Promise<void> {
  await db
    .updateTable("task_instance")
    .set({ note: note?.text ?? null, note_user_id: note?.userId ?? null })
    .where("id", "=", sql<string>`any(${ids}::uuid[])`)
    .execute();
}
