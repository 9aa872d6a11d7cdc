import {
  deleteVariable as deleteStoredVariable,
  findVariable,
  listVariableKeys,
  putVariable as storeVariable,
} from "../store/execution-variable.ts";
import { findConnection } from "../store/execution-connection.ts";
import { EMPTY, errorResponse, OK_RESPONSE, ok, refuse, replyTo, type Answer } from "./answer.ts";
import type { ExecutionContext, MessageHandler } from "./context.ts";
import { readConnectionValue } from "./connection-value.ts";
import { askerOf, teamSecretOf } from "./team-rule.ts";

// Variables and Connections. Airflow lets every task read all of them; so do we, but for other teams'. AIRFLOW_VAR_* and AIRFLOW_CONN_* are read
// by the SDK in the task's own environment, before it asks here.

/** `GET /variables/{key}`. */
export async function getVariable(x: ExecutionContext, callerId: string | null, key: string): Promise<Answer<string>> {
  const kept = await teamSecretOf(x, callerId, "VAR", key);
  if (kept !== undefined) return ok(kept);
  const row = await findVariable(x.deps.database.db, key, askerOf(x, callerId));
  if (!row) return refuse(404, "not_found", `Variable with key '${key}' not found`);
  return ok(row.is_encrypted ? decrypt(x, row.val, `Variable '${key}'`) : row.val);
}

/** `PUT /variables/{key}`. */
export async function putVariable(
  x: ExecutionContext,
  callerId: string | null,
  variable: { key: string; value: string | null; description: string | null },
): Promise<Answer<null>> {
  // Airflow stores str(None).
  const val = x.deps.secrets.encrypt(variable.value ?? "None");
  const { key, description } = variable;
  if (await storeVariable(x.deps.database.db, { key, val, description }, askerOf(x, callerId))) return ok(null);
  return refuse(403, "access_denied", `Variable '${key}' belongs to another team`);
}

/** `DELETE /variables/{key}`. */
export async function deleteVariable(x: ExecutionContext, callerId: string | null, key: string): Promise<void> {
  await deleteStoredVariable(x.deps.database.db, key, askerOf(x, callerId));
}

const MAX_KEYS = 10_000;

/** `GET /variables/keys`. */
export async function getVariableKeys(
  x: ExecutionContext,
  callerId: string | null,
  page: { prefix: string | null; limit: number; offset: number },
): Promise<Answer<{ keys: string[]; total_entries: number }>> {
  if (page.limit < 1 || page.limit > MAX_KEYS) return refuse(422, "invalid_value", `limit must be 1 to ${MAX_KEYS}`);
  if (page.offset < 0) return refuse(422, "invalid_value", "offset must not be negative");
  const { keys, total } = await listVariableKeys(x.deps.database.db, page, askerOf(x, callerId));
  return ok({ keys, total_entries: total });
}

/** `GET /connections/{connection_id}`. */
export async function getConnection(
  x: ExecutionContext,
  callerId: string | null,
  connId: string,
): Promise<Answer<Record<string, unknown>>> {
  const kept = await teamSecretOf(x, callerId, "CONN", connId);
  if (kept !== undefined) return ok({ conn_id: connId, ...readConnectionValue(kept) });
  const row = await findConnection(x.deps.database.db, connId, askerOf(x, callerId));
  if (!row) return refuse(404, "not_found", `Connection with ID ${connId} not found`);
  const secret = (value: string | null, encrypted: boolean) =>
    value !== null && value !== "" && encrypted ? decrypt(x, value, `Connection '${connId}'`) : value;
  return ok({
    conn_id: row.conn_id,
    conn_type: row.conn_type,
    host: row.host,
    schema: row.schema,
    login: row.login,
    password: secret(row.password, row.is_encrypted),
    port: row.port,
    extra: secret(row.extra, row.is_extra_encrypted),
  });
}

function decrypt(x: ExecutionContext, token: string, what: string): string {
  try {
    return x.deps.secrets.decrypt(token);
  } catch (error) {
    throw new Error(`${what} cannot be read: ${(error as Error).message}`, { cause: error });
  }
}

export const secretMessages = {
  GetVariable: async (x, callerId, message) => {
    const key = message.text("key");
    const answer = await getVariable(x, callerId, key);
    if (answer.kind === "refused") return { body: errorResponse("VARIABLE_NOT_FOUND", { key }) };
    return { body: { type: "VariableResult", key, value: answer.value } };
  },
  GetVariableKeys: async (x, callerId, message) => {
    const page = {
      prefix: message.optionalText("prefix"),
      limit: message.optionalInteger("limit") ?? 1000,
      offset: message.optionalInteger("offset") ?? 0,
    };
    return replyTo(await getVariableKeys(x, callerId, page), (keys) => ({ type: "VariableKeysResult", ...keys }));
  },
  PutVariable: async (x, callerId, message) => {
    const value = message.optionalText("value");
    const variable = { key: message.text("key"), value, description: message.optionalText("description") };
    return replyTo(await putVariable(x, callerId, variable));
  },
  DeleteVariable: async (x, callerId, message) => {
    await deleteVariable(x, callerId, message.text("key"));
    return OK_RESPONSE;
  },
  GetConnection: async (x, callerId, message) => {
    const connId = message.text("conn_id");
    const answer = await getConnection(x, callerId, connId);
    if (answer.kind === "refused") return { body: errorResponse("CONNECTION_NOT_FOUND", { conn_id: connId }) };
    return { body: { type: "ConnectionResult", ...answer.value } };
  },
  // The agent masks in the logs it writes; there is nothing to remember here.
  MaskSecret: () => EMPTY,
} satisfies Record<string, MessageHandler>;
