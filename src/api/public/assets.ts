import { Type } from "typebox";
import {
  ALIAS_SORTABLE,
  ASSET_SORTABLE,
  findAsset,
  findAssetAlias,
  listAssetAliases,
  listAssets,
} from "../../store/query-assets.ts";
import { toAssetResponse } from "../asset-response.ts";
import type { ApiContext, TypedApp } from "../context.ts";
import { notFound } from "../errors.ts";
import { orderByQuery, orderOf, pageOf, pageQuery, patternQuery, patternsOf } from "../query.ts";
import { sendRaw } from "../raw-json.ts";
import { assetEventRoutes } from "./asset-events.ts";
import { assetMaterializeRoutes } from "./asset-materialize.ts";
import { assetQueuedEventRoutes } from "./asset-queued-events.ts";
import { assetStateStoreRoutes } from "./asset-state-store.ts";

const listQuery = Type.Object({
  ...pageQuery,
  ...orderByQuery,
  ...patternQuery("name"),
  ...patternQuery("uri"),
  dag_ids: Type.Optional(Type.Array(Type.String())),
  only_active: Type.Boolean({ default: true }),
});
const aliasQuery = Type.Object({ ...pageQuery, ...orderByQuery, ...patternQuery("name") });

/** `/assets`, their aliases, and what belongs to one. */
export function assetRoutes(app: TypedApp, context: ApiContext): void {
  const { db } = context;
  assetEventRoutes(app, context);
  assetMaterializeRoutes(app, context);
  assetQueuedEventRoutes(app, context);
  assetStateStoreRoutes(app, context);

  app.get("/assets", { schema: { querystring: listQuery } }, async ({ query }, reply) => {
    const orders = orderOf(query.order_by, { allowed: Object.keys(ASSET_SORTABLE), primaryKey: "id" });
    const filter = {
      name: patternsOf(query, "name"),
      uri: patternsOf(query, "uri"),
      // One value may be a list with commas.
      dagIds: query.dag_ids?.length === 1 ? query.dag_ids[0]?.split(",") : query.dag_ids,
      onlyActive: query.only_active,
    };
    const { rows, total } = await listAssets(db, filter, { orders, page: pageOf(query) });
    return sendRaw(reply, { assets: rows.map(toAssetResponse), total_entries: total });
  });

  const assetParams = Type.Object({ asset_id: Type.Integer() });
  app.get("/assets/:asset_id", { schema: { params: assetParams } }, async ({ params }, reply) => {
    const row = await findAsset(db, params.asset_id);
    if (!row) throw notFound(`The Asset with ID: \`${params.asset_id}\` was not found`);
    return sendRaw(reply, toAssetResponse(row));
  });

  app.get("/assets/aliases", { schema: { querystring: aliasQuery } }, async ({ query }) => {
    const orders = orderOf(query.order_by, { allowed: Object.keys(ALIAS_SORTABLE), primaryKey: "id" });
    const { rows, total } = await listAssetAliases(db, patternsOf(query, "name"), { orders, page: pageOf(query) });
    return { asset_aliases: rows, total_entries: total };
  });

  const aliasParams = Type.Object({ asset_alias_id: Type.Integer() });
  app.get("/assets/aliases/:asset_alias_id", { schema: { params: aliasParams } }, async ({ params }) => {
    const row = await findAssetAlias(db, params.asset_alias_id);
    if (!row) throw notFound(`The Asset Alias with ID: \`${params.asset_alias_id}\` was not found`);
    return row;
  });
}
