import { sql } from "kysely";
import type { Instant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import type { TeamScope } from "../domain/team.ts";
import type { Database } from "./database.ts";
import { allOf, column, equals, paginated, type Order, type Page, type Sortable } from "./filters.ts";
import { dagsWithin } from "./team-scope.ts";

/** A version as clients see it: all but its code and its serialized form. */
export interface DagVersionSummary {
  id: string;
  version_number: number;
  dag_id: string;
  bundle_name: string;
  bundle_version: string | null;
  created_at: Instant;
  dag_display_name: string;
}

export interface DagVersionFilter {
  /** undefined: of all DAGs. */
  dagId?: string | undefined;
  versionNumber?: number | undefined;
  bundleName?: string | undefined;
  bundleVersion?: string | undefined;
  teams?: TeamScope;
}

export const DAG_VERSION_ORDER = {
  id: column("v.id"),
  version_number: column("v.version_number"),
  bundle_name: column("v.bundle_name"),
  bundle_version: column("v.bundle_version"),
} satisfies Sortable;

function summaries(db: Database) {
  return db
    .selectFrom("dag_version as v")
    .innerJoin("dag", "dag.dag_id", "v.dag_id")
    .select(["v.id", "v.version_number", "v.dag_id", "v.bundle_name", "v.bundle_version", "v.created_at"])
    .select(sql<string>`coalesce(dag.dag_display_name, dag.dag_id)`.as("dag_display_name"));
}

export async function listDagVersions(
  db: Database,
  filter: DagVersionFilter,
  sorting: { orders: readonly Order[]; page: Page },
): Promise<{ rows: DagVersionSummary[]; total: number }> {
  const query = summaries(db).where(
    allOf([
      ...equals(column("v.dag_id"), filter.dagId),
      ...equals(column("v.version_number"), filter.versionNumber),
      ...equals(column("v.bundle_name"), filter.bundleName),
      ...equals(column("v.bundle_version"), filter.bundleVersion),
      ...dagsWithin(column("v.dag_id"), filter.teams),
    ]),
  );
  return await paginated(query, { ...sorting, sortable: DAG_VERSION_ORDER });
}

/** A version by its number; the newest when none is given. */
export async function findDagVersion(
  db: Database,
  dagId: string,
  versionNumber?: number,
): Promise<DagVersionSummary | undefined> {
  return await summaries(db)
    .where("v.dag_id", "=", dagId)
    .where(allOf(equals(column("v.version_number"), versionNumber)))
    .orderBy("v.version_number", "desc")
    .limit(1)
    .executeTakeFirst();
}

/** The newest version's serialized DAG. */
export async function findSerializedDag(
  db: Database,
  dagId: string,
): Promise<{ id: string; serialized: JsonText; last_updated: Instant } | undefined> {
  return await db
    .selectFrom("dag")
    .innerJoin("dag_version as v", "v.id", "dag.current_version_id")
    .where("dag.dag_id", "=", dagId)
    .select(["v.id", "v.serialized", "v.last_updated"])
    .executeTakeFirst();
}

/** The source of a version's file; of the newest when no number is given. */
export async function findDagSource(db: Database, dagId: string, versionNumber?: number) {
  return await summaries(db)
    .select("v.source_code")
    .where("v.dag_id", "=", dagId)
    .where(allOf(equals(column("v.version_number"), versionNumber)))
    .orderBy("v.version_number", "desc")
    .limit(1)
    .executeTakeFirst();
}

/** The id of the version new runs use; undefined when the DAG is unknown or was never parsed without errors. */
export async function currentVersionId(db: Database, dagId: string): Promise<string | undefined> {
  const row = await db.selectFrom("dag").select("current_version_id").where("dag_id", "=", dagId).executeTakeFirst();
  return row?.current_version_id ?? undefined;
}
