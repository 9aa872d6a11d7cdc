import { Type } from "typebox";
import { ExactObject, exactStringify } from "../../kit/exact-json.ts";
import type { JsonText } from "../../kit/json-text.ts";
import type { TeamScope } from "../../domain/team.ts";
import { registerAssetChange } from "../../store/asset-changes.ts";
import type { ApiAccess } from "../../store/asset-teams.ts";
import { teamNames } from "../../store/teams.ts";
import { EVENT_SORTABLE, findAsset, findAssetEvent, listAssetEvents } from "../../store/query-assets.ts";
import { inTransaction } from "../../store/transaction.ts";
import { toAssetEventResponse } from "../asset-response.ts";
import { audited } from "../audit.ts";
import { bodyText } from "../body.ts";
import { teamsOf, type ApiContext, type TypedApp } from "../context.ts";
import { notFound } from "../errors.ts";
import {
  instantRangeOf,
  instantRangeQuery,
  orderByQuery,
  orderOf,
  pageOf,
  pageQuery,
  patternQuery,
  patternsOf,
} from "../query.ts";
import { sendRaw } from "../raw-json.ts";
import { JsonObject, nullable, strictObject } from "../schema.ts";
import { exactField } from "./param-validation.ts";

const listQuery = Type.Object({
  ...pageQuery,
  ...orderByQuery,
  asset_id: Type.Optional(Type.Integer()),
  source_dag_id: Type.Optional(Type.String()),
  source_task_id: Type.Optional(Type.String()),
  source_run_id: Type.Optional(Type.String()),
  source_map_index: Type.Optional(Type.Integer()),
  ...patternQuery("name"),
  ...instantRangeQuery("timestamp"),
});

const createBody = strictObject({
  asset_id: Type.Integer(),
  partition_key: Type.Optional(nullable(Type.String({ maxLength: 250, pattern: "\\S" }))),
  extra: Type.Optional(JsonObject),
  access_control: Type.Optional(
    nullable(
      strictObject({
        consumer_teams: Type.Optional(nullable(Type.Array(Type.String()))),
        allow_global: Type.Optional(Type.Boolean()),
      }),
    ),
  ),
});

/** `/assets/events`: what happened to assets, and telling of it from outside. */
export function assetEventRoutes(app: TypedApp, context: ApiContext): void {
  const { db, bus } = context;

  app.get("/assets/events", { schema: { querystring: listQuery } }, async (request, reply) => {
    const { query } = request;
    const orders = orderOf(query.order_by, {
      allowed: Object.keys(EVENT_SORTABLE),
      primaryKey: "id",
      fallback: ["timestamp"],
    });
    const filter = {
      assetId: query.asset_id,
      sourceDagId: query.source_dag_id,
      sourceTaskId: query.source_task_id,
      sourceRunId: query.source_run_id,
      sourceMapIndex: query.source_map_index,
      name: patternsOf(query, "name"),
      timestamp: instantRangeOf(query, "timestamp"),
      teams: teamsOf(request),
    };
    const { rows, total } = await listAssetEvents(db, filter, { orders, page: pageOf(query) });
    return sendRaw(reply, { asset_events: rows.map(toAssetEventResponse), total_entries: total });
  });

  app.post(
    "/assets/events",
    { schema: { body: createBody }, config: { role: "OP" }, preValidation: audited(db, "create_asset_event") },
    async (request, reply) => {
      const { body } = request;
      const asset = await findAsset(db, body.asset_id);
      const missing = notFound(`Asset with ID: \`${body.asset_id}\` was not found`);
      if (!asset) throw missing;
      const change = {
        asset,
        extra: extraOf(bodyText(request)),
        aliases: [],
        partitionKey: body.partition_key ?? null,
        partitionDate: null,
        source: null,
        ...(context.multiTeam ? { api: await accessOf(teamsOf(request), body.access_control ?? {}) } : {}),
      };
      const { multiTeam } = context;
      const changes = { now: context.kit.clock.now(), graph: (id: string) => context.graph(id), multiTeam };
      const registered = await inTransaction(db, (trx) => registerAssetChange(trx, change, changes));
      if (!registered) throw missing;
      if (registered.dagIds.length > 0) bus.publish({ kind: "assets-updated", dagIds: registered.dagIds });
      const row = await findAssetEvent(db, registered.eventId);
      if (!row) throw missing;
      return sendRaw(reply, { ...toAssetEventResponse(row), created_dagruns: [] });
    },
  );

  /** Who tells of an update, and whom they tell: an admin is of every team. */
  async function accessOf(
    scope: TeamScope,
    { consumer_teams = null, allow_global = true }: { consumer_teams?: string[] | null; allow_global?: boolean },
  ): Promise<ApiAccess> {
    return { teams: scope ?? (await teamNames(db)), consumerTeams: consumer_teams, allowGlobal: allow_global };
  }
}

/** Marked as Airflow marks it. */
function extraOf(text: string): JsonText {
  const extra = exactField(text, "extra");
  const given = extra instanceof ExactObject ? extra.entries : new Map();
  return exactStringify(new ExactObject(new Map([...given, ["from_rest_api", true]]))) as JsonText;
}
