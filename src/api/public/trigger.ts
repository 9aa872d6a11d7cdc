import type { FastifyRequest } from "fastify";
import { Type, type Static } from "typebox";
import type { Instant } from "../../kit/instant.ts";
import { toJsonText, type JsonValue } from "../../kit/json-text.ts";
import { allowsRunType } from "../../domain/allows-run-type.ts";
import type { DagGraph } from "../../domain/dag-graph.ts";
import { MappingError } from "../../domain/partition/mapping-error.ts";
import { dateOfPartitionKey, isPartitioned } from "../../domain/partition/partition-key.ts";
import { DAG_RUN_TYPES, type DagRunType } from "../../domain/states.ts";
import { runTypeOfId, type DataInterval } from "../../domain/timetable/timetable.ts";
import { createDagRun } from "../../store/dag-run-creation.ts";
import { findDagRow } from "../../store/query-dags.ts";
import { findDagRunSummary } from "../../store/query-dag-runs.ts";
import { audited } from "../audit.ts";
import { bodyText } from "../body.ts";
import { userOf, type ApiContext, type TypedApp } from "../context.ts";
import { badRequest, notFound, uniqueConflict } from "../errors.ts";
import { sendRaw } from "../raw-json.ts";
import { InstantText, JsonObject, nullable, strictObject, toAwareInstant, toInstant, valueError } from "../schema.ts";
import { toDagRunResponse } from "../serialize.ts";
import { requireDag } from "./dag-lookup.ts";
import { checkParams, fieldText } from "./param-validation.ts";
import { planManualRun, type DagVersionOfRun } from "./timetable-runs.ts";

const optionalInstant = Type.Optional(nullable(InstantText));
/** What a run that a user makes is made with, but for the logical date. */
export const triggerFields = {
  dag_run_id: Type.Optional(nullable(Type.String())),
  data_interval_start: optionalInstant,
  data_interval_end: optionalInstant,
  run_after: optionalInstant,
  conf: Type.Optional(nullable(JsonObject)),
  note: Type.Optional(nullable(Type.String())),
  partition_key: Type.Optional(nullable(Type.String())),
};
const triggerBody = strictObject({ ...triggerFields, logical_date: nullable(InstantText) });
export type TriggerBody = Partial<Static<typeof triggerBody>>;

/** `POST /dags/{dag_id}/dagRuns`. */
export function triggerRoutes(app: TypedApp, context: ApiContext): void {
  const { db } = context;

  app.post(
    "/dags/:dag_id/dagRuns",
    {
      schema: { params: Type.Object({ dag_id: Type.String() }), body: triggerBody },
      config: { role: "USER" },
      preValidation: audited(db, "trigger_dag_run"),
    },
    async (request, reply) => {
      const dagId = request.params.dag_id;
      const { body } = request;
      const dates = datesOf(body);
      await refuseUntriggerable(dagId);
      const versionId = await requireDag(context, dagId);
      const version = { versionId, graph: await context.graph(versionId) };
      const run = await planRun(context, version, body, { dates, runType: "manual" });
      checkReserved(run.runId);
      const triggeredBy = request.headers.referer ? "ui" : "rest_api";
      return sendRaw(reply, await makeRun(context, request, version, { ...run, runType: "manual", triggeredBy }));
    },
  );

  async function refuseUntriggerable(dagId: string): Promise<void> {
    const dag = await findDagRow(db, dagId);
    if (!dag || dag.is_stale) throw notFound(`Dag with dag_id: '${dagId}' not found`);
    if (dag.has_import_errors) {
      throw badRequest(`Dag with dag_id: '${dagId}' has import errors and cannot be triggered`);
    }
    if (!allowsRunType(dag.allowed_run_types, "manual")) {
      throw badRequest(`Dag with dag_id: '${dagId}' does not allow manual runs`);
    }
  }
}

