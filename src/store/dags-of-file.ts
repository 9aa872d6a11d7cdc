import type { Database } from "./database.ts";

/** The DAGs that a file of the workspace defines now. */
export async function dagsOfFile(
  db: Database,
  relativeFileloc: string,
): Promise<{ dag_id: string; dag_display_name: string | null }[]> {
  return await db
    .selectFrom("dag")
    .select(["dag_id", "dag_display_name"])
    .where("relative_fileloc", "=", relativeFileloc)
    .where("is_stale", "=", false)
    .orderBy("dag_id")
    .execute();
}
