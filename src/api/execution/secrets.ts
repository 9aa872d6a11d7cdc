import { Type } from "typebox";
import { nullable } from "../schema.ts";
import { asMessage, NO_CONTENT, operation, text, type Operation } from "./operation.ts";

const optionalText = Type.Optional(nullable(Type.String()));

const keyOf: NonNullable<Parameters<typeof asMessage>[1]>["fields"] = (call) => ({ key: text(call, "variable_key") });

/** `value` goes by its alias too: the SDK writes `val`. */
const VariableBody = (body: unknown) => {
  const name = typeof body === "object" && body !== null && "value" in body ? "value" : "val";
  return Type.Object({ [name]: nullable(Type.String()), description: optionalText }, { additionalProperties: false });
};

export const secretOperations: readonly Operation[] = [
  operation(
    "GET /connections/{connection_id}",
    asMessage("GetConnection", { fields: (call) => ({ conn_id: text(call, "connection_id") }) }),
  ),
  operation("GET /variables/keys", asMessage("GetVariableKeys"), {
    query: Type.Object({
      prefix: Type.Optional(Type.String()),
      limit: Type.Integer({ minimum: 1, maximum: 10_000, default: 1000 }),
      offset: Type.Integer({ minimum: 0, default: 0 }),
    }),
  }),
  operation("GET /variables/{variable_key:path}", asMessage("GetVariable", { fields: keyOf })),
  operation(
    "PUT /variables/{variable_key:path}",
    asMessage("PutVariable", {
      fields: (call) => {
        const { value, val } = call.body as { value?: string | null; val?: string | null };
        return { ...keyOf(call), value: value ?? val ?? null };
      },
      ok: () => ({ status: 201, body: { message: "Variable successfully set" } }),
    }),
    { body: VariableBody },
  ),
  operation(
    "DELETE /variables/{variable_key:path}",
    asMessage("DeleteVariable", { fields: keyOf, ok: () => NO_CONTENT }),
  ),
];
