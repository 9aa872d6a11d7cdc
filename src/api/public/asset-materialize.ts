import { Type } from "typebox";
import { fromJsonText, type JsonValue } from "../../kit/json-text.ts";
import { createDagRun } from "../../store/dag-run-creation.ts";
import { dagsProducing } from "../../store/query-assets.ts";
import { findDagRow } from "../../store/query-dags.ts";
import { findDagRunSummary } from "../../store/query-dag-runs.ts";
import { audited } from "../audit.ts";
import { bodyText } from "../body.ts";
import { userOf, type ApiContext, type TypedApp } from "../context.ts";
import { badRequest, conflict, notFound, uniqueConflict } from "../errors.ts";
import { sendRaw } from "../raw-json.ts";
import { InstantText, nullable, strictObject } from "../schema.ts";
import { toDagRunResponse } from "../serialize.ts";
import { requireDag } from "./dag-lookup.ts";
import { checkParams } from "./param-validation.ts";
import { checkRunId, confOf, datesOf, planRun, triggerFields } from "./trigger.ts";

const materializeBody = strictObject({ ...triggerFields, logical_date: Type.Optional(nullable(InstantText)) });

/** `POST /assets/{asset_id}/materialize`: runs the one DAG whose task updates the asset. */
export function assetMaterializeRoutes(app: TypedApp, context: ApiContext): void {
  const { db, bus } = context;

  app.post(
    "/assets/:asset_id/materialize",
    {
      schema: { params: Type.Object({ asset_id: Type.Integer() }), body: materializeBody },
      config: { role: "OP" },
      // The body may be left out.
      preValidation: [async (request) => void (request.body ??= {}), audited(db, "materialize_asset")],
    },
    async (request, reply) => {
      const dagId = await producerOf(request.params.asset_id);
      const versionId = await requireDag(context, dagId);
      const version = { versionId, graph: await context.graph(versionId) };
      await refuseUnlessAllowed(dagId);
      const { body } = request;
      const run = await planRun(context, version, body, { dates: datesOf(body), runType: "asset_materialization" });
      checkRunId(run.runId);
      checkParams(version.graph.params, (body.conf ?? null) as Record<string, JsonValue> | null);
      const userName = userOf(request).name;
      const made = await createDagRun(db, {
        dagId,
        ...run,
        runType: "asset_materialization",
        conf: confOf(body, bodyText(request)),
        triggeredBy: "rest_api",
        triggeringUserName: userName,
        note: body.note || null,
        noteUserId: userName,
      });
      if (made.kind === "no_dag") throw notFound(`The Dag with ID: \`${dagId}\` was not found`);
      if (made.kind === "exists") throw uniqueConflict("The Dag has a run with this run id or logical date already");
      bus.publish({ kind: "dag-run", dagRunId: made.id });
      const row = await findDagRunSummary(db, dagId, run.runId);
      if (!row) throw notFound(`The DagRun \`${run.runId}\` was deleted at once`);
      return sendRaw(reply, toDagRunResponse(row));
    },
  );

  async function producerOf(assetId: number): Promise<string> {
    const [dagId, another] = await dagsProducing(db, assetId);
    if (dagId === undefined) throw notFound(`No Dag materializes asset with ID: ${assetId}`);
    if (another !== undefined) throw conflict(`More than one Dag materializes asset with ID: ${assetId}`);
    return dagId;
  }

  async function refuseUnlessAllowed(dagId: string): Promise<void> {
    const dag = await findDagRow(db, dagId);
    const allowed = dag?.allowed_run_types ? fromJsonText<string[] | null>(dag.allowed_run_types) : null;
    if (allowed && !allowed.includes("asset_materialization")) {
      throw badRequest(`Dag with dag_id: '${dagId}' does not allow asset materialization runs`);
    }
  }
}
