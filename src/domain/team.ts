/** Airflow's teams (`[core] multi_team`): who owns a bundle's DAGs, a pool, a variable or a connection. */

/** What somebody may see: everything (null), or what these teams own and what nobody owns. */
export type TeamScope = readonly string[] | null;

/** Whether what `team` owns (null: nobody) is within the scope, as SimpleAuthManager decides. */
export function isWithinTeams(team: string | null | undefined, scope: TeamScope): boolean {
  return team == null || scope === null || scope.includes(team);
}

/** Why nothing can be named so; null for a good name. The rule is that of `airflow teams create`. */
export function teamNameProblem(name: string): string | null {
  if (/^[a-zA-Z0-9_-]{3,50}$/.test(name)) return null;
  return "a team's name has 3 to 50 letters, digits, hyphens and underscores";
}
