import { Type } from "typebox";
import type { ApiContext, TypedApp } from "../context.ts";
import { ApiError, notFound } from "../errors.ts";
import { pageQuery } from "../query.ts";
import { enumOf, InstantText, JsonObject, nullable, strictObject } from "../schema.ts";
import { currentVersionId } from "../../store/query-dag-versions.ts";

const postBody = strictObject({
  dag_id: Type.String(),
  from_date: InstantText,
  to_date: InstantText,
  run_backwards: Type.Boolean({ default: false }),
  dag_run_conf: Type.Optional(nullable(JsonObject)),
  reprocess_behavior: Type.Unsafe<string>({ ...enumOf(["failed", "completed", "none"]), default: "none" }),
  max_active_runs: Type.Integer({ default: 10 }),
  run_on_latest_version: Type.Optional(nullable(Type.Boolean())),
});

/** Backfills are not part of this version: there are none, and asking for one says so. */
export function backfillRoutes(app: TypedApp, context: ApiContext): void {
  const query = Type.Object({ ...pageQuery, dag_id: Type.String() });
  app.get("/backfills", { schema: { querystring: query } }, () => ({ backfills: [], total_entries: 0 }));

  const params = Type.Object({ backfill_id: Type.Integer() });
  app.get("/backfills/:backfill_id", { schema: { params } }, () => {
    throw notFound("Backfill not found");
  });
  for (const verb of ["pause", "unpause", "cancel"]) {
    app.put(`/backfills/:backfill_id/${verb}`, { schema: { params }, config: { role: "USER" } }, () => {
      throw notFound("Backfill not found");
    });
  }
  for (const path of ["/backfills", "/backfills/dry_run"]) {
    app.post(path, { schema: { body: postBody }, config: { role: "USER" } }, async ({ body }) => {
      if ((await currentVersionId(context.db, body.dag_id)) === undefined) {
        throw notFound(`Could not find dag ${body.dag_id}`);
      }
      throw new ApiError(501, "Backfills are not available in this version of Leoflow");
    });
  }
}
