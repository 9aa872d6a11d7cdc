import type { Instant } from "../kit/instant.ts";
import type { Database } from "./database.ts";

export interface AuditEntry {
  event: string;
  user: string;
  dagId?: string | null;
  taskId?: string | null;
  runId?: string | null;
  mapIndex?: number | null;
  tryNumber?: number | null;
  logicalDate?: Instant | null;
  /** JSON, as text or to be written as such. */
  extra?: string | Record<string, unknown>;
}

/** Writes one row of the audit log: who did what to which DAG. */
export async function audit(db: Database, entry: AuditEntry): Promise<void> {
  await db
    .insertInto("log")
    .values({
      event: entry.event,
      owner: entry.user,
      owner_display_name: entry.user,
      dag_id: entry.dagId ?? null,
      task_id: entry.taskId ?? null,
      run_id: entry.runId ?? null,
      map_index: entry.mapIndex ?? null,
      try_number: entry.tryNumber ?? null,
      logical_date: entry.logicalDate ?? null,
      extra: typeof entry.extra === "object" ? JSON.stringify(entry.extra) : (entry.extra ?? null),
    })
    .execute();
}
