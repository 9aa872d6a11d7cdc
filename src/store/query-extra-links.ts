import type { JsonText } from "../kit/json-text.ts";
import type { Database } from "./database.ts";

/** What a task pushed under these keys, by key. */
export async function xcomValues(
  db: Database,
  place: { dagId: string; runId: string; taskId: string; mapIndex: number },
  keys: readonly string[],
): Promise<Map<string, JsonText | null>> {
  if (keys.length === 0) return new Map();
  const rows = await db
    .selectFrom("xcom")
    .select(["key", "value"])
    .where("dag_id", "=", place.dagId)
    .where("run_id", "=", place.runId)
    .where("task_id", "=", place.taskId)
    .where("map_index", "=", place.mapIndex)
    .where("key", "in", keys)
    .execute();
  return new Map(rows.map((row) => [row.key, row.value]));
}
