import { ROLES, type ApiContext, type Role, type User } from "../context.ts";
import { EDITOR_ROLE } from "./files.ts";
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

export const PAGES: readonly Page[] = [
  {
    name: "editor",
    title: "Editor",
    role: EDITOR_ROLE,
    inlineStyles: true,
    isAvailable: ({ files }) => files !== undefined,
    views: [
      {
        name: "Editor",
        href: "/leoflow/editor",
        destination: "nav",
        url_route: "editor",
        ...icons("M9 4 3 12l6 8M15 4l6 8-6 8"),
        nav_top_level: true,
      },
      { name: "Editor", href: "/leoflow/editor?dag_id={DAG_ID}", destination: "dag", url_route: "dag-editor" },
    ],
  },
  {
    name: "why",
    title: "Why isn't it running?",
    role: "VIEWER",
    views: [
      { name: "Why", href: "/leoflow/why?dag_id={DAG_ID}", destination: "dag", url_route: "why" },
      {
        name: "Why",
        href: "/leoflow/why?dag_id={DAG_ID}&run_id={RUN_ID}",
        destination: "dag_run",
        url_route: "why-run",
      },
      {
        name: "Why",
        href: "/leoflow/why?dag_id={DAG_ID}&run_id={RUN_ID}&task_id={TASK_ID}&map_index={MAP_INDEX}",
        destination: "task_instance",
        url_route: "why-task",
      },
    ],
  },
  {
    name: "users",
    title: "Users",
    role: "ADMIN",
    views: [
      {
        name: "Users",
        href: "/leoflow/users",
        destination: "nav",
        category: "admin",
        url_route: "users",
        ...icons(
          "M9 11a4 4 0 1 0 0-8 4 4 0 0 0 0 8M2 21v-2a4 4 0 0 1 4-4h6a4 4 0 0 1 4 4v2M16 3a4 4 0 0 1 0 8M22 21v-2a4 4 0 0 0-3-4",
        ),
      },
    ],
  },
];

/** A drawing of lines in a square of 24, for light and for dark. */
function icons(path: string): Pick<View, "icon" | "icon_dark_mode"> {
  const drawn = (colour: string) =>
    `data:image/svg+xml,${encodeURIComponent(
      `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" fill="none" stroke="${colour}" stroke-width="2" ` +
        `stroke-linecap="round" stroke-linejoin="round"><path d="${path}"/></svg>`,
    )}`;
  return { icon: drawn("#3f3f46"), icon_dark_mode: drawn("#d4d4d8") };
}

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
