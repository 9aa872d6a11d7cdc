import { Type } from "typebox";
import { toJsonText, type JsonText } from "../../kit/json-text.ts";
import { withDatabase } from "../../execution/database-retry.ts";
import { answerHitlRequest, getHitlResponse, hitlResponseFields } from "../../execution/hitl.ts";
import { JsonObject, nullable } from "../schema.ts";
import {
  asMessage,
  httpAnswer,
  messageOf,
  operation,
  OWN_TASK,
  text,
  withMessage,
  type Operation,
} from "./operation.ts";

const own = { access: OWN_TASK };
const id = Type.String({ format: "uuid" });
const options = Type.Array(Type.String(), { minItems: 1 });

const HitlRequest = Type.Object({
  ti_id: id,
  options,
  subject: Type.String(),
  body: Type.Optional(nullable(Type.String())),
  defaults: Type.Optional(nullable(Type.Array(Type.String()))),
  multiple: Type.Optional(Type.Boolean()),
  params: Type.Optional(JsonObject),
  assigned_users: Type.Optional(Type.Array(Type.Object({ id: Type.String(), name: Type.String() }))),
});

type Row = Parameters<typeof hitlResponseFields>[0];

/** Who has not been answered is told of an empty choice. */
const responded = (row: Row) => {
  const fields = hitlResponseFields(row);
  return { status: 200, body: { ...fields, chosen_options: fields["chosen_options"] ?? [] } };
};

const answer: Operation["run"] = (x, call) =>
  withMessage(x, messageOf(call, "UpdateHITLDetailPayload"), async (fields) => {
    const given = await answerHitlRequest(x, text(call, "task_instance_id"), {
      chosenOptions: toJsonText(fields.optionalTexts("chosen_options") ?? []),
      paramsInput: fields.optionalJson("params_input") ?? ("{}" as JsonText),
    });
    if (given.kind === "refused" && given.status === 409)
      return { status: 409, body: { detail: given.detail.message } };
    return httpAnswer(given, responded);
  });

export const hitlOperations: readonly Operation[] = [
  operation(
    "POST /hitlDetails/{task_instance_id}",
    asMessage("CreateHITLDetailPayload", {
      fields: (call) => ({ ti_id: text(call, "task_instance_id") }),
      ok: (body) => ({ status: 201, body }),
    }),
    { ...own, body: HitlRequest },
  ),
  operation("PATCH /hitlDetails/{task_instance_id}", answer, {
    ...own,
    body: Type.Object({ ti_id: id, chosen_options: options, params_input: Type.Optional(JsonObject) }),
  }),
  operation(
    "GET /hitlDetails/{task_instance_id}",
    async (x, call) =>
      httpAnswer(await withDatabase(x, () => getHitlResponse(x, text(call, "task_instance_id"))), responded),
    own,
  ),
];
