import type { FastifyReply } from "fastify";

/** An answer that is not a success, in Airflow's shape `{"detail": …}`. Thrown by routes, written by one handler. */
export class ApiError extends Error {
  readonly status: number;
  readonly detail: unknown;

  constructor(status: number, detail: unknown) {
    super(typeof detail === "string" ? detail : JSON.stringify(detail));
    this.status = status;
    this.detail = detail;
  }
}

export const notFound = (detail: string) => new ApiError(404, detail);
export const badRequest = (detail: string) => new ApiError(400, detail);
export const conflict = (detail: unknown) => new ApiError(409, detail);

/** One entry of the list that pydantic makes of a bad request. */
export interface ValidationIssue {
  type: string;
  loc: (string | number)[];
  msg: string;
  input?: unknown;
  ctx?: Record<string, unknown>;
}

export const unprocessable = (issues: ValidationIssue[]) => new ApiError(422, issues);

/** Airflow's answer to a broken unique constraint. */
export function uniqueConflict(message: string, statement = "hidden"): ApiError {
  return conflict({ reason: "Unique constraint violation", statement, orig_error: "hidden", message });
}

export function sendError(reply: FastifyReply, error: ApiError): FastifyReply {
  return reply.code(error.status).send({ detail: error.detail });
}
