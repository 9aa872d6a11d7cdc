import { Type } from "typebox";
import { allowsRunType } from "../../domain/allows-run-type.ts";
import { dagsProducing } from "../../store/query-assets.ts";
import { findDagRow } from "../../store/query-dags.ts";
import { audited } from "../audit.ts";
import { mayUseDags } from "../auth/team-access.ts";
import type { ApiContext, TypedApp } from "../context.ts";
import { ApiError, badRequest, conflict, notFound } from "../errors.ts";
import { sendRaw } from "../raw-json.ts";
import { InstantText, nullable, strictObject } from "../schema.ts";
import { requireDag } from "./dag-lookup.ts";
import { datesOf, makeRun, planRun, triggerFields } from "./trigger.ts";

const materializeBody = strictObject({ ...triggerFields, logical_date: Type.Optional(nullable(InstantText)) });

/** `POST /assets/{asset_id}/materialize`: runs the one DAG whose task updates the asset. */
export function assetMaterializeRoutes(app: TypedApp, context: ApiContext): void {
  const { db } = context;

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
      if (!(await mayUseDags(db, request, [dagId]))) {
        const what = `trigger a run for Dag: ${dagId} that materializes this asset`;
        throw new ApiError(403, `User is not authorized to ${what}`);
      }
      const versionId = await requireDag(context, dagId);
      const version = { versionId, graph: await context.graph(versionId) };
      await refuseUnlessAllowed(dagId);
      const runType = "asset_materialization";
      const run = await planRun(context, version, request.body, { dates: datesOf(request.body), runType });
      return sendRaw(reply, await makeRun(context, request, version, { ...run, runType, triggeredBy: "rest_api" }));
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
    if (!allowsRunType(dag?.allowed_run_types ?? null, "asset_materialization")) {
      throw badRequest(`Dag with dag_id: '${dagId}' does not allow asset materialization runs`);
    }
  }
}
