import type { FastifyInstance } from "fastify";
import { typed, type ApiContext, type TypedApp } from "../context.ts";

/** A group of routes; its paths are written below `/api/v2`. */
type RouteGroup = (app: TypedApp, context: ApiContext) => void;

const GROUPS: readonly RouteGroup[] = [];

/** Airflow's public REST API, `/api/v2`. */
export function publicRoutes(app: FastifyInstance, context: ApiContext): void {
  void app.register(
    async (scope) => {
      for (const register of GROUPS) register(typed(scope), context);
    },
    { prefix: "/api/v2" },
  );
}
