import { randomBytes } from "node:crypto";
import type { FastifyError, FastifyReply, FastifyRequest } from "fastify";
import { ApiError, sendError } from "./errors.ts";

/** Writes an error as Airflow would; what is nobody's fault but ours is logged and not told. */
export function answerError(
  error: FastifyError | ApiError,
  request: FastifyRequest,
  reply: FastifyReply,
): FastifyReply {
  if (error instanceof ApiError) return sendError(reply, error);
  const status = error.statusCode ?? 500;
  if (status < 500) return reply.code(status).send({ detail: clientErrors[error.code] ?? error.message });
  const database = databaseAnswer(error);
  if (database) {
    const id = randomBytes(6).toString("hex");
    const level = database.status < 500 ? "warn" : "error";
    request.log[level]({ err: error, errorId: id, method: request.method, url: request.url }, "a request failed");
    const message =
      "Serious error when handling your request. Check logs for more details - " +
      `you will find it in api server when you look for ID ${id}`;
    return reply
      .code(database.status)
      .send({ detail: { reason: database.reason, statement: "hidden", orig_error: "hidden", message } });
  }
  request.log.error({ err: error, method: request.method, url: request.url }, "a request failed");
  return reply.code(500).send({ detail: "Internal Server Error" });
}

const clientErrors: Record<string, string> = {
  FST_ERR_CTP_BODY_TOO_LARGE: "Request Entity Too Large",
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: "Request body size did not match Content-Length",
};

const NO_CONNECTION = new Set(["ECONNREFUSED", "ECONNRESET", "ENOENT", "57P01", "57P03"]);

/**
 * PostgreSQL's errors, by SQLSTATE: 23505 unique_violation, class 22 data_exception, class 54 program_limit_exceeded, and
 * 08P01 protocol_violation, which is what more than 65,535 values come to.
 */
export function databaseAnswer(
  error: Error & { code?: string; severity?: string },
): { status: number; reason: string } | null {
  const code = error.code ?? "";
  if (NO_CONNECTION.has(code)) return { status: 503, reason: "Database not reachable" };
  if (error.severity === undefined || !/^[0-9A-Z]{5}$/.test(code)) return null;
  if (code === "23505") return { status: 409, reason: "Unique constraint violation" };
  if (/^(22|54|08P01)/.test(code)) return { status: 422, reason: "Value rejected by database" };
  return { status: 500, reason: "Database error" };
}
