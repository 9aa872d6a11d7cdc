import { RawJson, type Reply } from "../domain/task-execution.ts";
import {
  assetEvents,
  assetsOfAlias,
  findActiveAsset,
  inactivePorts,
  type AssetEventFilter,
  type AssetRef,
  type ExecutionAsset,
  type ExecutionAssetEvent,
} from "../store/execution-assets.ts";
import { deleteAssetState, findAssetState, putAssetState } from "../store/asset-state-store.ts";
import { errorResponse, OK_RESPONSE, refusalReply, refuse } from "./answer.ts";
import type { ExecutionContext, MessageHandler } from "./context.ts";
import type { MessageFields } from "./message-fields.ts";

// What tasks and watchers ask about assets: `/assets`, `/asset-events` and `/store/asset` of the Execution API.

function assetFields({ name, uri, group, extra }: ExecutionAsset): Record<string, unknown> {
  return { name, uri, group, extra: new RawJson(extra) };
}

function refOf(message: MessageFields): AssetRef {
  const name = message.optionalText("name");
  return name === null ? { uri: message.text("uri") } : { name };
}

const getAsset: MessageHandler = async (x, _callerId, message): Promise<Reply> => {
  const ref = refOf(message);
  const asset = await findActiveAsset(x.deps.database.db, ref);
  return { body: asset ? { type: "AssetResult", ...assetFields(asset) } : errorResponse("ASSET_NOT_FOUND", ref) };
};

const getByAlias: MessageHandler = async (x, _callerId, message): Promise<Reply> => {
  const assets = await assetsOfAlias(x.deps.database.db, message.text("alias_name"));
  return {
    body: {
      type: "AssetsByAliasResult",
      assets: assets.map((asset) => ({ type: "AssetResult", ...assetFields(asset) })),
    },
  };
};

function filterOf(message: MessageFields): AssetEventFilter {
  return {
    after: message.optionalInstant("after"),
    before: message.optionalInstant("before"),
    // Absent means true.
    ascending: message.plain("ascending") !== false,
    limit: message.optionalInteger("limit"),
  };
}

function eventsResult(events: readonly ExecutionAssetEvent[]): Reply {
  const asset_events = events.map(({ asset, asset_extra, extra, ...event }) => ({
    ...event,
    extra: new RawJson(extra),
    asset: { ...asset, extra: new RawJson(asset_extra) },
  }));
  return { body: { type: "AssetEventsResult", asset_events } };
}

const eventsOfAsset: MessageHandler = async (x, _callerId, message): Promise<Reply> => {
  const of = { name: message.optionalText("name"), uri: message.optionalText("uri") };
  if (!of.name && !of.uri) return refusalReply(refuse(400, "Missing parameter", "name and uri cannot both be None"));
  return eventsResult(await assetEvents(x.deps.database.db, of, filterOf(message)));
};

const eventsOfAlias: MessageHandler = async (x, _callerId, message): Promise<Reply> => {
  const of = { alias: message.text("alias_name") };
  return eventsResult(await assetEvents(x.deps.database.db, of, filterOf(message)));
};

const validatePorts: MessageHandler = async (x, callerId): Promise<Reply> => {
  const inactive = callerId === null ? undefined : await inactivePorts(x.deps.database.db, callerId);
  if (!inactive) return refusalReply(refuse(404, "not_found", "Task Instance not found"));
  return {
    body: { type: "InactiveAssetsResult", inactive_assets: inactive.map((asset) => ({ ...asset, type: "Asset" })) },
  };
};

/** Does something with the state of the asset that a message names. */
function ofAsset(
  work: (x: ExecutionContext, assetId: number, message: MessageFields, callerId: string | null) => Promise<Reply>,
): MessageHandler {
  return async (x, callerId, message) => {
    const ref = refOf(message);
    const asset = await findActiveAsset(x.deps.database.db, ref);
    if (asset) return await work(x, asset.id, message, callerId);
    const named = ref.uri == null ? `name='${ref.name}'` : `uri='${ref.uri}'`;
    if (message.type.startsWith("Get")) {
      return { body: errorResponse("ASSET_STORE_NOT_FOUND", { key: message.text("key") }) };
    }
    return refusalReply(refuse(404, "not_found", `Asset with ${named} not found`));
  };
}

const getState = ofAsset(async (x, assetId, message) => {
  const key = message.text("key");
  const row = await findAssetState(x.deps.database.db, assetId, key);
  if (!row) return { body: errorResponse("ASSET_STORE_NOT_FOUND", { key }) };
  return { body: { type: "AssetStateStoreResult", value: new RawJson(row.value) } };
});

const setState = ofAsset(async (x, assetId, message, callerId) => {
  const value = message.json("value");
  if (value === "null") return refusalReply(refuse(422, "invalid_value", "value cannot be null"));
  const by = callerId === null ? ({ kind: "watcher" } as const) : ({ kind: "task", taskInstanceId: callerId } as const);
  const state = { assetId, key: message.text("key"), value, by, now: x.kit.clock.now() };
  if (await putAssetState(x.deps.database.db, state)) return OK_RESPONSE;
  return refusalReply(refuse(404, "not_found", `Task instance '${callerId}' not found`));
});

const deleteState = ofAsset(async (x, assetId, message) => {
  await deleteAssetState(x.deps.database.db, assetId, message.text("key"));
  return OK_RESPONSE;
});

const clearState = ofAsset(async (x, assetId) => {
  await deleteAssetState(x.deps.database.db, assetId, null);
  return OK_RESPONSE;
});

export const assetMessages = {
  GetAssetByName: getAsset,
  GetAssetByUri: getAsset,
  GetAssetsByAlias: getByAlias,
  GetAssetEventByAsset: eventsOfAsset,
  GetAssetEventByAssetAlias: eventsOfAlias,
  ValidateInletsAndOutlets: validatePorts,
  GetAssetStateStoreByName: getState,
  GetAssetStateStoreByUri: getState,
  SetAssetStateStoreByName: setState,
  SetAssetStateStoreByUri: setState,
  DeleteAssetStateStoreByName: deleteState,
  DeleteAssetStateStoreByUri: deleteState,
  ClearAssetStateStoreByName: clearState,
  ClearAssetStateStoreByUri: clearState,
} satisfies Record<string, MessageHandler>;
