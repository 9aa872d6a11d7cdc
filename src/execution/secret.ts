import {
  deleteVariable as deleteStoredVariable,
  findVariable,
  listVariableKeys,
  putVariable as storeVariable,
} from "../store/execution-variable.ts";
import { findConnection } from "../store/execution-connection.ts";
import { EMPTY, errorResponse, OK_RESPONSE, ok, refuse, replyTo, type Answer } from "./answer.ts";
import type { ExecutionContext, MessageHandler } from "./context.ts";

// Variables and Connections. Airflow lets every task read all of them; so do we. AIRFLOW_VAR_* and AIRFLOW_CONN_* are read
// by the SDK in the task's own environment, before it asks here.

/** `GET /variables/{key}`. */
export async function getVariable(x: ExecutionContext, key: string): Promise<Answer<string>> {
  const row = await findVariable(x.deps.database.db, key);
  if (!row) return refuse(404, "not_found", `Variable with key '${key}' not found`);
  return ok(row.is_encrypted ? decrypt(x, row.val, `Variable '${key}'`) : row.val);
}

/** `PUT /variables/{key}`. */
export async function putVariable(
  x: ExecutionContext,
  variable: { key: string; value: string | null; description: string | null },
): Promise<void> {
  // Airflow stores str(None).
  const val = x.deps.secrets.encrypt(variable.value ?? "None");
  await storeVariable(x.deps.database.db, { key: variable.key, val, description: variable.description });
}

/** `DELETE /variables/{key}`. */
export async function deleteVariable(x: ExecutionContext, key: string): Promise<void> {
  await deleteStoredVariable(x.deps.database.db, key);
}

const MAX_KEYS = 10_000;

/** `GET /variables/keys`. */
export async function getVariableKeys(
  x: ExecutionContext,
  page: { prefix: string | null; limit: number; offset: number },
): Promise<Answer<{ keys: string[]; total_entries: number }>> {
  if (page.limit < 1 || page.limit > MAX_KEYS) return refuse(422, "invalid_value", `limit must be 1 to ${MAX_KEYS}`);
  if (page.offset < 0) return refuse(422, "invalid_value", "offset must not be negative");
  const { keys, total } = await listVariableKeys(x.deps.database.db, page);
  return ok({ keys, total_entries: total });
}

/** `GET /connections/{connection_id}`. */
export async function getConnection(x: ExecutionContext, connId: string): Promise<Answer<Record<string, unknown>>> {
  const row = await findConnection(x.deps.database.db, connId);
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
  GetVariable: async (x, _callerId, message) => {
    const key = message.text("key");
    const answer = await getVariable(x, key);
    if (answer.kind === "refused") return { body: errorResponse("VARIABLE_NOT_FOUND", { key }) };
    return { body: { type: "VariableResult", key, value: answer.value } };
  },
  GetVariableKeys: async (x, _callerId, message) => {
    const page = {
      prefix: message.optionalText("prefix"),
      limit: message.optionalInteger("limit") ?? 1000,
      offset: message.optionalInteger("offset") ?? 0,
    };
    return replyTo(await getVariableKeys(x, page), (keys) => ({ type: "VariableKeysResult", ...keys }));
  },
  PutVariable: async (x, _callerId, message) => {
    const value = message.optionalText("value");
    await putVariable(x, { key: message.text("key"), value, description: message.optionalText("description") });
    return EMPTY;
  },
  DeleteVariable: async (x, _callerId, message) => {
    await deleteVariable(x, message.text("key"));
    return OK_RESPONSE;
  },
  GetConnection: async (x, _callerId, message) => {
    const connId = message.text("conn_id");
    const answer = await getConnection(x, connId);
    if (answer.kind === "refused") return { body: errorResponse("CONNECTION_NOT_FOUND", { conn_id: connId }) };
    return { body: { type: "ConnectionResult", ...answer.value } };
  },
  // The agent masks in the logs it writes; there is nothing to remember here.
  MaskSecret: () => EMPTY,
} satisfies Record<string, MessageHandler>;
