import type { Reply } from "../domain/task-execution.ts";

/** What an operation says: its result, or why the Execution API refuses, as an HTTP status and Airflow's `detail`. */
export type Answer<T> = { kind: "ok"; value: T } | Refused;

export interface Refused {
  kind: "refused";
  status: 400 | 403 | 404 | 409 | 410 | 422 | 500 | 501;
  detail: { reason: string; message: string; [field: string]: unknown };
}

export function ok<T>(value: T): Answer<T> {
  return { kind: "ok", value };
}

export function refuse(
  status: Refused["status"],
  reason: string,
  message: string,
  more: Record<string, unknown> = {},
): Refused {
  return { kind: "refused", status, detail: { reason, message, ...more } };
}

/** Airflow's ErrorType (`airflow.sdk.exceptions`). */
export type ErrorType =
  | "CONNECTION_NOT_FOUND"
  | "VARIABLE_NOT_FOUND"
  | "XCOM_NOT_FOUND"
  | "ASSET_NOT_FOUND"
  | "TASK_STORE_NOT_FOUND"
  | "ASSET_STORE_NOT_FOUND"
  | "DAGRUN_ALREADY_EXISTS"
  | "PERMISSION_DENIED"
  | "GENERIC_ERROR"
  | "API_SERVER_ERROR";

export function errorResponse(error: ErrorType, detail: Record<string, unknown> | null): Record<string, unknown> {
  return { type: "ErrorResponse", error, detail };
}

/** Raises AirflowRuntimeError in the task, worded as the SDK's supervisor words an answer of the API server. */
export function refusalReply(refused: Refused): Reply {
  return {
    error: errorResponse("API_SERVER_ERROR", {
      status_code: refused.status,
      message: refused.detail.message,
      detail: { detail: refused.detail },
    }),
  };
}

export const EMPTY: Reply = { body: null };
export const OK_RESPONSE: Reply = { body: { type: "OKResponse", ok: true } };

/** The reply for an operation's answer; without `body`, success is answered with nothing. */
export function replyTo<T>(answer: Answer<T>, body?: (value: T) => Record<string, unknown>): Reply {
  if (answer.kind === "refused") return refusalReply(answer);
  return body ? { body: body(answer.value) } : EMPTY;
}
