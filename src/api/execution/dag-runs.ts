import { Type } from "typebox";
import { DAG_RUN_STATES } from "../../domain/states.ts";
import { withDatabase } from "../../execution/database-retry.ts";
import { clearDagRun } from "../../execution/dag-run.ts";
import { enumOf, InstantText, JsonObject, nullable, strictObject } from "../schema.ts";
import { asMessage, httpAnswer, NO_CONTENT, operation, text, type Operation } from "./operation.ts";

const texts = Type.Optional(Type.Array(Type.String()));
const optionalText = Type.Optional(nullable(Type.String()));
const optionalInstant = Type.Optional(nullable(InstantText));

const previous = asMessage("GetPreviousDagRun", { ok: ({ dag_run }) => ({ status: 200, body: dag_run }) });
const before = { logical_date: InstantText, state: Type.Optional(enumOf(DAG_RUN_STATES)) };

const clear: Operation["run"] = async (x, call) =>
  httpAnswer(await withDatabase(x, () => clearDagRun(x, text(call, "dag_id"), text(call, "run_id"))), () => NO_CONTENT);

export const dagRunOperations: readonly Operation[] = [
  // Before the one that would take "previous" for a run's id, where a version has both.
  operation("GET /dag-runs/{dag_id}/previous", previous, { query: Type.Object(before) }),
  operation("GET /dag-runs/{dag_id}/{run_id}", asMessage("GetDagRun")),
  operation(
    "POST /dag-runs/{dag_id}/{run_id}",
    // Who wants a run that is there already to begin anew asks for that next.
    asMessage("TriggerDagRun", { fields: () => ({ reset_dag_run: false }), ok: () => NO_CONTENT }),
    {
      body: strictObject({
        logical_date: optionalInstant,
        run_after: optionalInstant,
        conf: Type.Optional(JsonObject),
        reset_dag_run: Type.Optional(Type.Boolean()),
        partition_key: optionalText,
        note: optionalText,
      }),
    },
  ),
  operation("POST /dag-runs/{dag_id}/{run_id}/clear", clear),
  operation("GET /dag-runs/{dag_id}/{run_id}/state", asMessage("GetDagRunState")),
  operation("GET /dag-runs/count", asMessage("GetDRCount", { ok: ({ count }) => ({ status: 200, body: count }) }), {
    query: Type.Object({
      dag_id: Type.String(),
      logical_dates: Type.Optional(Type.Array(InstantText)),
      run_ids: texts,
      states: texts,
    }),
  }),
  operation("GET /dag-runs/previous", previous, { query: Type.Object({ dag_id: Type.String(), ...before }) }),
  operation("GET /dags/{dag_id}", asMessage("GetDag")),
];
