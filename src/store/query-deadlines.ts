import type { Instant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import type { TeamScope } from "../domain/team.ts";
import type { Database } from "./database.ts";
import {
  allOf,
  column,
  equals,
  inRange,
  paginated,
  type Order,
  type Page,
  type Range,
  type Sortable,
} from "./filters.ts";
import { dagsWithin } from "./team-scope.ts";

export interface DeadlineRow {
  id: string;
  deadline_time: Instant;
  missed: boolean;
  created_at: Instant;
  dag_id: string;
  run_id: string;
  deadline_alert_id: string | null;
  alert_name: string | null;
}

export const DEADLINE_SORTABLE: Sortable = {
  id: column("d.id"),
  deadline_time: column("d.deadline_time"),
  created_at: column("d.created_at"),
  last_updated_at: column("d.last_updated_at"),
  missed: column("d.missed"),
  dag_id: column("r.dag_id"),
  run_id: column("r.run_id"),
  alert_name: column("alert.name"),
};

export interface DeadlineFilter {
  dagId?: string;
  runId?: string;
  missed?: boolean;
  deadlineTime: Range<Instant>;
  lastUpdatedAt: Range<Instant>;
  teams?: TeamScope;
}

/** Deadlines of runs whose time is known. */
export async function listDeadlines(
  db: Database,
  filter: DeadlineFilter,
  sorting: { orders: readonly Order[]; page: Page },
): Promise<{ rows: DeadlineRow[]; total: number }> {
  const query = db
    .selectFrom("deadline as d")
    .innerJoin("dag_run as r", "r.id", "d.dag_run_id")
    .leftJoin("deadline_alert as alert", "alert.id", "d.deadline_alert_id")
    .select(["d.id", "d.deadline_time", "d.missed", "d.created_at", "d.deadline_alert_id"])
    .select(["r.dag_id", "r.run_id", "alert.name as alert_name"])
    .where("d.unresolved", "=", false)
    .where(
      allOf([
        ...equals(column("r.dag_id"), filter.dagId),
        ...equals(column("r.run_id"), filter.runId),
        ...equals(column("d.missed"), filter.missed),
        ...inRange(column("d.deadline_time"), filter.deadlineTime),
        ...inRange(column("d.last_updated_at"), filter.lastUpdatedAt),
        ...dagsWithin(column("r.dag_id"), filter.teams),
      ]),
    );
  return await paginated(query, { ...sorting, sortable: DEADLINE_SORTABLE });
}

export interface DeadlineAlertRow {
  id: string;
  name: string | null;
  reference: JsonText;
  interval: JsonText;
  created_at: Instant;
}

export const DEADLINE_ALERT_SORTABLE: Sortable = {
  id: column("alert.id"),
  created_at: column("alert.created_at"),
  name: column("alert.name"),
};

/** What a DAG version promises. */
export async function listDeadlineAlerts(
  db: Database,
  dagVersionId: string,
  sorting: { orders: readonly Order[]; page: Page },
): Promise<{ rows: DeadlineAlertRow[]; total: number }> {
  const query = db
    .selectFrom("deadline_alert as alert")
    .select(["alert.id", "alert.name", "alert.reference", "alert.interval", "alert.created_at"])
    .where("alert.dag_version_id", "=", dagVersionId);
  return await paginated(query, { ...sorting, sortable: DEADLINE_ALERT_SORTABLE });
}
