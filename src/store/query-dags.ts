import { sql, type Selectable } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { DagRunState } from "../domain/states.ts";
import type { TeamScope } from "../domain/team.ts";
import type { Database } from "./database.ts";
import {
  allOf,
  column,
  containsText,
  equals,
  inOpenRange,
  isOneOf,
  isOneOfOrNull,
  matches,
  paginated,
  type Condition,
  type Order,
  type Page,
  type Patterns,
  type Range,
  type Sortable,
} from "./filters.ts";
import type { DagTable } from "./schema.ts";
import { dagsWithin } from "./team-scope.ts";

export type DagRow = Selectable<DagTable> & { tags: string[] };

export interface DagFilter {
  dagIds?: readonly string[] | undefined;
  dagId?: Patterns;
  dagDisplayName?: Patterns;
  tags?: readonly string[];
  tagsMatchAll?: boolean;
  owners?: readonly string[];
  excludeStale?: boolean;
  paused?: boolean | undefined;
  hasImportErrors?: boolean | undefined;
  bundleName?: string | undefined;
  bundleVersion?: string | undefined;
  timetableTypes?: readonly string[] | undefined;
  hasAssetSchedule?: boolean | undefined;
  assetDependency?: string | undefined;
  /** Whose favourites, and whether they are wanted or not. */
  favorite?: { userId: string; is: boolean } | undefined;
  /** About the DAG's latest run. */
  lastRunState?: DagRunState | undefined;
  /** Empty: any. */
  lastRunStates?: readonly (DagRunState | null)[];
  lastRunStartDate?: Range<Instant>;
  lastRunEndDate?: Range<Instant>;
  /** Of any of the DAG's runs. */
  anyRunState?: DagRunState | undefined;
  /** Whether tasks of it wait for people to answer. */
  pendingActions?: boolean;
  teams?: TeamScope;
}

/** What DAGs may be sorted by. */
export const DAG_ORDER = {
  dag_id: column("dag.dag_id"),
  dag_display_name: sql`coalesce(dag.dag_display_name, dag.dag_id)`,
  next_dagrun: column("dag.next_dagrun"),
  state: column("last_run.state"),
  start_date: column("last_run.start_date"),
  last_run_state: column("last_run.state"),
  last_run_start_date: column("last_run.start_date"),
} satisfies Sortable;

const tagsOfDag = sql<string[]>`array(select t.name from dag_tag t where t.dag_id = dag.dag_id order by t.name)`;

const PENDING_ACTIONS = sql<boolean>`exists (
    select from task_instance ti join hitl_detail h on h.ti_id = ti.id
    where ti.dag_id = dag.dag_id and ti.state in ('deferred', 'awaiting_input') and h.responded_at is null)`;

function conditionsOf(filter: DagFilter): Condition[] {
  const displayName = sql`coalesce(dag.dag_display_name, dag.dag_id)`;
  return [
    ...(filter.excludeStale ? [sql<boolean>`not dag.is_stale`] : []),
    ...equals(column("dag.is_paused"), filter.paused),
    ...equals(column("dag.has_import_errors"), filter.hasImportErrors),
    ...isOneOf(column("dag.dag_id"), filter.dagIds),
    ...matches(column("dag.dag_id"), filter.dagId),
    ...matches(displayName, filter.dagDisplayName),
    ...taggedWith(filter.tags ?? [], filter.tagsMatchAll ?? false),
    ...ownedBy(filter.owners ?? []),
    ...equals(column("dag.bundle_name"), filter.bundleName),
    ...equals(column("dag.bundle_version"), filter.bundleVersion),
    ...isOneOf(column("dag.timetable_type"), filter.timetableTypes),
    ...(filter.hasAssetSchedule === undefined
      ? []
      : [sql<boolean>`(dag.asset_expression is not null) = ${filter.hasAssetSchedule}`]),
    ...(filter.assetDependency === undefined
      ? []
      : [containsText(sql`dag.asset_expression::text`, filter.assetDependency)]),
    ...favorites(filter.favorite),
    ...(filter.pendingActions === undefined ? [] : [sql<boolean>`${PENDING_ACTIONS} = ${filter.pendingActions}`]),
    ...equals(column("last_run.state"), filter.lastRunState),
    ...isOneOfOrNull(column("last_run.state"), filter.lastRunStates),
    ...inOpenRange(column("last_run.start_date"), filter.lastRunStartDate),
    ...inOpenRange(column("last_run.end_date"), filter.lastRunEndDate),
    ...(filter.anyRunState === undefined
      ? []
      : [
          sql<boolean>`exists (
            select from dag_run any_run where any_run.dag_id = dag.dag_id and any_run.state = ${filter.anyRunState})`,
        ]),
    ...dagsWithin(column("dag.dag_id"), filter.teams),
  ];
}

function taggedWith(tags: readonly string[], all: boolean): Condition[] {
  if (tags.length === 0) return [];
  const has = tags.map(
    (tag) => sql<boolean>`exists (select from dag_tag t where t.dag_id = dag.dag_id and t.name = ${tag})`,
  );
  return [sql<boolean>`(${sql.join(has, all ? sql` and ` : sql` or `)})`];
}

function ownedBy(owners: readonly string[]): Condition[] {
  if (owners.length === 0) return [];
  return [
    sql<boolean>`(${sql.join(
      owners.map((owner) => containsText(column("dag.owners"), owner)),
      sql` or `,
    )})`,
  ];
}

