import { Type, type Static } from "typebox";
import { addMicros, type Instant } from "../../kit/instant.ts";
import { hasPartitionDates, partitionBound } from "../../domain/partition/partition-key.ts";
import { DAG_RUN_STATES, DAG_RUN_TYPES, type DagRunType } from "../../domain/states.ts";
import type { Range } from "../../store/filters.ts";
import {
  COUNT_LIMIT,
  DAG_RUN_ORDER,
  deleteDagRun,
  findDagRunSummary,
  listDagRuns,
  listDagRunsByCursor,
  setDagRunNote,
  type DagRunFilter,
  type DagRunSummary,
} from "../../store/query-dag-runs.ts";
import { markDagRun } from "../../store/mark.ts";
import { eventsOfRun } from "../../store/query-assets.ts";
import { toAssetEventResponse } from "../asset-response.ts";
import { audited } from "../audit.ts";
import { teamsOf, userOf, type ApiContext, type TypedApp } from "../context.ts";
import { decodeCursor, encodeBackwardCursor, encodeCursor } from "../cursor.ts";
import { ApiError, badRequest, conflict } from "../errors.ts";
import {
  instantRangeOf,
  instantRangeQuery,
  masked,
  numberRangeOf,
  numberRangeQuery,
  orderByQuery,
  orderOf,
  pageOf,
  pageQuery,
  patternQuery,
  patternsOf,
  updateMaskQuery,
} from "../query.ts";
import { sendRaw } from "../raw-json.ts";
import { DayText, enumOf, nullable, strictObject, toInstant } from "../schema.ts";
import { toDagRunResponse } from "../serialize.ts";
import { dagRunNotFound, requireDag } from "./dag-lookup.ts";
import { runStatesOf } from "./dags.ts";

/** States a client may set; also those in which a run may be deleted. */
export const MUTABLE_STATES = ["queued", "success", "failed"] as const;
export type MutableState = (typeof MUTABLE_STATES)[number];

export const noteField = Type.Optional(nullable(Type.String({ maxLength: 1000 })));
export const stateField = Type.Optional(nullable(enumOf(MUTABLE_STATES)));

const dagParams = Type.Object({ dag_id: Type.String() });
const runParams = Type.Object({ dag_id: Type.String(), dag_run_id: Type.String() });

const listQuery = Type.Object({
  ...pageQuery,
  ...orderByQuery,
  ...instantRangeQuery("run_after"),
  ...instantRangeQuery("logical_date"),
  ...instantRangeQuery("start_date"),
  ...instantRangeQuery("end_date"),
  ...instantRangeQuery("updated_at"),
  ...numberRangeQuery("duration"),
  conf_contains: Type.Optional(Type.String()),
  run_type: Type.Array(Type.String(), { default: [] }),
  state: Type.Array(Type.String(), { default: [] }),
  dag_version: Type.Array(Type.Integer(), { default: [] }),
  bundle_version: Type.Optional(Type.String()),
  ...patternQuery("run_id"),
  ...patternQuery("triggering_user_name"),
  ...patternQuery("dag_id"),
  ...patternQuery("partition_key"),
  consuming_asset_pattern: Type.Optional(Type.String()),
  partition_date_gte: Type.Optional(DayText),
  partition_date_lte: Type.Optional(DayText),
  cursor: Type.Optional(Type.String()),
});

const sortable = { allowed: Object.keys(DAG_RUN_ORDER), primaryKey: "id", aliases: { dag_run_id: "run_id" } };

const bodyRange = <N extends string>(name: N) => {
  const bound = Type.Optional(nullable(Type.String({ format: "date-time" })));
  return { [`${name}_gte`]: bound, [`${name}_gt`]: bound, [`${name}_lte`]: bound, [`${name}_lt`]: bound } as Record<
    `${N}_${"gte" | "gt" | "lte" | "lt"}`,
    typeof bound
  >;
};
const optionalNumber = Type.Optional(nullable(Type.Number()));
const batchBody = strictObject({
  order_by: Type.Optional(nullable(Type.String())),
  page_offset: Type.Integer({ minimum: 0, default: 0 }),
  page_limit: Type.Integer({ minimum: 0, default: 100 }),
  dag_ids: Type.Optional(nullable(Type.Array(Type.String()))),
  states: Type.Optional(nullable(Type.Array(nullable(enumOf(DAG_RUN_STATES))))),
  ...bodyRange("run_after"),
  ...bodyRange("logical_date"),
  ...bodyRange("start_date"),
  ...bodyRange("end_date"),
  duration_gte: optionalNumber,
  duration_gt: optionalNumber,
  duration_lte: optionalNumber,
  duration_lt: optionalNumber,
  conf_contains: Type.Optional(nullable(Type.String())),
});

