import { Type } from "typebox";
import { DAG_RUN_STATES, type DagRunState } from "../../domain/states.ts";
import {
  addFavorite,
  DAG_ORDER,
  deleteDag,
  findDagRow,
  isFavorite,
  listDags,
  listDagTags,
  removeFavorite,
  setAllPaused,
  setPaused,
  type DagFilter,
  type DagRow,
} from "../../store/query-dags.ts";
import { countRunningRuns } from "../../store/query-dag-runs.ts";
import { findDagVersion, findSerializedDag } from "../../store/query-dag-versions.ts";
import { audited } from "../audit.ts";
import { teamsOf, userOf, type ApiContext, type TypedApp } from "../context.ts";
import { ApiError, badRequest, conflict, notFound, uniqueConflict } from "../errors.ts";
import {
  instantRangeOf,
  instantRangeQuery,
  orderByQuery,
  orderOf,
  pageOf,
  pageQuery,
  patternQuery,
  patternsOf,
  updateMaskQuery,
} from "../query.ts";
import { enumOf, strictObject } from "../schema.ts";
import { toDagDetailsResponse, toDagResponse } from "./dag-response.ts";
import { requireDag } from "./dag-lookup.ts";

const dagParams = Type.Object({ dag_id: Type.String() });
const patchBody = strictObject({ is_paused: Type.Boolean() });

const narrowing = {
  tags: Type.Array(Type.String(), { default: [] }),
  tags_match_mode: Type.Optional(Type.Union([Type.Literal("any"), Type.Literal("all")])),
  owners: Type.Array(Type.String(), { default: [] }),
  ...patternQuery("dag_id"),
  exclude_stale: Type.Boolean({ default: true }),
  paused: Type.Optional(Type.Boolean()),
};

const listQuery = Type.Object({
  ...pageQuery,
  ...orderByQuery,
  ...narrowing,
  ...patternQuery("dag_display_name"),
  has_import_errors: Type.Optional(Type.Boolean()),
  last_dag_run_state: Type.Optional(enumOf(DAG_RUN_STATES)),
  bundle_name: Type.Optional(Type.String()),
  bundle_version: Type.Optional(Type.String()),
  has_asset_schedule: Type.Optional(Type.Boolean()),
  asset_dependency: Type.Optional(Type.String()),
  ...instantRangeQuery("dag_run_start_date"),
  ...instantRangeQuery("dag_run_end_date"),
  dag_run_state: Type.Array(Type.String(), { default: [] }),
  is_favorite: Type.Optional(Type.Boolean()),
  timetable_type: Type.Optional(Type.Array(Type.String())),
});
const bulkPatchQuery = Type.Object({ ...pageQuery, ...narrowing, ...updateMaskQuery });

