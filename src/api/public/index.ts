import type { FastifyInstance } from "fastify";
import type { ApiContext } from "../context.ts";

/** A group of routes of the public API; paths are written in full, `/api/v2` included. */
type RouteGroup = (app: FastifyInstance, context: ApiContext) => void;

const GROUPS: readonly RouteGroup[] = [];

/** Airflow's public REST API, `/api/v2`. */
export function publicRoutes(app: FastifyInstance, context: ApiContext): void {
  for (const register of GROUPS) register(app, context);
}