function favorites(favorite: DagFilter["favorite"]): Condition[] {
  if (!favorite) return [];
  const exists = sql<boolean>`exists (
    select from dag_favorite f where f.dag_id = dag.dag_id and f.user_id = ${favorite.userId})`;
  return [favorite.is ? exists : sql<boolean>`not ${exists}`];
}

function dagsWith(db: Database, filter: DagFilter) {
  return db
    .selectFrom("dag")
    .leftJoinLateral(
      (from) =>
        from
          .selectFrom("dag_run as run")
          .select(["run.state", "run.start_date", "run.end_date"])
          .whereRef("run.dag_id", "=", "dag.dag_id")
          // By time, not by id: this is what an index gives, and the same run but for backfills.
          .orderBy("run.run_after", "desc")
          .orderBy("run.id", "desc")
          .limit(1)
          .as("last_run"),
      (join) => join.onTrue(),
    )
    .where(allOf(conditionsOf(filter)));
}

/** One page of DAGs, and how many match. */
export async function listDags(
  db: Database,
  filter: DagFilter,
  sorting: { orders: readonly Order[]; page: Page },
): Promise<{ rows: DagRow[]; total: number }> {
  const query = dagsWith(db, filter).selectAll("dag").select(tagsOfDag.as("tags"));
  return await paginated(query, { ...sorting, sortable: DAG_ORDER });
}

export async function findDagRow(db: Database, dagId: string): Promise<DagRow | undefined> {
  return await db
    .selectFrom("dag")
    .where("dag_id", "=", dagId)
    .selectAll("dag")
    .select(tagsOfDag.as("tags"))
    .executeTakeFirst();
}

/** Pauses or unpauses one DAG; false when there is none. */
export async function setPaused(db: Database, dagId: string, paused: boolean): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable("dag")
    .set({ is_paused: paused })
    .where("dag_id", "=", dagId)
    .executeTakeFirst();
  return numUpdatedRows > 0n;
}

/** Pauses or unpauses every DAG that matches; returns those it changed. */
export async function setAllPaused(db: Database, filter: DagFilter, paused: boolean): Promise<string[]> {
  const matching = dagsWith(db, filter).select("dag.dag_id");
  const rows = await db
    .updateTable("dag")
    .set({ is_paused: paused })
    .where("dag_id", "in", matching)
    .where("is_paused", "!=", paused)
    .returning("dag_id")
    .execute();
  return rows.map((row) => row.dag_id);
}

export type DagDeletion =
  { kind: "deleted"; relativeFileloc: string; liveRunIds: number[] } | { kind: "running" } | { kind: "no_dag" };

/** Removes a DAG with its history, unless one of its task instances runs. The audit log stays. */
export async function deleteDag(db: Database, dagId: string): Promise<DagDeletion> {
  return await db.transaction().execute(async (trx) => {
    const dag = await trx
      .selectFrom("dag")
      .select("relative_fileloc")
      .where("dag_id", "=", dagId)
      .forUpdate()
      .executeTakeFirst();
    if (!dag) return { kind: "no_dag" };
    const running = await trx
      .selectFrom("task_instance")
      .select("id")
      .where("dag_id", "=", dagId)
      .where("state", "=", "running")
      .limit(1)
      .executeTakeFirst();
    if (running) return { kind: "running" };
    const live = await trx
      .selectFrom("dag_run")
      .select("id")
      .where("dag_id", "=", dagId)
      .where("state", "in", ["queued", "running"])
      .execute();
    // Runs first: they refer to the versions that go with the DAG.
    await trx.deleteFrom("dag_run").where("dag_id", "=", dagId).execute();
    await trx.deleteFrom("dag").where("dag_id", "=", dagId).execute();
    return { kind: "deleted", relativeFileloc: dag.relative_fileloc, liveRunIds: live.map((run) => run.id) };
  });
}

/** False when it was one already. */
export async function addFavorite(db: Database, userId: string, dagId: string): Promise<boolean> {
  const added = await db
    .insertInto("dag_favorite")
    .values({ user_id: userId, dag_id: dagId })
    .onConflict((conflict) => conflict.doNothing())
    .returning("dag_id")
    .executeTakeFirst();
  return added !== undefined;
}

/** False when it was none. */
export async function removeFavorite(db: Database, userId: string, dagId: string): Promise<boolean> {
  const { numDeletedRows } = await db
    .deleteFrom("dag_favorite")
    .where("user_id", "=", userId)
    .where("dag_id", "=", dagId)
    .executeTakeFirst();
  return numDeletedRows > 0n;
}

export async function isFavorite(db: Database, userId: string, dagId: string): Promise<boolean> {
  const row = await db
    .selectFrom("dag_favorite")
    .select("dag_id")
    .where("user_id", "=", userId)
    .where("dag_id", "=", dagId)
    .executeTakeFirst();
  return row !== undefined;
}

/** Tags of DAGs that are not stale. */
export async function listDagTags(
  db: Database,
  { name, teams }: { name: Patterns; teams: TeamScope },
  sorting: { orders: readonly Order[]; page: Page },
): Promise<{ rows: { name: string }[]; total: number }> {
  const tags = db
    .selectFrom("dag_tag")
    .innerJoin("dag", "dag.dag_id", "dag_tag.dag_id")
    .select("dag_tag.name")
    .where("dag.is_stale", "=", false)
    .where(allOf([...matches(column("dag_tag.name"), name), ...dagsWithin(column("dag.dag_id"), teams)]))
    .distinct()
    .as("tag");
  return await paginated(db.selectFrom(tags).select("tag.name"), {
    ...sorting,
    sortable: { name: column("tag.name") },
  });
}
