import { sql, type RawBuilder } from "kysely";
import type { Database } from "./database.ts";

/**
 * Whether the DAG or error whose place (`relative_fileloc`, `filename`) is in the column comes out of this DAG file. The DAGs of an
 * archive name their module in it: `packed.zip/greets.py`.
 */
export function isOfFile(column: string, relPath: string): RawBuilder<boolean> {
  const place = sql.ref(column);
  return relPath.endsWith(".zip") ? sql`starts_with(${place}, ${`${relPath}/`})` : sql`${place} = ${relPath}`;
}

/** The same where the file's own path is in a column, too. */
export function isOfFileIn(column: string, relPathColumn: string): RawBuilder<boolean> {
  const [place, relPath] = [sql.ref(column), sql.ref(relPathColumn)];
  return sql`(${place} = ${relPath} or starts_with(${place}, ${relPath} || '/'))`;
}

/** The DAGs that a file of the workspace defines now. */
export async function dagsOfFile(
  db: Database,
  relativeFileloc: string,
): Promise<{ dag_id: string; dag_display_name: string | null }[]> {
  return await db
    .selectFrom("dag")
    .select(["dag_id", "dag_display_name"])
    .where(isOfFile("relative_fileloc", relativeFileloc))
    .where("is_stale", "=", false)
    .orderBy("dag_id")
    .execute();
}
