import { Type } from "typebox";
import type { ApiContext, TypedApp } from "../context.ts";
import { notFound } from "../errors.ts";
import { pageQuery } from "../query.ts";
import { InstantText, nullable, JsonObject, strictObject } from "../schema.ts";
import { requireDag } from "./dag-lookup.ts";

/**
 * Assets, their events and their state. Asset scheduling is not part of this version: no asset is registered, so collections
 * are empty and every single one is "not found", in Airflow's words.
 */
export function assetRoutes(app: TypedApp, context: ApiContext): void {
  const page = { schema: { querystring: Type.Object(pageQuery) } };
  const assetParams = Type.Object({ asset_id: Type.Integer() });
  const queuedQuery = Type.Object({ before: Type.Optional(InstantText) });

  app.get("/assets", page, () => ({ assets: [], total_entries: 0 }));
  app.get("/assets/aliases", page, () => ({ asset_aliases: [], total_entries: 0 }));
  app.get("/assets/events", page, () => ({ asset_events: [], total_entries: 0 }));

  app.get("/assets/:asset_id", { schema: { params: assetParams } }, ({ params }) => {
    throw notFound(`The Asset with ID: \`${params.asset_id}\` was not found`);
  });

  const aliasParams = Type.Object({ asset_alias_id: Type.Integer() });
  app.get("/assets/aliases/:asset_alias_id", { schema: { params: aliasParams } }, ({ params }) => {
    throw notFound(`The Asset Alias with ID: \`${params.asset_alias_id}\` was not found`);
  });

  const eventBody = strictObject({
    asset_id: Type.Integer(),
    partition_key: Type.Optional(nullable(Type.String({ maxLength: 250, pattern: "\\S" }))),
    extra: Type.Optional(JsonObject),
    access_control: Type.Optional(Type.Unknown()),
  });
  app.post("/assets/events", { schema: { body: eventBody }, config: { role: "OP" } }, ({ body }) => {
    throw notFound(`Asset with ID: \`${body.asset_id}\` was not found`);
  });

  app.post(
    "/assets/:asset_id/materialize",
    { schema: { params: assetParams }, config: { role: "OP" } },
    ({ params }) => {
      throw notFound(`No Dag materializes asset with ID: ${params.asset_id}`);
    },
  );

  const queued = { schema: { params: assetParams, querystring: queuedQuery } };
  app.get("/assets/:asset_id/queuedEvents", queued, () => ({ queued_events: [], total_entries: 0 }));
  app.delete("/assets/:asset_id/queuedEvents", { ...queued, config: { role: "OP" } }, ({ params }) => {
    throw notFound(`Queue event with asset_id: \`${params.asset_id}\` was not found`);
  });

  const ofDag = { schema: { params: Type.Object({ dag_id: Type.String() }), querystring: queuedQuery } };
  app.get("/dags/:dag_id/assets/queuedEvents", ofDag, async ({ params }) => {
    await requireDag(context, params.dag_id);
    return { queued_events: [], total_entries: 0 };
  });
  app.delete("/dags/:dag_id/assets/queuedEvents", { ...ofDag, config: { role: "OP" } }, ({ params }) => {
    throw notFound(`Queue event with dag_id: \`${params.dag_id}\` was not found`);
  });

  const ofBoth = {
    schema: { params: Type.Object({ dag_id: Type.String(), asset_id: Type.Integer() }), querystring: queuedQuery },
  };
  const noneOfBoth = (params: { dag_id: string; asset_id: number }) =>
    notFound(`Queued event with dag_id: \`${params.dag_id}\` and asset_id: \`${params.asset_id}\` was not found`);
  app.get("/dags/:dag_id/assets/:asset_id/queuedEvents", ofBoth, ({ params }) => {
    throw noneOfBoth(params);
  });
  app.delete("/dags/:dag_id/assets/:asset_id/queuedEvents", { ...ofBoth, config: { role: "OP" } }, ({ params }) => {
    throw noneOfBoth(params);
  });

  const noAsset = (params: { asset_id: number }) => notFound(`Asset with id ${params.asset_id} not found`);
  const stateParams = { schema: { params: assetParams } };
  const keyParams = { schema: { params: Type.Object({ asset_id: Type.Integer(), "*": Type.String() }) } };
  app.get("/assets/:asset_id/state-store", stateParams, ({ params }) => {
    throw noAsset(params);
  });
  app.delete("/assets/:asset_id/state-store", { ...stateParams, config: { role: "OP" } }, ({ params }) => {
    throw noAsset(params);
  });
  app.get("/assets/:asset_id/state-store/*", keyParams, ({ params }) => {
    throw noAsset(params);
  });
  app.put("/assets/:asset_id/state-store/*", { ...keyParams, config: { role: "OP" } }, ({ params }) => {
    throw noAsset(params);
  });
  app.delete("/assets/:asset_id/state-store/*", { ...keyParams, config: { role: "OP" } }, ({ params }) => {
    throw noAsset(params);
  });
}
