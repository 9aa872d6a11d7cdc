import { Type } from "typebox";
import { DAG_RUN_STATES } from "../../domain/states.ts";
import { pendingInputs } from "../../store/hitl-details.ts";
import { DAG_ORDER, listDags } from "../../store/query-dags.ts";
import { favoritesAmong, latestRuns } from "../../store/ui-runs.ts";
import { teamsOf, userOf, type ApiContext, type TypedApp } from "../context.ts";
import { toDagResponse } from "../public/dag-response.ts";
import { hitlDetailsOf } from "../public/hitl.ts";
import { orderByQuery, orderOf, pageOf, pageQuery, patternQuery, patternsOf } from "../query.ts";
import { sendRaw } from "../raw-json.ts";
import { enumOf } from "../schema.ts";
import { jsonOrNull } from "../serialize.ts";
import { toRunGlance } from "./runs.ts";

const ListQuery = Type.Object({
  ...pageQuery,
  ...orderByQuery,
  ...patternQuery("dag_id"),
  ...patternQuery("dag_display_name"),
  dag_runs_limit: Type.Integer({ default: 10, minimum: 0, maximum: 100 }),
  tags: Type.Array(Type.String(), { default: [] }),
  tags_match_mode: Type.Optional(enumOf(["any", "all"])),
  owners: Type.Array(Type.String(), { default: [] }),
  dag_ids: Type.Optional(Type.Array(Type.String())),
  exclude_stale: Type.Boolean({ default: true }),
  paused: Type.Optional(Type.Boolean()),
  has_import_errors: Type.Optional(Type.Boolean()),
  last_dag_run_state: Type.Optional(enumOf(DAG_RUN_STATES)),
  dag_run_state: Type.Optional(enumOf(DAG_RUN_STATES)),
  bundle_name: Type.Optional(Type.String()),
  bundle_version: Type.Optional(Type.String()),
  is_favorite: Type.Optional(Type.Boolean()),
  has_asset_schedule: Type.Optional(Type.Boolean()),
  asset_dependency: Type.Optional(Type.String()),
  has_pending_actions: Type.Optional(Type.Boolean()),
});

/** The list of DAGs, each with its latest runs. */
export function dagRoutes(app: TypedApp, { db }: ApiContext): void {
  app.get("/dags", { schema: { querystring: ListQuery } }, async (request, reply) => {
    const { query } = request;
    const userId = userOf(request).name;
    const filter = {
      dagIds: query.dag_ids,
      dagId: patternsOf(query, "dag_id"),
      dagDisplayName: patternsOf(query, "dag_display_name"),
      tags: query.tags,
      tagsMatchAll: query.tags_match_mode === "all",
      owners: query.owners,
      excludeStale: query.exclude_stale,
      paused: query.paused,
      hasImportErrors: query.has_import_errors,
      bundleName: query.bundle_name,
      bundleVersion: query.bundle_version,
      hasAssetSchedule: query.has_asset_schedule,
      assetDependency: query.asset_dependency,
      ...(query.has_pending_actions === undefined ? {} : { pendingActions: query.has_pending_actions }),
      favorite: query.is_favorite === undefined ? undefined : { userId, is: query.is_favorite },
      lastRunState: query.last_dag_run_state,
      anyRunState: query.dag_run_state,
      teams: teamsOf(request),
    };
    const orders = orderOf(query.order_by, { allowed: Object.keys(DAG_ORDER), primaryKey: "dag_id" });
    const { rows, total } = await listDags(db, filter, { orders, page: pageOf(query) });
    const dagIds = rows.map((row) => row.dag_id);
    const [runs, favorites, pending] = await Promise.all([
      latestRuns(db, dagIds, query.dag_runs_limit),
      favoritesAmong(db, userId, dagIds),
      // As in Airflow, only for those who ask for DAGs that have any.
      query.has_pending_actions ? pendingActions(db, dagIds) : new Map<string, object[]>(),
    ]);
    const dags = rows.map((row) =>
      withoutNulls({
        ...toDagResponse(row),
        asset_expression: jsonOrNull(row.asset_expression),
        latest_dag_runs: runs
          .filter(({ dag_id }) => dag_id === row.dag_id)
          .map((run) => withoutNulls(toRunGlance(run))),
        pending_actions: pending.get(row.dag_id) ?? [],
        is_favorite: favorites.has(row.dag_id),
      }),
    );
    return sendRaw(reply, { total_entries: total, dags });
  });
}

/** What tasks of these DAGs ask people, by DAG. */
async function pendingActions(db: ApiContext["db"], dagIds: readonly string[]): Promise<Map<string, object[]>> {
  const found = new Map<string, object[]>();
  for (const { row, detail } of await hitlDetailsOf(db, await pendingInputs(db, dagIds))) {
    found.set(row.dag_id, [...(found.get(row.dag_id) ?? []), detail]);
  }
  return found;
}

/** Airflow leaves null fields out of this answer. */
function withoutNulls(object: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== null));
}
