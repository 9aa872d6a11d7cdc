import { toJsonText, type JsonText } from "../kit/json-text.ts";
import { RawJson, type Reply } from "../domain/task-execution.ts";
import {
  findHitlResponse,
  storeHitlResponse,
  upsertHitlRequest,
  type HitlRequest,
  type HitlResponseRow,
} from "../store/execution-hitl.ts";
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

const NOBODY_ASKED = refuse(
  404,
  "not_found",
  "HITLDetail not found. This happens most likely due to clearing task instance before receiving response.",
);

/** `GET /hitlDetails/{id}`: what was answered. */
export async function getHitlResponse(x: ExecutionContext, id: string): Promise<Answer<HitlResponseRow>> {
  const row = await findHitlResponse(x.deps.database.db, id);
  return row ? ok(row) : NOBODY_ASKED;
}

/** `PATCH /hitlDetails/{id}`: a trigger answers, when nobody did in time. */
export async function answerHitlRequest(
  x: ExecutionContext,
  id: string,
  response: { chosenOptions: JsonText; paramsInput: JsonText },
): Promise<Answer<HitlResponseRow>> {
  const stored = await storeHitlResponse(x.deps.database.db, id, {
    ...response,
    respondedBy: null,
    now: x.kit.clock.now(),
  });
  const found = await getHitlResponse(x, id);
  if (stored || found.kind === "refused") return found;
  const message = `Human-in-the-loop detail for Task Instance with id ${id} already exists.`;
  return refuse(409, "already_exists", message);
}

/** The Execution API's `HITLDetailResponse`. */
export const hitlResponseFields = (row: HitlResponseRow): Record<string, unknown> => ({
  response_received: row.responded_at !== null,
  responded_by_user: row.responded_by === null ? null : new RawJson(row.responded_by),
  responded_at: row.responded_at,
  chosen_options: row.chosen_options === null ? null : new RawJson(row.chosen_options),
  params_input: new RawJson(row.params_input),
});

const responseReply = (row: HitlResponseRow) => ({ type: "HITLDetailResponseResult", ...hitlResponseFields(row) });

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
  UpdateHITLDetail: async (x, callerId, message) => {
    if (callerId !== null) return unhandled();
    const chosenOptions = toJsonText(message.optionalTexts("chosen_options") ?? []);
    const paramsInput = message.optionalJson("params_input") ?? ("{}" as JsonText);
    const answer = await answerHitlRequest(x, message.text("ti_id"), { chosenOptions, paramsInput });
    return replyTo(answer, responseReply);
  },
  GetHITLDetailResponse: async (x, callerId, message) =>
    callerId === null ? replyTo(await getHitlResponse(x, message.text("ti_id")), responseReply) : unhandled(),
} satisfies Record<string, MessageHandler>;
