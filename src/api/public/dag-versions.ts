import { Type } from "typebox";
import { DAG_VERSION_ORDER, findDagSource, findDagVersion, listDagVersions } from "../../store/query-dag-versions.ts";
import { teamsOf, type ApiContext, type TypedApp } from "../context.ts";
import { ApiError, notFound } from "../errors.ts";
import { orderByQuery, orderOf, pageOf, pageQuery } from "../query.ts";
import { toDagVersionResponse } from "../serialize.ts";
import { requireDag } from "./dag-lookup.ts";

/** `/dags/{dag_id}/dagVersions` and `/dagSources`. */
export function dagVersionRoutes(app: TypedApp, context: ApiContext): void {
  const { db } = context;
  const dagParams = Type.Object({ dag_id: Type.String() });

  const listQuery = Type.Object({
    ...pageQuery,
    ...orderByQuery,
    version_number: Type.Optional(Type.Integer()),
    bundle_name: Type.Optional(Type.String()),
    bundle_version: Type.Optional(Type.String()),
  });
  app.get("/dags/:dag_id/dagVersions", { schema: { params: dagParams, querystring: listQuery } }, async (request) => {
    const { params, query } = request;
    const dagId = params.dag_id === "~" ? undefined : params.dag_id;
    if (dagId !== undefined) await requireDag(context, dagId);
    const orders = orderOf(query.order_by, { allowed: Object.keys(DAG_VERSION_ORDER), primaryKey: "id" });
    const { rows, total } = await listDagVersions(
      db,
      {
        dagId,
        versionNumber: query.version_number,
        bundleName: query.bundle_name,
        bundleVersion: query.bundle_version,
        teams: teamsOf(request),
      },
      { orders, page: pageOf(query) },
    );
    return { dag_versions: rows.map(toDagVersionResponse), total_entries: total };
  });

  app.get(
    "/dags/:dag_id/dagVersions/:version_number",
    { schema: { params: Type.Object({ dag_id: Type.String(), version_number: Type.Integer() }) } },
    async ({ params: { dag_id: dagId, version_number: number } }) => {
      const version = await findDagVersion(db, dagId, number);
      if (!version) {
        throw notFound(`The DagVersion with dag_id: \`${dagId}\` and version_number: \`${number}\` was not found`);
      }
      return toDagVersionResponse(version);
    },
  );

  app.get(
    "/dagSources/:dag_id",
    {
      schema: {
        params: dagParams,
        querystring: Type.Object({ version_number: Type.Optional(Type.Integer()) }),
      },
    },
    async ({ params, query, headers }, reply) => {
      const asText = wantsText(headers.accept);
      const source = await findDagSource(db, params.dag_id, query.version_number);
      if (!source) {
        const number = query.version_number ?? "None";
        throw notFound(`The source code of the Dag ${params.dag_id}, version_number ${number} was not found`);
      }
      if (asText) return await reply.type("text/plain; charset=utf-8").send(source.source_code);
      return {
        content: source.source_code,
        dag_id: source.dag_id,
        version_number: source.version_number,
        dag_display_name: source.dag_display_name,
      };
    },
  );
}

/** Whether the client prefers text over JSON; 406 when it wants neither. */
export function wantsText(accept: string | undefined): boolean {
  const wanted = accept ?? "*/*";
  if (wanted.startsWith("application/json") || wanted.includes("*/*")) return false;
  if (wanted.startsWith("text/plain")) return true;
  if (wanted.includes("application/json")) return false;
  if (wanted.includes("text/plain")) return true;
  throw new ApiError(406, "Only application/json or text/plain is supported");
}
