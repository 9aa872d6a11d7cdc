import type { FastifyInstance } from "fastify";
import { typed, type ApiContext, type TypedApp } from "../context.ts";
import { assetRoutes } from "./assets.ts";
import { backfillRoutes } from "./backfills.ts";
import { dagFileRoutes } from "./dag-files.ts";
import { dagRunWaitRoutes } from "./dag-run-wait.ts";
import { dagRunBulkRoutes } from "./dag-runs-bulk.ts";
import { dagRunClearRoutes } from "./dag-runs-clear.ts";
import { dagRunRoutes } from "./dag-runs.ts";
import { dagStatsRoutes } from "./dag-stats.ts";
import { dagVersionRoutes } from "./dag-versions.ts";
import { dagRoutes } from "./dags.ts";
import { eventLogRoutes } from "./event-logs.ts";
import { extraLinkRoutes } from "./extra-links.ts";
import { installationRoutes } from "./installation.ts";
import { monitoringRoutes } from "./monitoring.ts";
import { taskInstanceBulkRoutes } from "./task-instance-bulk.ts";
import { clearTaskInstanceRoutes } from "./task-instance-clear.ts";
import { taskInstanceLogRoutes } from "./task-instance-logs.ts";
import { taskInstancePatchRoutes } from "./task-instance-patch.ts";
import { taskInstanceRoutes } from "./task-instances.ts";
import { taskRoutes } from "./tasks.ts";
import { triggerRoutes } from "./trigger.ts";
import { connectionRoutes } from "./connections.ts";
import { poolRoutes } from "./pools.ts";
import { taskDependencyRoutes } from "./task-dependencies.ts";
import { taskStateRoutes } from "./task-states.ts";
import { variableRoutes } from "./variables.ts";
import { xcomRoutes } from "./xcoms.ts";
import { hitlRoutes } from "./hitl.ts";

/** A group of routes; its paths are written below `/api/v2`. */
type RouteGroup = (app: TypedApp, context: ApiContext) => void;

const GROUPS: readonly RouteGroup[] = [
  assetRoutes,
  backfillRoutes,
  dagFileRoutes,
  dagRunWaitRoutes,
  triggerRoutes,
  dagRunBulkRoutes,
  dagRunClearRoutes,
  dagRunRoutes,
  dagStatsRoutes,
  dagVersionRoutes,
  dagRoutes,
  eventLogRoutes,
  extraLinkRoutes,
  installationRoutes,
  monitoringRoutes,
  taskInstanceBulkRoutes,
  clearTaskInstanceRoutes,
  taskInstanceLogRoutes,
  taskInstancePatchRoutes,
  taskInstanceRoutes,
  taskRoutes,
  connectionRoutes,
  poolRoutes,
  taskDependencyRoutes,
  taskStateRoutes,
  variableRoutes,
  xcomRoutes,
  hitlRoutes,
];

/** Airflow's public REST API, `/api/v2`. */
export function publicRoutes(app: FastifyInstance, context: ApiContext): void {
  void app.register(
    async (scope) => {
      for (const register of GROUPS) register(typed(scope), context);
    },
    { prefix: "/api/v2" },
  );
}
