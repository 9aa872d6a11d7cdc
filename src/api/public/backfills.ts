import { Type, type Static } from "typebox";
import { formatInstant, pythonIsoFormat, type Instant } from "../../kit/instant.ts";
import { fromJsonText, type JsonValue } from "../../kit/json-text.ts";
import { allowsRunType } from "../../domain/allows-run-type.ts";
import { backfillProblem, backfillRuns, REPROCESS_BEHAVIORS } from "../../domain/backfill.ts";
import { objectOf } from "../../domain/serialized-value.ts";
import { createBackfill, wantedRuns, type BackfillRun } from "../../store/backfill-creation.ts";
import {
  BACKFILL_ORDER,
  cancelBackfill,
  findBackfill,
  listBackfills,
  setBackfillPaused,
  type BackfillFilter,
  type BackfillRow,
} from "../../store/backfills.ts";
import { currentVersionId, findSerializedDag } from "../../store/query-dag-versions.ts";
import { findDagRow } from "../../store/query-dags.ts";
import { audited } from "../audit.ts";
import { bodyText } from "../body.ts";
import { teamsOf, userOf, type ApiContext, type TypedApp } from "../context.ts";
import { ApiError, badRequest, conflict, notFound } from "../errors.ts";
import { orderByQuery, orderOf, pageOf, pageQuery } from "../query.ts";
import { RawText, sendRaw } from "../raw-json.ts";
import { enumOf, InstantText, JsonObject, nullable, strictObject, toInstant } from "../schema.ts";
import { instantOrNull } from "../serialize.ts";
import { checkParams, fieldText } from "./param-validation.ts";
import { runsOfBackfill } from "./timetable-runs.ts";

const postBody = strictObject({
  dag_id: Type.String(),
  from_date: InstantText,
  to_date: InstantText,
  run_backwards: Type.Boolean({ default: false }),
  dag_run_conf: Type.Optional(nullable(JsonObject)),
  reprocess_behavior: Type.Unsafe<(typeof REPROCESS_BEHAVIORS)[number]>({
    ...enumOf(REPROCESS_BEHAVIORS),
    default: "none",
  }),
  max_active_runs: Type.Integer({ default: 10 }),
  run_on_latest_version: Type.Optional(nullable(Type.Boolean())),
});
type PostBody = Static<typeof postBody>;

const listQuery = Type.Object({ ...pageQuery, ...orderByQuery, dag_id: Type.String() });
const uiListQuery = Type.Object({
  ...pageQuery,
  ...orderByQuery,
  dag_id: Type.Optional(Type.String()),
  active: Type.Optional(Type.Boolean()),
});
const params = Type.Object({ backfill_id: Type.Integer({ minimum: 0 }) });
const user = { role: "USER" as const };

