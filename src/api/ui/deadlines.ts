import { Type } from "typebox";
import { formatInstant } from "../../kit/instant.ts";
import { fromJsonText, type JsonText, type JsonValue } from "../../kit/json-text.ts";
import {
  DEADLINE_ALERT_SORTABLE,
  DEADLINE_SORTABLE,
  listDeadlineAlerts,
  listDeadlines,
} from "../../store/query-deadlines.ts";
import { dagRunState } from "../../store/query-dag-runs.ts";
import { teamsOf, type ApiContext, type TypedApp } from "../context.ts";
import { badRequest, notFound } from "../errors.ts";
import { requireVersion } from "../public/dag-lookup.ts";
import { instantRangeOf, instantRangeQuery, orderByQuery, orderOf, pageOf, pageQuery } from "../query.ts";

/** What DAGs promise, and which of their runs were too late. */
export function deadlineRoutes(app: TypedApp, { db }: ApiContext): void {
  const RunParams = Type.Object({ dag_id: Type.String(), dag_run_id: Type.String() });
  const DeadlinesQuery = Type.Object({
    ...pageQuery,
    ...orderByQuery,
    ...instantRangeQuery("deadline_time"),
    ...instantRangeQuery("last_updated_at"),
    missed: Type.Optional(Type.Boolean()),
  });
  app.get(
    "/dags/:dag_id/dagRuns/:dag_run_id/deadlines",
    { schema: { params: RunParams, querystring: DeadlinesQuery } },
    async (request) => {
      const {
        params: { dag_id, dag_run_id },
        query,
      } = request;
      const allRuns = dag_run_id === "~";
      if (!allRuns && dag_id === "~") throw badRequest("dag_id is required when dag_run_id is specified");
      const { rows, total } = await listDeadlines(
        db,
        {
          ...(dag_id === "~" ? {} : { dagId: dag_id }),
          ...(allRuns ? {} : { runId: dag_run_id }),
          ...(query.missed === undefined ? {} : { missed: query.missed }),
          deadlineTime: instantRangeOf(query, "deadline_time"),
          lastUpdatedAt: instantRangeOf(query, "last_updated_at"),
          teams: teamsOf(request),
        },
        {
          orders: orderOf(query.order_by, {
            allowed: Object.keys(DEADLINE_SORTABLE),
            aliases: { dag_run_id: "run_id" },
            primaryKey: "id",
            fallback: ["deadline_time"],
          }),
          page: pageOf(query),
        },
      );
      if (!allRuns && total === 0 && (await dagRunState(db, dag_id, dag_run_id)) === undefined) {
        throw notFound(`DagRun with dag_id: \`${dag_id}\` and run_id: \`${dag_run_id}\` was not found`);
      }
      const deadlines = rows.map((row) => ({
        id: row.id,
        deadline_time: formatInstant(row.deadline_time),
        missed: row.missed,
        created_at: formatInstant(row.created_at),
        dag_id: row.dag_id,
        dag_run_id: row.run_id,
        alert_id: row.deadline_alert_id,
        alert_name: row.alert_name,
      }));
      return { deadlines, total_entries: total };
    },
  );

  const DagParams = Type.Object({ dag_id: Type.String() });
  const AlertsQuery = Type.Object({ ...pageQuery, ...orderByQuery, version_number: Type.Optional(Type.Integer()) });
  app.get(
    "/dags/:dag_id/deadlineAlerts",
    { schema: { params: DagParams, querystring: AlertsQuery } },
    async ({ params: { dag_id }, query }) => {
      const version = await requireVersion(db, dag_id, query.version_number);
      const { rows, total } = await listDeadlineAlerts(db, version.id, {
        orders: orderOf(query.order_by, {
          allowed: Object.keys(DEADLINE_ALERT_SORTABLE),
          primaryKey: "id",
          fallback: ["created_at"],
        }),
        page: pageOf(query),
      });
      const alerts = rows.map((row) => ({
        id: row.id,
        name: row.name,
        reference_type: fromJsonText<{ reference_type: string }>(row.reference).reference_type,
        interval: secondsOf(row.interval),
        created_at: formatInstant(row.created_at),
      }));
      return { deadline_alerts: alerts, total_entries: total };
    },
  );
}

/** null: only known when a run is made. */
function secondsOf(interval: JsonText): number | null {
  const value = fromJsonText<JsonValue>(interval);
  if (typeof value === "number") return value;
  const data = typeof value === "object" && value !== null && !Array.isArray(value) ? value["__data__"] : null;
  return typeof data === "number" ? data : null;
}
