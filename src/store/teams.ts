import { sql } from "kysely";
import type { TeamScope } from "../domain/team.ts";
import type { Database } from "./database.ts";
import { allOf, column, paginated, type Order, type Page, type Sortable } from "./filters.ts";
import { ownedWithin } from "./team-scope.ts";

export const TEAM_SORTABLE: Sortable = { name: column("team.name") };

/** The teams within the scope, a page of them. */
export async function listTeams(
  db: Database,
  scope: TeamScope,
  sorting: { orders: readonly Order[]; page: Page },
): Promise<{ rows: { name: string }[]; total: number }> {
  const query = db
    .selectFrom("team")
    .select("team.name")
    .where(allOf(ownedWithin(column("team.name"), scope)));
  return await paginated(query, { ...sorting, sortable: TEAM_SORTABLE });
}

export async function teamNames(db: Database): Promise<string[]> {
  const rows = await db.selectFrom("team").select("name").orderBy("name").execute();
  return rows.map(({ name }) => name);
}

/** Those of the names that are no team's. */
export async function unknownTeams(db: Database, names: readonly string[]): Promise<string[]> {
  const { rows } = await sql<{ name: string }>`
    select given.name from unnest(${names}::text[]) as given(name)
    where not exists (select from team where team.name = given.name) order by given.name`.execute(db);
  return rows.map(({ name }) => name);
}

/** The names that were no team's before. */
export async function createTeams(db: Database, names: readonly string[]): Promise<string[]> {
  const { rows } = await sql<{ name: string }>`
    insert into team (name) select distinct name from unnest(${names}::text[]) as given(name) order by name
    on conflict do nothing returning name`.execute(db);
  return rows.map(({ name }) => name);
}

export interface TeamUse {
  bundles: number;
  connections: number;
  variables: number;
  pools: number;
  users: number;
}

export type TeamDeletion = { kind: "deleted" } | { kind: "no_team" } | { kind: "in_use"; use: TeamUse };

/** Removes a team that nothing belongs to. Users may be in it: they leave it. */
export async function deleteTeam(db: Database, name: string): Promise<TeamDeletion> {
  return await db.transaction().execute(async (trx) => {
    // Nothing can come to belong to the team from here on: that would need a lock on this row.
    const { rows: found } = await sql`select from team where name = ${name} for update`.execute(trx);
    if (found.length === 0) return { kind: "no_team" };
    const { rows } = await sql<TeamUse>`
      select (select count(*) from dag_bundle_team where team_name = ${name}) as bundles,
        (select count(*) from connection where team_name = ${name}) as connections,
        (select count(*) from variable where team_name = ${name}) as variables,
        (select count(*) from pool where team_name = ${name}) as pools,
        (select count(*) from users where ${name} = any(teams)) as users`.execute(trx);
    const [use] = rows;
    if (use && use.bundles + use.connections + use.variables + use.pools > 0) return { kind: "in_use", use };
    await sql`update users set teams = array_remove(teams, ${name}), updated_at = now() where ${name} = any(teams)`.execute(
      trx,
    );
    await trx.deleteFrom("team").where("name", "=", name).execute();
    return { kind: "deleted" };
  });
}

/** From now on the bundles belong to these teams, and no others to any. Every team must exist. */
export async function setBundleTeams(db: Database, teams: ReadonlyMap<string, string>): Promise<void> {
  const [bundles, names] = [[...teams.keys()], [...teams.values()]];
  await sql`
    with wanted as (
      select * from unnest(${bundles}::text[], ${names}::text[]) as wanted(dag_bundle_name, team_name)
    ), gone as (
      delete from dag_bundle_team where dag_bundle_name <> all(${bundles}::text[])
    )
    insert into dag_bundle_team (dag_bundle_name, team_name) select dag_bundle_name, team_name from wanted
    on conflict (dag_bundle_name) do update set team_name = excluded.team_name
    where dag_bundle_team.team_name <> excluded.team_name`.execute(db);
}

/** The teams of those of the DAGs that have one. */
export async function teamsOfDags(db: Database, dagIds: readonly string[]): Promise<Map<string, string>> {
  const { rows } = await sql<{ dag_id: string; team_name: string }>`
    select dag.dag_id, owner.team_name from dag join dag_bundle_team owner on owner.dag_bundle_name = dag.bundle_name
    where dag.dag_id = any(${dagIds}::text[])`.execute(db);
  return new Map(rows.map((row) => [row.dag_id, row.team_name]));
}

/** The teams whose bundles a DAG file is of: one, unless the file has moved from one bundle to another. */
export async function teamsOfFile(db: Database, relativeFileloc: string): Promise<string[]> {
  const { rows } = await sql<{ team_name: string }>`
    select distinct owner.team_name from dag_bundle_team owner join (
      select bundle_name from dag where relative_fileloc = ${relativeFileloc}
      union select bundle_name from import_error where filename = ${relativeFileloc}
    ) as file on file.bundle_name = owner.dag_bundle_name`.execute(db);
  return rows.map((row) => row.team_name);
}

/** Tables whose rows have an owner, by the column that names a row. */
const OWNED = { pool: "pool", variable: "key", connection: "conn_id" } as const;
export type OwnedTable = keyof typeof OWNED;

/** The teams of those of the rows that have one. */
export async function ownersOf(
  db: Database,
  table: OwnedTable,
  names: readonly string[],
): Promise<Map<string, string>> {
  const { rows } = await sql<{ name: string; team_name: string }>`
    select ${sql.ref(OWNED[table])} as name, team_name from ${sql.table(table)}
    where team_name is not null and ${sql.ref(OWNED[table])} = any(${names}::text[])`.execute(db);
  return new Map(rows.map((row) => [row.name, row.team_name]));
}
