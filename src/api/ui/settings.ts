import { Type } from "typebox";
import { listTeams, TEAM_SORTABLE } from "../../store/teams.ts";
import { teamsOf, type ApiContext, type TypedApp } from "../context.ts";
import { ApiError } from "../errors.ts";
import { orderByQuery, orderOf, pageOf, pageQuery } from "../query.ts";

/** What the UI asks at its start, and the forms of connections. */
export function settingsRoutes(app: TypedApp, context: ApiContext): void {
  app.get("/config", async () => ({
    fallback_page_limit: 50,
    auto_refresh_interval: 1,
    hide_paused_dags_by_default: false,
    instance_name: "Leoflow",
    enable_swagger_ui: true,
    require_confirmation_dag_change: false,
    default_wrap: false,
    test_connection: "Enabled",
    dashboard_alert: [],
    show_external_log_redirect: false,
    external_log_name: null,
    theme: null,
    multi_team: context.multiTeam ?? false,
    rerun_with_latest_version: null,
  }));

  const teamsQuery = Type.Object({ ...pageQuery, ...orderByQuery });
  app.get("/teams", { schema: { querystring: teamsQuery } }, async (request) => {
    const { query } = request;
    const orders = orderOf(query.order_by, { allowed: Object.keys(TEAM_SORTABLE), primaryKey: "name" });
    if (!context.multiTeam) throw new ApiError(403, "Multi-team mode is not configured in the Airflow environment");
    const { rows, total } = await listTeams(context.db, teamsOf(request), { orders, page: pageOf(query) });
    return { teams: rows, total_entries: total };
  });

  let hookMeta: Promise<unknown> | undefined;
  app.get("/connections/hook_meta", { config: { role: "OP" } }, async () => {
    // Python looks through all providers for it, and they change only with the venv.
    hookMeta ??= context.python({ kind: "hook_meta" }).catch((error: unknown) => {
      hookMeta = undefined;
      throw error;
    });
    return hookMeta;
  });
}
