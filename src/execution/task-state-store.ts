import type { Instant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import { RawJson } from "../domain/task-execution.ts";
import { whereabouts } from "../store/execution-liveness.ts";
import { deleteTaskState, findTaskState, putTaskState } from "../store/execution-state-store.ts";
import { errorResponse, OK_RESPONSE, ok, refusalReply, refuse, type Answer } from "./answer.ts";
import type { ExecutionContext, MessageHandler } from "./context.ts";
import type { MessageFields } from "./message-fields.ts";
import { notLive } from "./state.ts";

/** `GET /store/ti/{id}/{key}`; undefined where Airflow answers 404. */
export async function getTaskState(x: ExecutionContext, id: string, key: string): Promise<JsonText | undefined> {
  return await findTaskState(x.deps.database.db, id, key);
}

/** `PUT /store/ti/{id}/{key}`. */
export async function setTaskState(
  x: ExecutionContext,
  state: { id: string; key: string; value: JsonText; expiresAt: Instant | null },
): Promise<Answer<null>> {
  if (state.value === "null") return refuse(422, "invalid_value", "value cannot be null");
  const stored = await putTaskState(x.deps.database.db, { ...state, now: x.kit.clock.now() });
  return stored ? ok(null) : await missing(x, state.id);
}

/** `DELETE /store/ti/{id}/{key}`, or without a key `DELETE /store/ti/{id}`. */
export async function removeTaskState(x: ExecutionContext, id: string, key: string | null): Promise<Answer<null>> {
  return (await deleteTaskState(x.deps.database.db, id, key)) ? ok(null) : await missing(x, id);
}

async function missing(x: ExecutionContext, id: string) {
  return notLive((await whereabouts(x.deps.database.pool, id)).archived);
}

/** A task reaches only its own store. */
function ownId(callerId: string | null, message: MessageFields): Answer<string> {
  const id = message.text("ti_id");
  return id === callerId ? ok(id) : refuse(403, "access_denied", "a task reaches only its own state store");
}

function done(answer: Answer<null>) {
  return answer.kind === "ok" ? OK_RESPONSE : refusalReply(answer);
}

export const taskStateStoreMessages = {
  GetTaskStateStore: async (x, callerId, message) => {
    const id = ownId(callerId, message);
    if (id.kind === "refused") return refusalReply(id);
    const key = message.text("key");
    const value = await getTaskState(x, id.value, key);
    if (value === undefined) return { body: errorResponse("TASK_STORE_NOT_FOUND", { key }) };
    return { body: { type: "TaskStateStoreResult", value: new RawJson(value) } };
  },
  SetTaskStateStore: async (x, callerId, message) => {
    const id = ownId(callerId, message);
    if (id.kind === "refused") return refusalReply(id);
    const expiresAt = message.optionalInstant("expires_at");
    return done(
      await setTaskState(x, { id: id.value, key: message.text("key"), value: message.json("value"), expiresAt }),
    );
  },
  DeleteTaskStateStore: async (x, callerId, message) => {
    const id = ownId(callerId, message);
    return id.kind === "refused" ? refusalReply(id) : done(await removeTaskState(x, id.value, message.text("key")));
  },
  ClearTaskStateStore: async (x, callerId, message) => {
    const id = ownId(callerId, message);
    return id.kind === "refused" ? refusalReply(id) : done(await removeTaskState(x, id.value, null));
  },
} satisfies Record<string, MessageHandler>;