/** `/backfills`: runs of a DAG's past. */
export function backfillRoutes(app: TypedApp, context: ApiContext): void {
  const { db, bus, kit } = context;

  app.get("/backfills", { schema: { querystring: listQuery } }, async ({ query }, reply) =>
    sendRaw(reply, await page(context, { dagId: query.dag_id }, query)),
  );

  app.get("/backfills/:backfill_id", { schema: { params } }, async (request, reply) =>
    sendRaw(reply, toResponse(await require(request.params.backfill_id))),
  );

  for (const isPaused of [true, false]) {
    const verb = isPaused ? "pause" : "unpause";
    app.put(
      `/backfills/:backfill_id/${verb}`,
      { schema: { params }, config: user, preValidation: audited(db, `${verb}_backfill`) },
      async (request, reply) => {
        const id = request.params.backfill_id;
        await require(id);
        if (!(await setBackfillPaused(db, id, isPaused, kit.clock.now()))) throw alreadyCompleted();
        bus.publish({ kind: "backfill", backfillId: id });
        return sendRaw(reply, toResponse(await require(id)));
      },
    );
  }

  app.put(
    "/backfills/:backfill_id/cancel",
    { schema: { params }, config: user, preValidation: audited(db, "cancel_backfill") },
    async (request, reply) => {
      const id = request.params.backfill_id;
      await require(id);
      const failed = await cancelBackfill(db, id, kit.clock.now());
      if (failed === null) throw alreadyCompleted();
      bus.publish({ kind: "backfill", backfillId: id });
      for (const dagRunId of failed) bus.publish({ kind: "dag-run", dagRunId });
      return sendRaw(reply, toResponse(await require(id)));
    },
  );

  app.post(
    "/backfills",
    { schema: { body: postBody }, config: user, preValidation: audited(db, "create_backfill") },
    async (request, reply) => {
      const { body } = request;
      const { from, to, runs } = await plan(body, { refuseSecond: true });
      if (runs.length === 0) {
        throw invalid(`No runs to create for Dag ${body.dag_id} in the range [${spaced(from)}, ${spaced(to)}]`);
      }
      const made = await createBackfill(context, {
        dagId: body.dag_id,
        from,
        to,
        reprocess: body.reprocess_behavior,
        maxActiveRuns: body.max_active_runs,
        conf: body.dag_run_conf ? fieldText(bodyText(request), "dag_run_conf", body.dag_run_conf) : null,
        userName: userOf(request).name,
        runOnLatestVersion: body.run_on_latest_version ?? (await rerunsOnLatest(body.dag_id)),
        runs,
      });
      if (made.kind === "no_dag") throw noDag(body.dag_id);
      if (made.kind === "active") throw alreadyRunning(body.dag_id);
      return sendRaw(reply, toResponse(await require(made.id)));
    },
  );

  app.post("/backfills/dry_run", { schema: { body: postBody }, config: user }, async ({ body }) => {
    const { runs } = await plan(body, { refuseSecond: false });
    const wanted = await wantedRuns(db, body.dag_id, runs, body.reprocess_behavior);
    return {
      backfills: wanted.map(({ logicalDate, partitionKey, partitionDate }) => ({
        logical_date: instantOrNull(logicalDate),
        partition_key: partitionKey,
        partition_date: instantOrNull(partitionDate),
      })),
      total_entries: wanted.length,
    };
  });

  /** The runs that are asked for, in the backfill's order. Refuses what Airflow refuses, in its order. */
  async function plan(
    body: PostBody,
    { refuseSecond }: { refuseSecond: boolean },
  ): Promise<{ from: Instant; to: Instant; runs: BackfillRun[] }> {
    const dagId = body.dag_id;
    const from = toInstant(body.from_date, ["body", "from_date"]);
    const to = toInstant(body.to_date, ["body", "to_date"]);
    const [dag, versionId] = await Promise.all([findDagRow(db, dagId), currentVersionId(db, dagId)]);
    if (!dag || versionId === undefined) throw noDag(dagId);
    if (!allowsRunType(dag.allowed_run_types, "backfill")) {
      throw badRequest(`Dag with dag_id: '${dagId}' does not allow backfill runs`);
    }
    if (!dag.timetable_periodic) throw invalid(`${dagId} has a non-periodic schedule that does not support backfills`);
    if (refuseSecond) {
      const orders = [{ by: "id", descending: false }];
      const active = await listBackfills(db, { dagId, active: true }, { orders, page: { limit: 1, offset: 0 } });
      if (active.rows.length > 0) throw alreadyRunning(dagId);
    }
    const graph = await context.graph(versionId);
    const now = kit.clock.now();
    const asked = { from, to, reverse: body.run_backwards, reprocess: body.reprocess_behavior };
    const problem = backfillProblem(graph, asked, now);
    if (problem !== null) throw invalid(problem);
    checkConf(graph.params, body.dag_run_conf ?? null);
    const runs = await runsOfBackfill(context, { versionId, graph }, from, to);
    if (!runs) throw invalid("These are more runs than a backfill may have; ask for a shorter time");
    return { from, to, runs: backfillRuns(runs, body.run_backwards, now) };
  }

  async function require(id: number): Promise<BackfillRow> {
    const row = await findBackfill(db, id);
    if (!row) throw notFound("Backfill not found");
    return row;
  }

  /** The DAG's own `rerun_with_latest_version`; a backfill's default is true. */
  async function rerunsOnLatest(dagId: string): Promise<boolean> {
    const version = await findSerializedDag(db, dagId);
    const dag = version ? objectOf(fromJsonText<Record<string, JsonValue>>(version.serialized).dag) : {};
    return dag.rerun_with_latest_version !== false;
  }
}

/** `/ui/backfills`: of all DAGs, for the banner. */
export function uiBackfillRoutes(app: TypedApp, context: ApiContext): void {
  app.get("/backfills", { schema: { querystring: uiListQuery } }, async (request, reply) => {
    const { query } = request;
    const filter = { dagId: query.dag_id, active: query.active, teams: teamsOf(request) };
    return sendRaw(reply, await page(context, filter, query));
  });
}

async function page(
  { db }: ApiContext,
  filter: BackfillFilter,
  query: { limit: number; offset: number; order_by?: string[] },
) {
  const orders = orderOf(query.order_by, { allowed: Object.keys(BACKFILL_ORDER), primaryKey: "id" });
  const { rows, total } = await listBackfills(db, filter, { orders, page: pageOf(query) });
  return { backfills: rows.map(toResponse), total_entries: total };
}

function toResponse(row: BackfillRow) {
  return {
    id: row.id,
    dag_id: row.dag_id,
    from_date: formatInstant(row.from_date),
    to_date: formatInstant(row.to_date),
    dag_run_conf: row.dag_run_conf === null ? null : new RawText(row.dag_run_conf),
    is_paused: row.is_paused,
    reprocess_behavior: row.reprocess_behavior,
    max_active_runs: row.max_active_runs,
    created_at: formatInstant(row.created_at),
    completed_at: instantOrNull(row.completed_at),
    updated_at: formatInstant(row.updated_at),
    dag_display_name: row.dag_display_name,
  };
}

function checkConf(declared: Parameters<typeof checkParams>[0], conf: Record<string, unknown> | null): void {
  if (conf === null) return;
  try {
    checkParams(declared, conf as Record<string, JsonValue>);
  } catch (error) {
    throw error instanceof ApiError ? new ApiError(422, error.detail) : error;
  }
}

/** As Python prints a datetime. */
function spaced(at: Instant): string {
  return pythonIsoFormat(at).replace("T", " ");
}

const noDag = (dagId: string) => notFound(`Could not find dag ${dagId}`);
const invalid = (message: string) => new ApiError(422, message);
const alreadyCompleted = () => conflict("Backfill is already completed.");
const alreadyRunning = (dagId: string) => conflict(`There is already a running backfill for dag ${dagId}`);
