import { sql } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import type { DagRunState, DagRunType } from "../domain/states.ts";
import type { TeamScope } from "../domain/team.ts";
import type { Database } from "./database.ts";
import {
  containsText,
  afterCursor,
  allOf,
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
import type { DagVersionSummary } from "./query-dag-versions.ts";
import { dagsWithin } from "./team-scope.ts";

/** A run as clients see it. */
export interface DagRunSummary {
  id: number;
  run_id: string;
  dag_id: string;
  logical_date: Instant | null;
  queued_at: Instant | null;
  start_date: Instant | null;
  end_date: Instant | null;
  data_interval_start: Instant | null;
  data_interval_end: Instant | null;
  run_after: Instant;
  last_scheduling_decision: Instant | null;
  run_type: DagRunType;
  state: DagRunState;
  triggered_by: string | null;
  triggering_user_name: string | null;
  conf: JsonText | null;
  note: string | null;
  bundle_version: string | null;
  partition_key: string | null;
  partition_date: Instant | null;
  dag_version_id: string | null;
  dag_display_name: string;
  /** Versions its task instances ran on, oldest first; before there are any, the one it will run on. */
  dag_versions: DagVersionSummary[];
}

export interface DagRunFilter {
  dagIds?: readonly string[] | undefined;
  dagId?: Patterns;
  runId?: Patterns;
  triggeringUserName?: Patterns;
  partitionKey?: Patterns;
  partitionDate?: Range<Instant>;
  states?: readonly (DagRunState | null)[] | undefined;
  runTypes?: readonly (DagRunType | null)[] | undefined;
  dagVersions?: readonly number[] | undefined;
  bundleVersion?: string | undefined;
  confContains?: string | undefined;
  runAfter?: Range<Instant>;
  logicalDate?: Range<Instant>;
  startDate?: Range<Instant>;
  endDate?: Range<Instant>;
  updatedAt?: Range<Instant>;
  duration?: Range<number>;
  /** What has not started or ended passes bounds as if it did now; the batch endpoint wants that off. */
  openDates?: boolean;
  /** Consumed an asset of such a name or URI. */
  consumingAsset?: string | undefined;
  teams?: TeamScope;
}

const duration = sql`extract(epoch from dr.end_date - dr.start_date)`;

/** What runs may be sorted by. */
export const DAG_RUN_ORDER = {
  id: column("dr.id"),
  state: column("dr.state"),
  dag_id: column("dr.dag_id"),
  run_id: column("dr.run_id"),
  logical_date: column("dr.logical_date"),
  partition_date: column("dr.partition_date"),
  run_after: column("dr.run_after"),
  start_date: column("dr.start_date"),
  end_date: column("dr.end_date"),
  updated_at: column("dr.updated_at"),
  conf: sql`dr.conf::text`,
  duration,
} satisfies Sortable;

function conditionsOf(filter: DagRunFilter): Condition[] {
  const datesIn = (filter.openDates ?? true) ? inOpenRange : inRange;
  return [
    ...isOneOf(column("dr.dag_id"), filter.dagIds),
    ...matches(column("dr.dag_id"), filter.dagId),
    ...matches(column("dr.run_id"), filter.runId),
    ...matches(column("dr.triggering_user_name"), filter.triggeringUserName),
    ...matches(column("dr.partition_key"), filter.partitionKey),
    ...inRange(column("dr.partition_date"), filter.partitionDate),
    ...isOneOfOrNull(column("dr.state"), filter.states),
    ...isOneOfOrNull(column("dr.run_type"), filter.runTypes),
    ...equals(column("dr.bundle_version"), filter.bundleVersion),
    ...inRange(column("dr.run_after"), filter.runAfter),
    ...inRange(column("dr.logical_date"), filter.logicalDate),
    ...inRange(column("dr.updated_at"), filter.updatedAt),
    ...inRange(duration, filter.duration),
    ...datesIn(column("dr.start_date"), filter.startDate),
    ...datesIn(column("dr.end_date"), filter.endDate),
    ...(filter.dagVersions && filter.dagVersions.length > 0
      ? [
          sql<boolean>`dr.dag_version_id in (select id from dag_version where version_number in (${sql.join(filter.dagVersions)}))`,
        ]
      : []),
    ...(filter.confContains ? [confContains(filter.confContains)] : []),
    ...(filter.consumingAsset ? [consumed(filter.consumingAsset)] : []),
    ...dagsWithin(column("dr.dag_id"), filter.teams),
  ];
}

function consumed(asset: string): Condition {
  return sql<boolean>`dr.id in (
    select l.dag_run_id from dagrun_asset_event l join asset_event e on e.id = l.event_id join asset on asset.id = e.asset_id
    where ${containsText(column("asset.name"), asset)} or ${containsText(column("asset.uri"), asset)})`;
}

function confContains(text: string): Condition {
  return sql<boolean>`position(${text} in dr.conf::text) > 0`;
}

function summaries(db: Database) {
  return db
    .selectFrom("dag_run as dr")
    .innerJoin("dag", "dag.dag_id", "dr.dag_id")
    .select([
      "dr.id",
      "dr.run_id",
      "dr.dag_id",
      "dr.logical_date",
      "dr.queued_at",
      "dr.start_date",
      "dr.end_date",
      "dr.data_interval_start",
      "dr.data_interval_end",
      "dr.run_after",
      "dr.last_scheduling_decision",
      "dr.run_type",
      "dr.state",
      "dr.triggered_by",
      "dr.triggering_user_name",
      "dr.conf",
      "dr.note",
      "dr.bundle_version",
      "dr.partition_key",
      "dr.partition_date",
      "dr.dag_version_id",
    ])
    .select(sql<string>`coalesce(dag.dag_display_name, dag.dag_id)`.as("dag_display_name"));
}

type Bare = Omit<DagRunSummary, "dag_versions">;

/** Gives runs their versions, all in one statement. */
async function withVersions(db: Database, runs: readonly Bare[]): Promise<DagRunSummary[]> {
  if (runs.length === 0) return [];
  const { rows } = await sql<DagVersionSummary & { dag_run_id: number }>`
    with asked as (
      select dr.id, dr.dag_version_id from dag_run dr where dr.id = any(${runs.map((run) => run.id)}::bigint[])
    ), used as (
      select ti.dag_run_id, ti.dag_version_id from task_instance ti join asked on asked.id = ti.dag_run_id
      union
      select old.dag_run_id, old.dag_version_id from task_instance_history old join asked on asked.id = old.dag_run_id
      union
      select asked.id, asked.dag_version_id from asked
      where not exists (select from task_instance ti where ti.dag_run_id = asked.id)
    )
    select used.dag_run_id, v.id, v.version_number, v.dag_id, v.bundle_name, v.bundle_version, v.created_at,
      coalesce(dag.dag_display_name, dag.dag_id) as dag_display_name
    from used join dag_version v on v.id = used.dag_version_id join dag on dag.dag_id = v.dag_id
    order by v.version_number`.execute(db);
  return runs.map((run) => ({ ...run, dag_versions: rows.filter((version) => version.dag_run_id === run.id) }));
}

/** One page of runs by offset, and how many match. */
export async function listDagRuns(
  db: Database,
  filter: DagRunFilter,
  sorting: { orders: readonly Order[]; page: Page },
): Promise<{ rows: DagRunSummary[]; total: number }> {
  const query = summaries(db).where(allOf(conditionsOf(filter)));
  const { rows, total } = await paginated(query, { ...sorting, sortable: DAG_RUN_ORDER });
  return { rows: await withVersions(db, rows), total };
}

/** How many rows a page by cursor counts at most. */
export const COUNT_LIMIT = 50_000;

export interface CursorPage {
  rows: DagRunSummary[];
  /** At most COUNT_LIMIT. */
  total: number;
  /** Sort keys of the first and the last row. */
  first: (string | null)[] | null;
  last: (string | null)[] | null;
  /** There is more in the direction of travel. */
  more: boolean;
}

/** One page of runs after (or before) a cursor; from the beginning without one. */
export async function listDagRunsByCursor(
  db: Database,
  filter: DagRunFilter,
  page: {
    orders: readonly Order[];
    limit: number;
    cursor: { values: readonly (string | null)[]; backward: boolean } | null;
  },
): Promise<CursorPage> {
  const { orders, limit, cursor } = page;
  const backward = cursor?.backward ?? false;
  const conditions = conditionsOf(filter);
  let query = summaries(db)
    .select(cursorValues(orders, DAG_RUN_ORDER).as("cursor"))
    .where(allOf(conditions))
    .limit(limit + 1);
  if (cursor) query = query.where(afterCursor(orders, DAG_RUN_ORDER, cursor.values, backward));
  for (const expression of orderExpressions(orders, DAG_RUN_ORDER, backward)) query = query.orderBy(expression);
  const fetched = await query.execute();
  const shown = fetched.slice(0, limit);
  if (backward) shown.reverse();
  const counted = db
    .selectFrom("dag_run as dr")
    .select("dr.id")
    .where(allOf(conditions))
    .limit(COUNT_LIMIT)
    .as("counted");
  const { total } = await db
    .selectFrom(counted)
    .select(sql<number>`count(*)`.as("total"))
    .executeTakeFirstOrThrow();
  return {
    rows: await withVersions(db, shown),
    total,
    first: shown[0]?.cursor ?? null,
    last: shown.at(-1)?.cursor ?? null,
    more: fetched.length > limit,
  };
}

export async function findDagRunSummary(
  db: Database,
  dagId: string,
  runId: string,
): Promise<DagRunSummary | undefined> {
  const run = await summaries(db).where("dr.dag_id", "=", dagId).where("dr.run_id", "=", runId).executeTakeFirst();
  return run && (await withVersions(db, [run]))[0];
}

/** Several runs by (dag_id, run_id), in no order. */
export async function findDagRunSummaries(
  db: Database,
  keys: readonly (readonly [dagId: string, runId: string])[],
): Promise<DagRunSummary[]> {
  if (keys.length === 0) return [];
  const wanted = sql<boolean>`(dr.dag_id, dr.run_id) in (
    select * from unnest(${keys.map(([dagId]) => dagId)}::text[], ${keys.map(([, runId]) => runId)}::text[]))`;
  return await withVersions(db, await summaries(db).where(wanted).execute());
}

/** Sets a run's note; "" removes it. */
export async function setDagRunNote(db: Database, id: number, note: string | null, userId: string): Promise<void> {
  await db
    .updateTable("dag_run")
    .set({ note: note === "" ? null : note, note_user_id: note === "" ? null : userId, updated_at: sql`now()` })
    .where("id", "=", id)
    .execute();
}

/** Removes a run that is not running; false when it started meanwhile or is gone. */
export async function deleteDagRun(db: Database, id: number): Promise<boolean> {
  const { numDeletedRows } = await db
    .deleteFrom("dag_run")
    .where("id", "=", id)
    .where("state", "!=", "running")
    .executeTakeFirst();
  return numDeletedRows > 0n;
}

export async function dagRunState(db: Database, dagId: string, runId: string): Promise<DagRunState | undefined> {
  const row = await db
    .selectFrom("dag_run")
    .select("state")
    .where("dag_id", "=", dagId)
    .where("run_id", "=", runId)
    .executeTakeFirst();
  return row?.state;
}

/** Return values for the wait endpoint: of the tasks named, or of those the DAG's author chose as its result. */
export async function dagRunResults(
  db: Database,
  dagId: string,
  runId: string,
  taskIds: readonly string[] | null,
): Promise<{ task_id: string; map_index: number; value: JsonText | null }[]> {
  let query = db
    .selectFrom("xcom")
    .select(["task_id", "map_index", "value"])
    .where("dag_id", "=", dagId)
    .where("run_id", "=", runId)
    .where("key", "=", "return_value")
    .orderBy("task_id")
    .orderBy("map_index");
  query = taskIds === null ? query.where("dag_result", "=", true) : query.where("task_id", "in", taskIds);
  return await query.execute();
}

/** Runs per DAG and state; of these DAGs, or of all. */
export async function countRunsByState(
  db: Database,
  dagIds: readonly string[] | undefined,
  teams: TeamScope = null,
): Promise<{ dag_id: string; dag_display_name: string; state: DagRunState; count: number }[]> {
  return await db
    .selectFrom("dag_run as dr")
    .innerJoin("dag", "dag.dag_id", "dr.dag_id")
    .where(allOf([...isOneOf(column("dr.dag_id"), dagIds), ...dagsWithin(column("dr.dag_id"), teams)]))
    .select(["dr.dag_id", "dr.state"])
    .select(sql<string>`coalesce(dag.dag_display_name, dag.dag_id)`.as("dag_display_name"))
    .select(sql<number>`count(*)`.as("count"))
    .groupBy(["dr.dag_id", "dag.dag_display_name", "dag.dag_id", "dr.state"])
    .orderBy("dr.dag_id")
    .execute();
}

/** Runs of a DAG that execute now. */
export async function countRunningRuns(db: Database, dagId: string): Promise<number> {
  const { count } = await db
    .selectFrom("dag_run")
    .select(sql<number>`count(*)`.as("count"))
    .where("dag_id", "=", dagId)
    .where("state", "=", "running")
    .executeTakeFirstOrThrow();
  return count;
}
