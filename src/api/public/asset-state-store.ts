import { Type } from "typebox";
import { formatInstant } from "../../kit/instant.ts";
import {
  deleteAssetState,
  findAssetState,
  listAssetState,
  putAssetState,
  type AssetStateRow,
} from "../../store/asset-state-store.ts";
import { assetExists } from "../../store/query-assets.ts";
import type { ApiContext, TypedApp } from "../context.ts";
import { notFound } from "../errors.ts";
import { pageOf, pageQuery } from "../query.ts";
import { RawText, sendRaw } from "../raw-json.ts";
import { strictObject } from "../schema.ts";
import { storedValue } from "./task-states.ts";

const STORE = "/assets/:asset_id/state-store";
const assetParams = Type.Object({ asset_id: Type.Integer() });
const keyParams = Type.Object({ asset_id: Type.Integer(), "*": Type.String() });
const setBody = strictObject({ value: Type.Unknown() });

/** What tasks and watchers keep for an asset between runs. Keys may hold slashes. */
export function assetStateStoreRoutes(app: TypedApp, context: ApiContext): void {
  const { db } = context;
  const op = { role: "OP" as const };

  app.get(
    STORE,
    { schema: { params: assetParams, querystring: Type.Object(pageQuery) } },
    async ({ params, query }, reply) => {
      await requireAsset(params);
      const { rows, total } = await listAssetState(db, params.asset_id, pageOf(query));
      return sendRaw(reply, { asset_state_store: rows.map(toEntry), total_entries: total });
    },
  );

  app.get(`${STORE}/*`, { schema: { params: keyParams } }, async ({ params }, reply) => {
    await requireAsset(params);
    const row = await findAssetState(db, params.asset_id, params["*"]);
    if (!row) throw notFound(`Asset state store key '${params["*"]}' not found`);
    return sendRaw(reply, toEntry(row));
  });

  app.put(`${STORE}/*`, { schema: { params: keyParams, body: setBody }, config: op }, async (request, reply) => {
    const { params } = request;
    await requireAsset(params);
    const state = { assetId: params.asset_id, key: params["*"], value: storedValue(request) };
    await putAssetState(db, { ...state, now: context.kit.clock.now(), by: { kind: "api" } });
    return reply.code(204).send();
  });

  app.delete(`${STORE}/*`, { schema: { params: keyParams }, config: op }, async ({ params }, reply) => {
    await requireAsset(params);
    await deleteAssetState(db, params.asset_id, params["*"]);
    return reply.code(204).send();
  });

  app.delete(STORE, { schema: { params: assetParams }, config: op }, async ({ params }, reply) => {
    await requireAsset(params);
    await deleteAssetState(db, params.asset_id, null);
    return reply.code(204).send();
  });

  async function requireAsset({ asset_id }: { asset_id: number }): Promise<void> {
    if (!(await assetExists(db, asset_id))) throw notFound(`Asset with id ${asset_id} not found`);
  }
}

function toEntry(row: AssetStateRow) {
  const by = {
    kind: row.last_updated_by_kind,
    dag_id: row.last_updated_by_dag_id,
    run_id: row.last_updated_by_run_id,
    task_id: row.last_updated_by_task_id,
    map_index: row.last_updated_by_map_index,
  };
  return {
    key: row.key,
    value: new RawText(row.value),
    updated_at: formatInstant(row.updated_at),
    last_updated_by: by.kind === null ? null : by,
  };
}
