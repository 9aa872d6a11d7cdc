import { Type } from "typebox";
import type { ApiContext, TypedApp } from "../context.ts";
import { ApiError } from "../errors.ts";
import { orderByQuery, pageQuery } from "../query.ts";

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
    multi_team: false,
    rerun_with_latest_version: null,
  }));

  app.get("/teams", { schema: { querystring: Type.Object({ ...pageQuery, ...orderByQuery }) } }, async () => {
    throw new ApiError(403, "Multi-team mode is not configured in the Airflow environment");
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
