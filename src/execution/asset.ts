import type { Reply } from "../domain/task-execution.ts";
import { errorResponse, refusalReply, refuse } from "./answer.ts";
import type { MessageHandler } from "./context.ts";

// Assets are not kept yet: no name is known, nothing happened to any, and no inlet or outlet is inactive.

const notFound: MessageHandler = (_x, _callerId, message): Reply => {
  const name = message.optionalText("name");
  return { body: errorResponse("ASSET_NOT_FOUND", name === null ? { uri: message.optionalText("uri") } : { name }) };
};

const storeNotFound: MessageHandler = (_x, _callerId, message): Reply => ({
  body: errorResponse("ASSET_STORE_NOT_FOUND", { key: message.text("key") }),
});

const storeRefused: MessageHandler = (_x, _callerId, message): Reply => {
  const asset = message.optionalText("name") ?? message.optionalText("uri");
  return refusalReply(
    refuse(404, "not_found", `Asset '${asset}' not found: this version of Leoflow keeps no asset state`),
  );
};

const noEvents = (): Reply => ({ body: { type: "AssetEventsResult", asset_events: [] } });

export const assetMessages = {
  GetAssetByName: notFound,
  GetAssetByUri: notFound,
  GetAssetsByAlias: () => ({ body: { type: "AssetsByAliasResult", assets: [] } }),
  GetAssetEventByAsset: noEvents,
  GetAssetEventByAssetAlias: noEvents,
  ValidateInletsAndOutlets: () => ({ body: { type: "InactiveAssetsResult", inactive_assets: [] } }),
  GetAssetStateStoreByName: storeNotFound,
  GetAssetStateStoreByUri: storeNotFound,
  SetAssetStateStoreByName: storeRefused,
  SetAssetStateStoreByUri: storeRefused,
  DeleteAssetStateStoreByName: storeRefused,
  DeleteAssetStateStoreByUri: storeRefused,
  ClearAssetStateStoreByName: storeRefused,
  ClearAssetStateStoreByUri: storeRefused,
} satisfies Record<string, MessageHandler>;
