import type { FastifyInstance } from "fastify";
import type { ApiContext } from "../context.ts";

/** What Airflow's UI asks for beside the public API: `/ui`. */
export function uiRoutes(_app: FastifyInstance, _context: ApiContext): void {
  // filled below
}
