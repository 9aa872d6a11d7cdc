import { sql } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import type { TeamScope } from "../domain/team.ts";
import type { Database } from "./database.ts";
import {
  allOf,
  column,
  equals,
  inRange,
  matches,
  paginated,
  type Condition,
  type Order,
  type Page,
  type Patterns,
  type Range,
  type Sortable,
} from "./filters.ts";
import { dagsWithin } from "./team-scope.ts";

/** An XCom without its value, which may be large. */
export interface XComRow {
  key: string;
  timestamp: Instant;
  logical_date: Instant | null;
  map_index: number;
  task_id: string;
  dag_id: string;
  run_id: string;
  dag_display_name: string;
  task_display_name: string;
  run_after: Instant;
}

export interface XComPlace {
  dagId: string;
  runId: string;
  taskId: string;
  mapIndex: number;
  key: string;
}

export interface XComFilter {
  dagId?: string;
  runId?: string;
  taskId?: string;
  mapIndex?: number;
  key?: string;
  keyPattern: Patterns;
  dagDisplayName: Patterns;
  runIdPattern: Patterns;
  taskIdPattern: Patterns;
  logicalDate: Range<Instant>;
  runAfter: Range<Instant>;
  teams: TeamScope;
}

export const XCOM_SORTABLE: Sortable = {
  key: column("x.key"),
  dag_id: column("x.dag_id"),
  run_id: column("x.run_id"),
  task_id: column("x.task_id"),
  map_index: column("x.map_index"),
  timestamp: column("x.timestamp"),
  run_after: column("dr.run_after"),
};

const dagDisplayName = sql<string>`coalesce(dag.dag_display_name, x.dag_id)`;

function described(db: Database, where: readonly Condition[]) {
  return db
    .selectFrom("xcom as x")
    .innerJoin("dag_run as dr", "dr.id", "x.dag_run_id")
    .leftJoin("dag", "dag.dag_id", "x.dag_id")
    .leftJoin("task_instance as ti", (join) =>
      join
        .onRef("ti.dag_run_id", "=", "x.dag_run_id")
        .onRef("ti.task_id", "=", "x.task_id")
        .onRef("ti.map_index", "=", "x.map_index"),
    )
    .select(["x.key", "x.timestamp", "dr.logical_date", "x.map_index", "x.task_id", "x.dag_id", "dr.run_id"])
    .select(["dr.run_after", dagDisplayName.as("dag_display_name")])
    .select(sql<string>`coalesce(ti.task_display_name, x.task_id)`.as("task_display_name"))
    .where(allOf(where));
}

export async function listXComs(
  db: Database,
  filter: XComFilter,
  sorting: { orders: readonly Order[]; page: Page },
): Promise<{ rows: XComRow[]; total: number }> {
  const query = described(db, [
    ...equals(column("x.dag_id"), filter.dagId),
    ...equals(column("dr.dag_id"), filter.dagId),
    ...equals(column("dr.run_id"), filter.runId),
    ...equals(column("x.task_id"), filter.taskId),
    ...equals(column("x.map_index"), filter.mapIndex),
    ...equals(column("x.key"), filter.key),
    ...matches(column("x.key"), filter.keyPattern),
    ...matches(dagDisplayName, filter.dagDisplayName),
    ...matches(column("dr.run_id"), filter.runIdPattern),
    ...matches(column("x.task_id"), filter.taskIdPattern),
    ...inRange(column("dr.logical_date"), filter.logicalDate),
    ...inRange(column("dr.run_after"), filter.runAfter),
    ...dagsWithin(column("x.dag_id"), filter.teams),
  ]);
  return await paginated(query, { ...sorting, sortable: XCOM_SORTABLE });
}

const at = (place: XComPlace): Condition[] => [
  ...equals(column("dr.dag_id"), place.dagId),
  ...equals(column("dr.run_id"), place.runId),
  ...equals(column("x.task_id"), place.taskId),
  ...equals(column("x.map_index"), place.mapIndex),
  ...equals(column("x.key"), place.key),
];

export async function findXComEntry(
  db: Database,
  place: XComPlace,
): Promise<(XComRow & { value: JsonText | null }) | null> {
  return (await described(db, at(place)).select("x.value").executeTakeFirst()) ?? null;
}

/** False: there is a value already, or no such run. */
export async function createXComEntry(db: Database, place: XComPlace, value: JsonText): Promise<boolean> {
  const { rows } = await sql`
    insert into xcom (dag_run_id, task_id, map_index, key, dag_id, run_id, value)
    select id, ${place.taskId}, ${place.mapIndex}, ${place.key}, dag_id, run_id, ${value}::json
    from dag_run where dag_id = ${place.dagId} and run_id = ${place.runId}
    on conflict do nothing returning 1`.execute(db);
  return rows.length > 0;
}

/** False: there is no such value. */
export async function updateXComEntry(db: Database, place: XComPlace, value: JsonText): Promise<boolean> {
  const { rows } = await sql`
    update xcom set value = ${value}::json, timestamp = clock_timestamp(), dag_result = false
    from dag_run run
    where run.id = xcom.dag_run_id and run.dag_id = ${place.dagId} and run.run_id = ${place.runId}
      and xcom.task_id = ${place.taskId} and xcom.map_index = ${place.mapIndex} and xcom.key = ${place.key}
    returning 1`.execute(db);
  return rows.length > 0;
}

/** False: there is no such value. */
export async function deleteXComEntry(db: Database, place: XComPlace): Promise<boolean> {
  const { rows } = await sql`
    delete from xcom using dag_run run
    where run.id = xcom.dag_run_id and run.dag_id = ${place.dagId} and run.run_id = ${place.runId}
      and xcom.task_id = ${place.taskId} and xcom.map_index = ${place.mapIndex} and xcom.key = ${place.key}
    returning 1`.execute(db);
  return rows.length > 0;
}
