import type { FastifyInstance } from "fastify";
import { typed, type ApiContext } from "../context.ts";
import { uiBackfillRoutes } from "../public/backfills.ts";
import { assetRoutes } from "./assets.ts";
import { dagRoutes } from "./dags.ts";
import { dashboardRoutes } from "./dashboard.ts";
import { deadlineRoutes } from "./deadlines.ts";
import { dependencyRoutes } from "./dependencies.ts";
import { gridRoutes } from "./grid.ts";
import { runRoutes } from "./runs.ts";
import { settingsRoutes } from "./settings.ts";
import { structureRoutes } from "./structure.ts";

const GROUPS = [
  settingsRoutes,
  dashboardRoutes,
  dagRoutes,
  runRoutes,
  gridRoutes,
  structureRoutes,
  dependencyRoutes,
  assetRoutes,
  deadlineRoutes,
  uiBackfillRoutes,
];

/** What Airflow's UI asks for beside the public API: `/ui`. */
export function uiRoutes(app: FastifyInstance, context: ApiContext): void {
  void app.register(
    async (scope) => {
      for (const register of GROUPS) register(typed(scope), context);
    },
    { prefix: "/ui" },
  );
}
