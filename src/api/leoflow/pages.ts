import { ROLES, type ApiContext, type Role, type User } from "../context.ts";
import { programVersion } from "../../kit/version.ts";

/** An external view, as Airflow's plugins declare them. */
export interface View {
  name: string;
  /** In other destinations than nav and base, {DAG_ID}, {RUN_ID}, {TASK_ID} and {MAP_INDEX} are filled in. */
  href: string;
  destination: "nav" | "dag" | "dag_run" | "task" | "task_instance" | "base";
  category?: string;
  url_route: string;
  icon?: string;
  icon_dark_mode?: string;
  nav_top_level?: boolean;
}

/** A page of our own: `web/<name>/main.ts`, served at `/leoflow/<name>`. */
export interface Page {
  name: string;
  title: string;
  /** The least role that sees it. */
  role: Role;
  views: readonly View[];
  /** Its script makes style sheets as it runs. */
  inlineStyles?: boolean;
  /** Whether this installation has what the page shows; it does unless this says no. */
  isAvailable?: (context: ApiContext) => boolean;
}

export const PAGES: readonly Page[] = [];

/** The pages as one Airflow plugin, with the views that this user may open. */
export function leoflowPlugin(context: ApiContext, user: User) {
  const views = PAGES.filter(
    ({ role, isAvailable }) => ROLES.indexOf(user.role) >= ROLES.indexOf(role) && (isAvailable?.(context) ?? true),
  ).flatMap((page) => page.views);
  return {
    name: "leoflow",
    macros: [],
    flask_blueprints: [],
    fastapi_apps: [],
    fastapi_root_middlewares: [],
    external_views: views.map((view) => ({
      icon: null,
      icon_dark_mode: null,
      category: null,
      nav_top_level: false,
      ...view,
    })),
    react_apps: [],
    appbuilder_views: [],
    appbuilder_menu_items: [],
    global_operator_extra_links: [],
    operator_extra_links: [],
    source: `leoflow==${programVersion}`,
    listeners: [],
    timetables: [],
  };
}
