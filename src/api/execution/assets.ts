import { Type } from "typebox";
import { InstantText, strictObject } from "../schema.ts";
import { asMessage, NO_CONTENT, operation, OWN_TASK, type Operation } from "./operation.ts";

const Key = Type.String({ minLength: 1 });
const noContent = { ok: () => NO_CONTENT };

const range = {
  after: Type.Optional(InstantText),
  before: Type.Optional(InstantText),
  ascending: Type.Boolean({ default: true }),
  limit: Type.Optional(Type.Integer()),
};

/** The store of an asset that is named in one of two ways. */
function assetStore(by: "name" | "uri"): Operation[] {
  const messages = by === "name" ? "AssetStateStoreByName" : "AssetStateStoreByUri";
  const path = `/store/asset/by-${by}`;
  const query = Type.Object({ [by]: Key, key: Key });
  return [
    operation(`GET ${path}/value`, asMessage(`Get${messages}`), { query }),
    operation(`PUT ${path}/value`, asMessage(`Set${messages}`, noContent), {
      query,
      body: strictObject({ value: Type.Unknown() }),
    }),
    operation(`DELETE ${path}/value`, asMessage(`Delete${messages}`, noContent), { query }),
    operation(`DELETE ${path}/clear`, asMessage(`Clear${messages}`, noContent), { query: Type.Object({ [by]: Key }) }),
  ];
}

const ofTask: NonNullable<Parameters<typeof asMessage>[1]>["fields"] = ({ path }) => ({
  ti_id: path["task_instance_id"],
});
const own = { access: OWN_TASK };

export const assetOperations: readonly Operation[] = [
  operation("GET /assets/by-name", asMessage("GetAssetByName"), { query: Type.Object({ name: Type.String() }) }),
  operation("GET /assets/by-uri", asMessage("GetAssetByUri"), { query: Type.Object({ uri: Type.String() }) }),
  operation(
    "GET /assets/by-alias",
    asMessage("GetAssetsByAlias", {
      ok: ({ assets }) => ({
        status: 200,
        body: (assets as { type: string }[]).map(({ type: _type, ...asset }) => asset),
      }),
    }),
    { query: Type.Object({ alias_name: Type.String() }) },
  ),
  operation("GET /asset-events/by-asset", asMessage("GetAssetEventByAsset"), {
    query: Type.Object({ name: Type.String(), uri: Type.String(), ...range }),
  }),
  operation(
    "GET /asset-events/by-asset-alias",
    asMessage("GetAssetEventByAssetAlias", { fields: ({ query }) => ({ alias_name: query["name"] }) }),
    { query: Type.Object({ name: Type.String(), ...range }) },
  ),
  operation("GET /store/ti/{task_instance_id}/{key:path}", asMessage("GetTaskStateStore", { fields: ofTask }), own),
  operation(
    "PUT /store/ti/{task_instance_id}/{key:path}",
    asMessage("SetTaskStateStore", { fields: ofTask, ...noContent }),
    {
      ...own,
      body: strictObject({ value: Type.Unknown(), expires_at: Type.Optional(Type.Union([InstantText, Type.Null()])) }),
    },
  ),
  operation(
    "DELETE /store/ti/{task_instance_id}/{key:path}",
    asMessage("DeleteTaskStateStore", { fields: ofTask, ...noContent }),
    own,
  ),
  operation(
    "DELETE /store/ti/{task_instance_id}",
    asMessage("ClearTaskStateStore", { fields: ofTask, ...noContent }),
    own,
  ),
  ...assetStore("name"),
  ...assetStore("uri"),
];