/** Makes a run as planned, with the conf and the note of the request, and answers it as it was made: a moment later it runs. */
export async function makeRun(
  { db, bus }: ApiContext,
  request: FastifyRequest,
  { graph }: DagVersionOfRun,
  run: Awaited<ReturnType<typeof planRun>> & { runType: DagRunType; triggeredBy: string },
) {
  const { dagId } = graph;
  const body = request.body as TriggerBody;
  checkRunId(run.runId);
  checkParams(graph.params, (body.conf ?? null) as Record<string, JsonValue> | null);
  const userName = userOf(request).name;
  const made = await createDagRun(db, {
    dagId,
    ...run,
    // No conf is an empty one.
    conf: body.conf ? fieldText(bodyText(request), "conf", body.conf) : toJsonText({}),
    triggeringUserName: userName,
    note: body.note || null,
    noteUserId: userName,
  });
  if (made.kind === "no_dag") throw notFound(`The Dag with ID: \`${dagId}\` was not found`);
  if (made.kind === "exists") throw uniqueConflict("The Dag has a run with this run id or logical date already");
  const row = await findDagRunSummary(db, dagId, run.runId);
  bus.publish({ kind: "dag-run", dagRunId: made.id });
  if (!row) throw notFound(`The DagRun \`${run.runId}\` was deleted at once`);
  return toDagRunResponse(row);
}

/** What Airflow's `TriggerDAGRunPostBody.validate_context` works out. */
export async function planRun(
  context: ApiContext,
  version: DagVersionOfRun,
  body: TriggerBody,
  { dates, runType }: { dates: Dates; runType: DagRunType },
) {
  const { graph } = version;
  const partitionKey = body.partition_key ?? null;
  const partitionDate = partitionKey === null ? null : partitionDateOf(graph, partitionKey);
  const { logicalDate } = dates;
  const runAfter = dates.runAfter ?? context.kit.clock.now();
  const { runId, interval } = await planManualRun(context, version, {
    runId: body.dag_run_id || null,
    logicalDate,
    dataInterval: logicalDate === null ? null : dates.interval,
    runAfter,
    partitionKey,
    runType,
  });
  return {
    runId,
    logicalDate,
    dataIntervalStart: interval?.start ?? null,
    dataIntervalEnd: interval?.end ?? null,
    runAfter,
    partitionKey,
    partitionDate,
  };
}

function partitionDateOf(graph: DagGraph, key: string): Instant | null {
  if (!isPartitioned(graph.timetable)) {
    throw badRequest(`Dag '${graph.dagId}' is not a partitioned Dag and does not accept a partition_key.`);
  }
  try {
    return dateOfPartitionKey(graph.timetable, key);
  } catch (error) {
    if (error instanceof MappingError) throw badRequest(error.message);
    throw error;
  }
}

interface Dates {
  logicalDate: Instant | null;
  runAfter: Instant | null;
  interval: DataInterval | null;
}

export function datesOf(body: TriggerBody): Dates {
  const { data_interval_start: start, data_interval_end: end, logical_date: logical, run_after: runAfter } = body;
  const aware = (text: string, name: string) => toAwareInstant(text, ["body", name]);
  if ((typeof start === "string") !== (typeof end === "string")) {
    throw valueError(
      ["body"],
      "Either both data_interval_start and data_interval_end must be provided or both must be None",
      body,
    );
  }
  return {
    logicalDate: typeof logical === "string" ? aware(logical, "logical_date") : null,
    runAfter: typeof runAfter === "string" ? toInstant(runAfter, ["body", "run_after"]) : null,
    interval:
      typeof start === "string" && typeof end === "string"
        ? { start: aware(start, "data_interval_start"), end: aware(end, "data_interval_end") }
        : null,
  };
}

const GENERATED_RUN_ID = /^(?:manual|scheduled|asset_triggered)__(?:\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\+00:00)$/;
const ALLOWED_RUN_ID = /^[A-Za-z0-9_.~:+-]+$/;

function checkRunId(runId: string): void {
  if (runId.includes("..")) throw badRequest(`The run_id '${runId}' must not contain '..' to prevent path traversal`);
  if (!GENERATED_RUN_ID.test(runId) && !ALLOWED_RUN_ID.test(runId)) {
    throw badRequest(
      `The run_id provided '${runId}' does not match regex pattern '${ALLOWED_RUN_ID.source}' or '${GENERATED_RUN_ID.source}'`,
    );
  }
}

function checkReserved(runId: string): void {
  const type = runTypeOfId(runId, DAG_RUN_TYPES);
  if (type !== "manual") {
    throw badRequest(`A manual DAG run cannot use ID '${runId}' since it is reserved for ${type} runs`);
  }
}