/** Listing, reading, patching and deleting runs; triggering, clearing, bulk and waiting have files of their own. */
export function dagRunRoutes(app: TypedApp, context: ApiContext): void {
  const { db, bus } = context;

  app.get(
    "/dags/:dag_id/dagRuns",
    { schema: { params: dagParams, querystring: listQuery } },
    async (request, reply) => {
      const { params, query } = request;
      const partitionDate = await partitionDays(params.dag_id, query);
      const filter = { ...filterOf(params.dag_id, query), partitionDate, teams: teamsOf(request) };
      const orders = orderOf(query.order_by, sortable);
      const page = pageOf(query);
      if (query.cursor === undefined) {
        const { rows, total } = await listDagRuns(db, filter, { orders, page });
        return sendRaw(reply, collection(rows, total));
      }
      const cursor = decodeCursor(query.cursor, orders);
      const found = await listDagRunsByCursor(db, filter, { orders, limit: page.limit, cursor }).catch(badCursor);
      const hasNext = cursor?.backward ? true : found.more;
      const hasPrevious = cursor?.backward ? found.more : cursor !== null;
      return sendRaw(reply, {
        ...collection(found.rows, found.total),
        total_entries_limit: COUNT_LIMIT,
        next_cursor: hasNext && found.last ? encodeCursor(found.last) : null,
        previous_cursor: hasPrevious && found.first ? encodeBackwardCursor(found.first) : null,
      });
    },
  );

  app.post(
    "/dags/:dag_id/dagRuns/list",
    { schema: { params: Type.Object({ dag_id: Type.Literal("~") }), body: batchBody }, config: { role: "VIEWER" } },
    async (request, reply) => {
      const { body } = request;
      const filter: DagRunFilter = {
        teams: teamsOf(request),
        dagIds: body.dag_ids ?? undefined,
        states: body.states ?? undefined,
        confContains: body.conf_contains ?? undefined,
        runAfter: instantRangeOf(body, "run_after", "body"),
        logicalDate: instantRangeOf(body, "logical_date", "body"),
        startDate: instantRangeOf(body, "start_date", "body"),
        endDate: instantRangeOf(body, "end_date", "body"),
        duration: numberRangeOf(body, "duration"),
        openDates: false,
      };
      const orders = orderOf(body.order_by ? [body.order_by] : undefined, sortable);
      const page = { limit: body.page_limit, offset: body.page_offset };
      const { rows, total } = await listDagRuns(db, filter, { orders, page });
      return sendRaw(reply, collection(rows, total));
    },
  );

  app.get("/dags/:dag_id/dagRuns/:dag_run_id", { schema: { params: runParams } }, async ({ params }, reply) =>
    sendRaw(reply, toDagRunResponse(await requireRun(params.dag_id, params.dag_run_id))),
  );

  const patchBody = strictObject({ state: stateField, note: noteField });
  app.patch(
    "/dags/:dag_id/dagRuns/:dag_run_id",
    {
      schema: { params: runParams, querystring: Type.Object(updateMaskQuery), body: patchBody },
      config: { role: "USER" },
      preValidation: audited(db, "patch_dag_run"),
    },
    async (request, reply) => {
      const { dag_id: dagId, dag_run_id: runId } = request.params;
      const run = await requireRun(dagId, runId);
      const patch = masked(request.body, request.query.update_mask);
      await patchRun(context, run, patch, userOf(request).name);
      return sendRaw(reply, toDagRunResponse(await requireRun(dagId, runId)));
    },
  );

  app.delete(
    "/dags/:dag_id/dagRuns/:dag_run_id",
    { schema: { params: runParams }, config: { role: "USER" }, preValidation: audited(db, "delete_dag_run") },
    async (request, reply) => {
      const { dag_id: dagId, dag_run_id: runId } = request.params;
      const run = await requireRun(dagId, runId);
      if (run.state === "running" || !(await deleteDagRun(db, run.id))) throw conflict(cannotDelete(dagId, runId));
      bus.publish({ kind: "dag-run", dagRunId: run.id });
      return reply.code(204).send();
    },
  );

  app.get(
    "/dags/:dag_id/dagRuns/:dag_run_id/upstreamAssetEvents",
    { schema: { params: runParams } },
    async ({ params }, reply) => {
      await requireRun(params.dag_id, params.dag_run_id);
      const rows = await eventsOfRun(db, params.dag_id, params.dag_run_id);
      return sendRaw(reply, { asset_events: rows.map(toAssetEventResponse), total_entries: rows.length });
    },
  );

  async function requireRun(dagId: string, runId: string): Promise<DagRunSummary> {
    const run = await findDagRunSummary(db, dagId, runId);
    if (!run) throw dagRunNotFound(dagId, runId);
    return run;
  }

  /** Whole days on the clock of the DAG's timetable. Refuses a DAG that there is not, or that has no such days. */
  async function partitionDays(dagId: string, query: Static<typeof listQuery>): Promise<Range<Instant>> {
    const { partition_date_gte: first, partition_date_lte: last } = query;
    const byPartition = first !== undefined || last !== undefined;
    if (dagId === "~") {
      if (byPartition) throw badRequest("partition_date_gte and partition_date_lte require a specific dag_id.");
      return {};
    }
    const versionId = await requireDag(context, dagId);
    if (!byPartition) return {};
    const { timetable } = await context.graph(versionId);
    if (!hasPartitionDates(timetable)) {
      throw badRequest(
        `Dag with dag_id: '${dagId}' is not partitioned; partition_date_gte and partition_date_lte are not supported.`,
      );
    }
    const midnight = (day: string, name: string, days: number) =>
      partitionBound(timetable, addMicros(toInstant(day, ["query", name]), days * 86_400_000_000));
    return {
      ...(first === undefined ? {} : { gte: midnight(first, "partition_date_gte", 0) }),
      ...(last === undefined ? {} : { lt: midnight(last, "partition_date_lte", 1) }),
    };
  }
}

