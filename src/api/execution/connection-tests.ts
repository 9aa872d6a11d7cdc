import { Type } from "typebox";
import { enumOf, nullable, strictObject } from "../schema.ts";
import { operation, text, type Operation } from "./operation.ts";

const ofTest = { access: { tokens: ["workload"], self: "connection_test_id" } } as const;

/** The server tests connections itself (api/public/connection-tests.ts): there is never one for a worker. */
const unknown: Operation["run"] = async (_x, call) => {
  const message = `Connection test ${text(call, "connection_test_id")} not found`;
  return { status: 404, body: { detail: { reason: "not_found", message } } };
};

export const connectionTestOperations: readonly Operation[] = [
  operation("GET /connection-tests/{connection_test_id}/connection", unknown, ofTest),
  operation("PATCH /connection-tests/{connection_test_id}", unknown, {
    ...ofTest,
    body: strictObject({
      state: enumOf(["success", "failed"]),
      result_message: Type.Optional(nullable(Type.String({ maxLength: 2000 }))),
    }),
  }),
];
