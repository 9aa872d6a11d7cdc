import { sql } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { DagRunState, TaskInstanceState } from "../domain/states.ts";
import type { TeamScope } from "../domain/team.ts";
import type { Database } from "./database.ts";
import { allOf, column } from "./filters.ts";
import { dagsWithin } from "./team-scope.ts";

export interface DagStats {
  active: number;
  failed: number;
  running: number;
  queued: number;
}

/** DAGs that are not paused, whose latest run failed, that run, that wait to run. */
export async function dagStats(db: Database, teams: TeamScope = null): Promise<DagStats> {
  const { rows } = await sql<DagStats>`
    with live as (
      select dag_id, is_paused from dag where not is_stale and ${allOf(dagsWithin(column("dag_id"), teams))}
    )
    select
      (select count(*) from live where not is_paused) as active,
      (select count(*) from live cross join lateral (
        select dr.state from dag_run dr where dr.dag_id = live.dag_id and dr.logical_date is not null
        order by dr.logical_date desc limit 1
      ) latest where latest.state = 'failed') as failed,
      (select count(distinct dr.dag_id) from dag_run dr join live using (dag_id) where dr.state = 'running') as running,
      (select count(distinct dr.dag_id) from dag_run dr join live using (dag_id) where dr.state = 'queued') as queued`.execute(
    db,
  );
  return rows[0] as DagStats;
}

export interface StateCounts {
  runs: { state: DagRunState; count: number }[];
  taskInstances: { state: TaskInstanceState | null; count: number }[];
}

/** Runs of a window of time and their task instances, by state. Counting stops at `limit` rows of each. */
export async function countStates(
  db: Database,
  window: { from: Instant; to: Instant; teams?: TeamScope },
  limit: number,
): Promise<StateCounts> {
  const { rows } = await sql<{ kind: "run" | "ti"; state: string | null; count: number }>`
    with runs as (
      select dr.id, dr.state from dag_run dr where dr.run_after >= ${window.from} and dr.run_after <= ${window.to}
        and ${allOf(dagsWithin(column("dr.dag_id"), window.teams))}
    )
    select 'run' as kind, state, count(*) as count from (select state from runs limit ${limit}) counted group by state
    union all
    select 'ti', state, count(*) from (
      select ti.state from task_instance ti join runs on runs.id = ti.dag_run_id limit ${limit}
    ) counted group by state`.execute(db);
  return {
    runs: rows.flatMap(({ kind, state, count }) => (kind === "run" ? [{ state: state as DagRunState, count }] : [])),
    taskInstances: rows.flatMap(({ kind, state, count }) =>
      kind === "ti" ? [{ state: state as TaskInstanceState | null, count }] : [],
    ),
  };
}
