import { Type } from "typebox";
import { formatInstant } from "../../kit/instant.ts";
import {
  deleteQueuedEvents,
  listQueuedEvents,
  type QueuedEventFilter,
  type QueuedEventRow,
} from "../../store/asset-queue.ts";
import { audited } from "../audit.ts";
import { teamsOf, type ApiContext, type TypedApp } from "../context.ts";
import { notFound } from "../errors.ts";
import { InstantText, toInstant } from "../schema.ts";

const querystring = Type.Object({ before: Type.Optional(InstantText) });
const dagId = Type.String();
const assetId = Type.Integer();

/** Updates of assets that DAGs have not had a run for: seen from the asset and from the DAG. */
export function assetQueuedEventRoutes(app: TypedApp, { db }: ApiContext): void {
  const op = { role: "OP" as const };

  const ofAsset = { params: Type.Object({ asset_id: assetId }), querystring };
  app.get("/assets/:asset_id/queuedEvents", { schema: ofAsset }, async (request) =>
    collection({
      assetId: request.params.asset_id,
      before: beforeOf(request.query),
      teams: teamsOf(request),
    }),
  );
  app.delete(
    "/assets/:asset_id/queuedEvents",
    { schema: ofAsset, config: op, preValidation: audited(db, "delete_asset_queued_events") },
    async (request, reply) => {
      const { params, query } = request;
      await remove(
        { assetId: params.asset_id, before: beforeOf(query), teams: teamsOf(request) },
        `Queue event with asset_id: \`${params.asset_id}\` was not found`,
      );
      return reply.code(204).send();
    },
  );

  const ofDag = { params: Type.Object({ dag_id: dagId }), querystring };
  app.get("/dags/:dag_id/assets/queuedEvents", { schema: ofDag }, async ({ params, query }) =>
    collection({ dagId: params.dag_id, before: beforeOf(query) }),
  );
  app.delete(
    "/dags/:dag_id/assets/queuedEvents",
    { schema: ofDag, config: op, preValidation: audited(db, "delete_dag_asset_queued_events") },
    async ({ params, query }, reply) => {
      await remove(
        { dagId: params.dag_id, before: beforeOf(query) },
        `Queue event with dag_id: \`${params.dag_id}\` was not found`,
      );
      return reply.code(204).send();
    },
  );

  const ofBoth = { params: Type.Object({ dag_id: dagId, asset_id: assetId }), querystring };
  const missing = (params: { dag_id: string; asset_id: number }) =>
    `Queued event with dag_id: \`${params.dag_id}\` and asset_id: \`${params.asset_id}\` was not found`;
  app.get("/dags/:dag_id/assets/:asset_id/queuedEvents", { schema: ofBoth }, async ({ params, query }) => {
    const filter = { dagId: params.dag_id, assetId: params.asset_id, before: beforeOf(query) };
    const [row] = await listQueuedEvents(db, filter);
    if (!row) throw notFound(missing(params));
    return toResponse(row);
  });
  app.delete(
    "/dags/:dag_id/assets/:asset_id/queuedEvents",
    { schema: ofBoth, config: op, preValidation: audited(db, "delete_dag_asset_queued_event") },
    async ({ params, query }, reply) => {
      await remove({ dagId: params.dag_id, assetId: params.asset_id, before: beforeOf(query) }, missing(params));
      return reply.code(204).send();
    },
  );

  async function collection(filter: QueuedEventFilter) {
    const rows = await listQueuedEvents(db, filter);
    return { queued_events: rows.map(toResponse), total_entries: rows.length };
  }

  async function remove(filter: QueuedEventFilter, missing: string): Promise<void> {
    if ((await deleteQueuedEvents(db, filter)) === 0) throw notFound(missing);
  }
}

function beforeOf(query: { before?: string }) {
  return query.before === undefined ? undefined : toInstant(query.before, ["query", "before"]);
}

function toResponse(row: QueuedEventRow) {
  return { ...row, created_at: formatInstant(row.created_at) };
}