/** Applies a patch to a run: the note first, then the state. */
export async function patchRun(
  context: ApiContext,
  run: DagRunSummary,
  patch: { state?: MutableState | null; note?: string | null },
  userName: string,
): Promise<void> {
  if (patch.note !== undefined) await setDagRunNote(context.db, run.id, patch.note, userName);
  if (patch.state === undefined || patch.state === null) return;
  const versionId = run.dag_version_id ?? (await requireDag(context, run.dag_id));
  const graph = await context.graph(versionId);
  await markDagRun(context, { id: run.id, runId: run.run_id, graph }, patch.state);
}

export function cannotDelete(dagId: string, runId: string): string {
  return `The DagRun with dag_id: \`${dagId}\` and run_id: \`${runId}\` cannot be deleted in running state`;
}

export function collection(rows: readonly DagRunSummary[], total: number) {
  return {
    dag_runs: rows.map(toDagRunResponse),
    total_entries: total,
    total_entries_limit: null as number | null,
    next_cursor: null as string | null,
    previous_cursor: null as string | null,
  };
}

function filterOf(dagId: string, query: Static<typeof listQuery>): DagRunFilter {
  return {
    ...(dagId === "~" ? {} : { dagIds: [dagId] }),
    dagId: patternsOf(query, "dag_id"),
    runId: patternsOf(query, "run_id"),
    triggeringUserName: patternsOf(query, "triggering_user_name"),
    partitionKey: patternsOf(query, "partition_key"),
    states: runStatesOf(query.state),
    runTypes: runTypesOf(query.run_type),
    dagVersions: query.dag_version,
    bundleVersion: query.bundle_version,
    confContains: query.conf_contains,
    runAfter: instantRangeOf(query, "run_after"),
    logicalDate: instantRangeOf(query, "logical_date"),
    startDate: instantRangeOf(query, "start_date"),
    endDate: instantRangeOf(query, "end_date"),
    updatedAt: instantRangeOf(query, "updated_at"),
    duration: numberRangeOf(query, "duration"),
    consumingAsset: query.consuming_asset_pattern,
  };
}

function runTypesOf(types: readonly string[]): (DagRunType | null)[] {
  return types.map((type) => {
    if (type === "none") return null;
    if ((DAG_RUN_TYPES as readonly string[]).includes(type)) return type as DagRunType;
    throw new ApiError(422, `Invalid value for run type. Valid values are ${DAG_RUN_TYPES.join(", ")}`);
  });
}

/** A token with values of the wrong kind: PostgreSQL's class 22, data exceptions. */
function badCursor(error: unknown): never {
  if (error instanceof Error && "code" in error && String(error.code).startsWith("22")) {
    throw badRequest("Invalid cursor token");
  }
  throw error;
}
