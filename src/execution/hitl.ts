import { toJsonText, type JsonText } from "../kit/json-text.ts";
import { RawJson, type Reply } from "../domain/task-execution.ts";
import { upsertHitlRequest, type HitlRequest } from "../store/execution-hitl.ts";
import { whereabouts } from "../store/execution-liveness.ts";
import { errorResponse, ok, refuse, replyTo, type Answer } from "./answer.ts";
import type { ExecutionContext, MessageHandler } from "./context.ts";
import { notLive } from "./state.ts";

/** `POST /hitlDetails/{id}`: what a person is asked. */
export async function createHitlRequest(
  x: ExecutionContext,
  id: string,
  request: HitlRequest,
): Promise<Answer<Record<string, unknown>>> {
  const stored = await upsertHitlRequest(x.deps.database.db, id, request, x.kit.clock.now());
  if (!stored) return notLive((await whereabouts(x.deps.database.pool, id)).archived);
  return ok({
    ti_id: id,
    options: new RawJson(stored.options),
    subject: stored.subject,
    body: stored.body,
    defaults: stored.defaults === null ? null : new RawJson(stored.defaults),
    multiple: stored.multiple,
    params: new RawJson(stored.params),
    assigned_users: stored.assignees === null ? [] : new RawJson(stored.assignees),
  });
}

/** Only a triggerer asks for answers, and Airflow's task supervisor says so in these words. */
const unhandled = (): Reply => ({
  error: errorResponse("API_SERVER_ERROR", { status_code: 400, message: "Unhandled request" }),
});

export const hitlMessages = {
  CreateHITLDetailPayload: async (x, callerId, message) => {
    const id = message.text("ti_id");
    if (id !== callerId) return replyTo(refuse(403, "access_denied", "a task asks only on its own behalf"));
    const options = message.optionalTexts("options") ?? [];
    if (options.length === 0) return replyTo(refuse(422, "invalid_value", "options must not be empty"));
    const request: HitlRequest = {
      options: toJsonText(options),
      subject: message.text("subject"),
      body: message.optionalText("body"),
      defaults: message.optionalJson("defaults"),
      multiple: message.flag("multiple"),
      params: message.optionalJson("params") ?? ("{}" as JsonText),
      assignees: message.optionalJson("assigned_users") ?? ("[]" as JsonText),
    };
    return replyTo(await createHitlRequest(x, id, request), (detail) => ({
      type: "HITLDetailRequestResult",
      ...detail,
    }));
  },
  UpdateHITLDetail: unhandled,
  GetHITLDetailResponse: unhandled,
} satisfies Record<string, MessageHandler>;
