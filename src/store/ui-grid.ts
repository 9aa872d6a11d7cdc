import { sql } from "kysely";
import { parseInstant, type Instant } from "../kit/instant.ts";
import type { DagRunState, DagRunType, TaskInstanceState } from "../domain/states.ts";
import type { Database } from "./database.ts";
import {
  allOf,
  column,
  inRange,
  isOneOf,
  isOneOfOrNull,
  matches,
  orderExpressions,
  type Order,
  type Page,
  type Patterns,
  type Range,
  type Sortable,
} from "./filters.ts";

export interface GridFilter {
  runAfter: Range<Instant>;
  runTypes: readonly string[] | undefined;
  states: readonly (DagRunState | null)[] | undefined;
  triggeringUser: Patterns;
}

/** What the grid's runs may be sorted by. */
export const GRID_ORDER = {
  id: column("dr.id"),
  run_after: column("dr.run_after"),
  logical_date: column("dr.logical_date"),
  start_date: column("dr.start_date"),
  end_date: column("dr.end_date"),
  data_interval_end: column("dr.data_interval_end"),
} satisfies Sortable;

export interface GridSelection {
  filter: GridFilter;
  orders: readonly Order[];
  page: Page;
}

function pageOfRuns(dagId: string, { filter, orders, page }: GridSelection) {
  return sql`
    from dag_run dr
    where dr.dag_id = ${dagId} and ${allOf([
      ...inRange(column("dr.run_after"), filter.runAfter),
      ...isOneOf(column("dr.run_type"), filter.runTypes),
      ...isOneOfOrNull(column("dr.state"), filter.states),
      ...matches(column("dr.triggering_user_name"), filter.triggeringUser),
    ])}
    order by ${sql.join(orderExpressions(orders, GRID_ORDER))}
    limit ${page.limit} offset ${page.offset}`;
}

export interface GridRun {
  dag_id: string;
  run_id: string;
  queued_at: Instant | null;
  start_date: Instant | null;
  end_date: Instant | null;
  run_after: Instant;
  state: DagRunState;
  run_type: DagRunType;
  has_note: boolean;
  has_missed_deadline: boolean;
  dag_versions: GridVersion[];
}

export interface GridVersion {
  id: string;
  version_number: number;
  dag_id: string;
  bundle_name: string;
  bundle_version: string | null;
  created_at: Instant;
  dag_display_name: string;
}

/** The columns of the grid, each with the versions its tasks ran on, oldest first. */
export async function gridRuns(db: Database, dagId: string, selection: GridSelection): Promise<GridRun[]> {
  const { rows } = await sql<Omit<GridRun, "dag_versions"> & { dag_versions: string }>`
    with page as (
      select dr.*, row_number() over () as place from (select dr.* ${pageOfRuns(dagId, selection)}) dr
    ), used as (
      select distinct ti.dag_run_id, ti.dag_version_id from task_instance ti join page on page.id = ti.dag_run_id
      union
      select old.dag_run_id, old.dag_version_id from task_instance_history old join page on page.id = old.dag_run_id
      union
      select page.id, page.dag_version_id from page
      where not exists (select from task_instance ti where ti.dag_run_id = page.id)
    ), versions as (
      select used.dag_run_id,
        json_agg(json_build_object('id', v.id, 'version_number', v.version_number, 'dag_id', v.dag_id,
          'bundle_name', v.bundle_name, 'bundle_version', v.bundle_version, 'created_at', v.created_at,
          'dag_display_name', coalesce(dag.dag_display_name, dag.dag_id)) order by v.version_number) as list
      from used join dag_version v on v.id = used.dag_version_id join dag on dag.dag_id = v.dag_id
      group by used.dag_run_id
    )
    select page.dag_id, page.run_id, page.queued_at, page.start_date, page.end_date, page.run_after, page.state,
      page.run_type, page.note is not null as has_note,
      exists (select from deadline d where d.dag_run_id = page.id and d.missed) as has_missed_deadline,
      coalesce(versions.list, '[]') as dag_versions
    from page left join versions on versions.dag_run_id = page.id
    order by page.place`.execute(db);
  return rows.map((row) => ({
    ...row,
    dag_versions: (JSON.parse(row.dag_versions) as GridVersion[]).map((version) => ({
      ...version,
      created_at: parseInstant(version.created_at),
    })),
  }));
}

/** The versions on one page of the grid: the current one first, then those its runs' tasks ran on. */
export async function gridVersions(
  db: Database,
  dagId: string,
  selection: GridSelection,
): Promise<{ current: string; others: string[] } | undefined> {
  const { rows } = await sql<{ current: string | null; others: string[] }>`
    with page as (select dr.id ${pageOfRuns(dagId, selection)})
    select dag.current_version_id as current,
      array(
        select distinct ti.dag_version_id::text from task_instance ti join page on page.id = ti.dag_run_id
        where ti.dag_version_id <> dag.current_version_id
      ) as others
    from dag where dag.dag_id = ${dagId}`.execute(db);
  const [row] = rows;
  return row?.current ? { current: row.current, others: row.others } : undefined;
}

/** Task instances of one task in one state. */
export interface TaskStates {
  run_id: string;
  task_id: string;
  state: TaskInstanceState | null;
  count: number;
  min_start_date: Instant | null;
  max_end_date: Instant | null;
  dag_version_id: string | null;
  version_number: number | null;
  has_note: boolean;
}

/** What the squares of these runs show, counted in the database: a mapped task of a thousand is a row per state. */
export async function taskStatesOfRuns(db: Database, dagId: string, runIds: readonly string[]): Promise<TaskStates[]> {
  const { rows } = await sql<TaskStates>`
    select dr.run_id, ti.task_id, ti.state, count(*) as count, min(ti.start_date) as min_start_date,
      max(ti.end_date) as max_end_date, ti.dag_version_id, v.version_number, bool_or(ti.note is not null) as has_note
    from dag_run dr
    join task_instance ti on ti.dag_run_id = dr.id
    left join dag_version v on v.id = ti.dag_version_id
    where dr.dag_id = ${dagId} and dr.run_id = any(${runIds})
    group by dr.run_id, ti.task_id, ti.state, ti.dag_version_id, v.version_number
    order by dr.run_id, ti.task_id`.execute(db);
  return rows;
}