/** `/dags` and `/dagTags`. */
export function dagRoutes(app: TypedApp, context: ApiContext): void {
  const { db, bus } = context;
  const viewer = { role: "VIEWER" as const };

  app.get("/dags", { schema: { querystring: listQuery } }, async (request) => {
    const { query } = request;
    const filter: DagFilter = {
      ...narrowingOf(query),
      dagDisplayName: patternsOf(query, "dag_display_name"),
      hasImportErrors: query.has_import_errors,
      bundleName: query.bundle_name,
      bundleVersion: query.bundle_version,
      timetableTypes: query.timetable_type,
      hasAssetSchedule: query.has_asset_schedule,
      assetDependency: query.asset_dependency,
      favorite: query.is_favorite === undefined ? undefined : { userId: userOf(request).name, is: query.is_favorite },
      lastRunState: query.last_dag_run_state,
      lastRunStates: runStatesOf(query.dag_run_state),
      lastRunStartDate: instantRangeOf(query, "dag_run_start_date"),
      lastRunEndDate: instantRangeOf(query, "dag_run_end_date"),
      teams: teamsOf(request),
    };
    const orders = orderOf(query.order_by, { allowed: Object.keys(DAG_ORDER), primaryKey: "dag_id" });
    const { rows, total } = await listDags(db, filter, { orders, page: pageOf(query) });
    return { dags: rows.map(toDagResponse), total_entries: total };
  });

  app.patch(
    "/dags",
    {
      schema: { querystring: bulkPatchQuery, body: patchBody },
      config: { role: "USER" },
      preValidation: audited(db, "patch_dags"),
    },
    async (request) => {
      const { query, body } = request;
      refuseOtherMasks(query.update_mask);
      const filter = { ...narrowingOf(query), teams: teamsOf(request) };
      // Without a pattern nothing is meant: nobody pauses everything by accident.
      const { substring, prefix } = filter.dagId ?? {};
      if (substring === undefined && prefix === undefined) return { dags: [], total_entries: 0 };
      const orders = orderOf(undefined, { allowed: [], primaryKey: "dag_id" });
      const { rows, total } = await listDags(db, filter, { orders, page: pageOf(query) });
      for (const dagId of await setAllPaused(db, filter, body.is_paused)) bus.publish({ kind: "dag", dagId });
      return {
        dags: rows.map((row) => toDagResponse({ ...row, is_paused: body.is_paused })),
        total_entries: total,
      };
    },
  );

  app.get("/dags/:dag_id", { schema: { params: dagParams } }, async (request) => {
    await requireDag(context, request.params.dag_id);
    return toDagResponse(await requireRow(request.params.dag_id));
  });

  app.get("/dags/:dag_id/details", { schema: { params: dagParams } }, async (request) => {
    const dagId = request.params.dag_id;
    const graph = await context.graph(await requireDag(context, dagId));
    const [row, version, favorite, activeRunsCount, latestVersion] = await Promise.all([
      requireRow(dagId),
      findSerializedDag(db, dagId),
      isFavorite(db, userOf(request).name, dagId),
      countRunningRuns(db, dagId),
      findDagVersion(db, dagId),
    ]);
    if (!version) throw notFound(`The Dag with ID: \`${dagId}\` was not found`);
    return toDagDetailsResponse({
      row,
      graph,
      serialized: version.serialized,
      isFavorite: favorite,
      activeRunsCount,
      latestVersion,
    });
  });

  app.patch(
    "/dags/:dag_id",
    {
      schema: { params: dagParams, querystring: Type.Object(updateMaskQuery), body: patchBody },
      config: { role: "USER" },
      preValidation: audited(db, "patch_dag"),
    },
    async (request) => {
      const dagId = request.params.dag_id;
      const row = await findDagRow(db, dagId);
      if (!row) throw notFound(`Dag with id: ${dagId} was not found`);
      refuseOtherMasks(request.query.update_mask);
      if (row.is_paused !== request.body.is_paused) {
        await setPaused(db, dagId, request.body.is_paused);
        bus.publish({ kind: "dag", dagId });
      }
      return toDagResponse({ ...row, is_paused: request.body.is_paused });
    },
  );

  app.delete(
    "/dags/:dag_id",
    { schema: { params: dagParams }, config: { role: "USER" }, preValidation: audited(db, "delete_dag") },
    async (request, reply) => {
      const dagId = request.params.dag_id;
      const deletion = await deleteDag(db, dagId);
      if (deletion.kind === "no_dag") throw notFound(`Dag with id: ${dagId} was not found`);
      if (deletion.kind === "running") throw conflict(`Task instances of dag with id: '${dagId}' are still running`);
      for (const dagRunId of deletion.liveRunIds) bus.publish({ kind: "dag-run", dagRunId });
      bus.publish({ kind: "dag", dagId });
      // As in Airflow, a DAG whose file is still there comes back with the next parse.
      context.reparse(deletion.relativeFileloc);
      return reply.code(204).send();
    },
  );

  app.post(
    "/dags/:dag_id/favorite",
    { schema: { params: dagParams }, config: viewer, preValidation: audited(db, "favorite_dag") },
    async (request, reply) => {
      const dagId = request.params.dag_id;
      if (!(await findDagRow(db, dagId))) throw notFound(`Dag with id '${dagId}' not found`);
      if (!(await addFavorite(db, userOf(request).name, dagId))) {
        throw uniqueConflict("This Dag is a favourite of this user already");
      }
      return reply.code(204).send();
    },
  );

  app.post(
    "/dags/:dag_id/unfavorite",
    { schema: { params: dagParams }, config: viewer, preValidation: audited(db, "unfavorite_dag") },
    async (request, reply) => {
      const dagId = request.params.dag_id;
      if (!(await findDagRow(db, dagId))) throw notFound(`Dag with id '${dagId}' not found`);
      if (!(await removeFavorite(db, userOf(request).name, dagId))) throw conflict("Dag is not marked as favorite");
      return reply.code(204).send();
    },
  );

  const tagQuery = Type.Object({ ...pageQuery, ...orderByQuery, ...patternQuery("tag_name") });
  app.get("/dagTags", { schema: { querystring: tagQuery } }, async (request) => {
    const { query } = request;
    const orders = orderOf(query.order_by, { allowed: ["name"], primaryKey: "name" });
    const filter = { name: patternsOf(query, "tag_name"), teams: teamsOf(request) };
    const { rows, total } = await listDagTags(db, filter, { orders, page: pageOf(query) });
    return { tags: rows.map((row) => row.name), total_entries: total };
  });

  async function requireRow(dagId: string): Promise<DagRow> {
    const row = await findDagRow(db, dagId);
    if (!row) throw notFound(`Unable to obtain dag with id ${dagId} from session`);
    return row;
  }
}

interface Narrowing {
  tags: string[];
  tags_match_mode?: "any" | "all";
  owners: string[];
  dag_id_pattern?: string;
  dag_id_prefix_pattern?: string;
  exclude_stale: boolean;
  paused?: boolean;
}

function narrowingOf(query: Narrowing): DagFilter {
  return {
    dagId: patternsOf(query, "dag_id"),
    tags: query.tags,
    tagsMatchAll: query.tags_match_mode === "all",
    owners: query.owners,
    excludeStale: query.exclude_stale,
    paused: query.paused,
  };
}

function refuseOtherMasks(mask: readonly string[] | undefined): void {
  if (mask && mask.length > 0 && mask.join() !== "is_paused") {
    throw badRequest("Only `is_paused` field can be updated through the REST API");
  }
}

/** States as query strings; "none" stands for no run. */
export function runStatesOf(states: readonly string[]): (DagRunState | null)[] {
  return states.map((state) => {
    if (state === "none") return null;
    if ((DAG_RUN_STATES as readonly string[]).includes(state)) return state as DagRunState;
    throw new ApiError(422, `Invalid value for state. Valid values are ${DAG_RUN_STATES.join(", ")}`);
  });
}
