import { sql, type SqlBool } from "kysely";
import type { TeamScope } from "../domain/team.ts";
import type { Column, Condition } from "./filters.ts";

/** Pools, variables, connections: their `team_name` is within the scope. No condition where everything is. */
export function ownedWithin(teamName: Column, scope: TeamScope | undefined): Condition[] {
  return scope == null ? [] : [sql<SqlBool>`(${teamName} is null or ${teamName} = any(${scope}::text[]))`];
}

/**
 * Rows of DAGs within the scope: of DAGs that there are, whose bundle belongs to none but these teams. Airflow's
 * `get_authorized_dag_ids` as a condition. No condition where everything is within it.
 */
export function dagsWithin(dagId: Column, scope: TeamScope | undefined): Condition[] {
  return scope == null ? [] : [sql<SqlBool>`${dagId} in (${dagIdsWithin(scope)})`];
}

/** The ids of all DAGs within the scope. */
export function dagIdsWithin(scope: readonly string[]) {
  return sql<string>`
    select owned.dag_id from dag owned left join dag_bundle_team owner on owner.dag_bundle_name = owned.bundle_name
    where owner.team_name is null or owner.team_name = any(${scope}::text[])`;
}

/** As `dagsWithin`, where null stands for rows that are of no DAG: those are everybody's. */
export function dagsWithinOrNone(dagId: Column, scope: TeamScope | undefined): Condition[] {
  return dagsWithin(dagId, scope).map((within) => sql<SqlBool>`(${dagId} is null or ${within})`);
}

/** Files of a bundle: it belongs to nobody, or to one of the teams. */
export function bundlesWithin(bundleName: Column, scope: TeamScope | undefined): Condition[] {
  if (scope == null) return [];
  return [
    sql<SqlBool>`not exists (
      select from dag_bundle_team owner
      where owner.dag_bundle_name = ${bundleName} and owner.team_name <> all(${scope}::text[]))`,
  ];
}
