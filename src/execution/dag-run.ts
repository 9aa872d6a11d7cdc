import type { Instant } from "../kit/instant.ts";
import { fromJsonText, type JsonText, type JsonValue } from "../kit/json-text.ts";
import { allowsRunType } from "../domain/allows-run-type.ts";
import { paramProblem } from "../domain/param-problem.ts";
import { MappingError } from "../domain/partition/mapping-error.ts";
import { dateOfPartitionKey, isPartitioned } from "../domain/partition/partition-key.ts";
import { DAG_RUN_STATES, type DagRunState } from "../domain/states.ts";
import { RawJson } from "../domain/task-execution.ts";
import { clearTaskInstances } from "../store/clear.ts";
import {
  countDagRuns,
  findDag,
  findDagRun,
  findPreviousDagRun,
  findPreviousSuccessfulDagRun,
  triggeringUserOf,
  type DagRunFilter,
  type ExecutionDagRow,
  type ExecutionDagRunRow,
} from "../store/execution-dag-run.ts";
import { errorResponse, OK_RESPONSE, ok, refusalReply, refuse, replyTo, type Answer, type Refused } from "./answer.ts";
import type { ExecutionContext, MessageHandler } from "./context.ts";
import { MessageFieldError } from "./message-fields.ts";

/** The Execution API's `DagRun`. */
export function dagRunFields(row: ExecutionDagRunRow): Record<string, unknown> {
  return {
    dag_id: row.dag_id,
    run_id: row.run_id,
    logical_date: row.logical_date,
    data_interval_start: row.data_interval_start,
    data_interval_end: row.data_interval_end,
    run_after: row.run_after,
    start_date: row.start_date,
    end_date: row.end_date,
    clear_number: row.clear_number,
    run_type: row.run_type,
    state: row.state,
    conf: row.conf === null ? null : new RawJson(row.conf),
    triggering_user_name: row.triggering_user_name,
    consumed_asset_events: row.consumed_asset_events === null ? [] : new RawJson(row.consumed_asset_events),
    partition_key: row.partition_key,
    partition_date: row.partition_date,
    note: row.note,
    team_name: null,
  };
}

/** `GET /dag-runs/{dag_id}/{run_id}`. */
export async function getDagRun(
  x: ExecutionContext,
  dagId: string,
  runId: string,
): Promise<Answer<Record<string, unknown>>> {
  const row = await findDagRun(x.deps.database.db, dagId, runId);
  if (!row) return refuse(404, "not_found", `Dag run with dag_id '${dagId}' and run_id '${runId}' was not found`);
  return ok(dagRunFields(row));
}

/** `GET /dag-runs/previous`. */
export async function getPreviousDagRun(
  x: ExecutionContext,
  dagId: string,
  logicalDate: Instant,
  state: DagRunState | null,
): Promise<Record<string, unknown> | null> {
  const row = await findPreviousDagRun(x.deps.database.db, dagId, logicalDate, state);
  return row && dagRunFields(row);
}

/** `GET /dag-runs/count`. */
export async function getDagRunCount(x: ExecutionContext, filter: DagRunFilter): Promise<number> {
  return await countDagRuns(x.deps.database.db, filter);
}

/** `GET /task-instances/{id}/previous-successful-dagrun`. */
export async function getPreviousSuccessfulDagRun(
  x: ExecutionContext,
  taskInstanceId: string,
): Promise<Record<string, unknown>> {
  return (await findPreviousSuccessfulDagRun(x.deps.database.db, taskInstanceId)) ?? {};
}

/** `GET /dags/{dag_id}`. */
export async function getDag(x: ExecutionContext, dagId: string): Promise<Answer<Record<string, unknown>>> {
  const dag = await findDag(x.deps.database.db, dagId);
  if (!dag) return refuse(404, "not_found", `The Dag with dag_id: \`${dagId}\` was not found`);
  return ok({
    dag_id: dag.dag_id,
    is_paused: dag.is_paused,
    bundle_name: dag.bundle_name,
    bundle_version: dag.bundle_version,
    relative_fileloc: dag.relative_fileloc,
    owners: dag.owners,
    tags: dag.tags,
    next_dagrun: dag.next_dagrun,
  });
}

async function problemOfConf(x: ExecutionContext, versionId: string, conf: JsonText | null): Promise<string | null> {
  const { params } = await x.deps.graph(versionId);
  return paramProblem(params, conf === null ? null : fromJsonText<Record<string, JsonValue> | null>(conf));
}

export interface Trigger {
  dagId: string;
  runId: string;
  logicalDate: Instant | null;
  runAfter: Instant | null;
  conf: JsonText | null;
  note: string | null;
  partitionKey: string | null;
}

/** `POST /dag-runs/{dag_id}/{run_id}`: a run made by a task. 409 when there is one. */
export async function triggerDagRun(
  x: ExecutionContext,
  callerId: string | null,
  trigger: Trigger,
): Promise<Answer<null>> {
  const { db } = x.deps.database;
  const { dagId, runId, logicalDate } = trigger;
  const dag = await triggerableDag(x, dagId);
  if (dag.kind === "refused") return dag;
  const { allowed_run_types, current_version_id } = dag.value;
  if (!allowsRunType(allowed_run_types, "operator_triggered")) {
    return refuse(400, "denied_run_type", `Dag with dag_id '${dagId}' does not allow operator-triggered runs`);
  }
  const partition = await partitionOf(x, dagId, current_version_id, trigger.partitionKey);
  if (partition.kind === "refused") return partition;
  const problem = current_version_id === null ? null : await problemOfConf(x, current_version_id, trigger.conf);
  if (problem !== null) {
    return (await findDagRun(db, dagId, runId)) ? existing(dagId, runId) : refuse(400, "value_error", problem);
  }
  const runAfter = trigger.runAfter ?? x.kit.clock.now();
  const interval =
    logicalDate === null || current_version_id === null
      ? null
      : await x.deps.manualDataInterval(current_version_id, runAfter);
  const creation = await x.deps.createDagRun(db, {
    dagId,
    runId,
    runType: "operator_triggered",
    logicalDate,
    dataIntervalStart: interval?.start ?? null,
    dataIntervalEnd: interval?.end ?? null,
    runAfter,
    conf: trigger.conf ?? ("{}" as JsonText),
    triggeredBy: "operator",
    // A chain of triggered runs keeps the name of who began it.
    triggeringUserName: callerId === null ? null : await triggeringUserOf(db, callerId),
    note: trigger.note,
    ...partition.value,
  });
  switch (creation.kind) {
    case "created":
      x.deps.bus.publish({ kind: "dag-run", dagRunId: creation.id });
      return ok(null);
    case "exists":
      return existing(dagId, runId);
    case "no_dag":
      return noDag(dagId);
  }
}

async function partitionOf(
  x: ExecutionContext,
  dagId: string,
  versionId: string | null,
  key: string | null,
): Promise<Answer<{ partitionKey: string | null; partitionDate: Instant | null }>> {
  if (key === null) return ok({ partitionKey: null, partitionDate: null });
  const timetable = versionId === null ? null : (await x.deps.graph(versionId)).timetable;
  if (timetable === null || !isPartitioned(timetable)) {
    const why = `Dag '${dagId}' is not a partitioned Dag and does not accept a partition_key.`;
    return refuse(400, "not_partitioned", why);
  }
  try {
    return ok({ partitionKey: key, partitionDate: dateOfPartitionKey(timetable, key) });
  } catch (error) {
    if (error instanceof MappingError) return refuse(400, "invalid_partition_key", error.message);
    throw error;
  }
}

/** `POST /dag-runs/{dag_id}/{run_id}/clear`. */
export async function clearDagRun(x: ExecutionContext, dagId: string, runId: string): Promise<Answer<null>> {
  const dag = await triggerableDag(x, dagId);
  if (dag.kind === "refused") return dag;
  const { db } = x.deps.database;
  if (!(await findDagRun(db, dagId, runId))) {
    return refuse(404, "not_found", `Dag run with run_id: '${runId}' not found`);
  }
  await clearTaskInstances({ db, bus: x.deps.bus, kit: x.kit, graph: x.deps.graph }, { dagId, runIds: [runId] });
  return ok(null);
}

async function triggerableDag(x: ExecutionContext, dagId: string): Promise<Answer<ExecutionDagRow>> {
  const dag = await findDag(x.deps.database.db, dagId);
  if (!dag || dag.is_stale) return noDag(dagId);
  if (dag.has_import_errors) {
    return refuse(400, "import_errors", `Dag with dag_id '${dagId}' has import errors and cannot be triggered`);
  }
  return ok(dag);
}

function existing(dagId: string, runId: string): Refused {
  return refuse(409, "already_exists", `A run already exists for Dag '${dagId}' with run_id '${runId}'`);
}

function noDag(dagId: string): Refused {
  return refuse(404, "not_found", `Dag with dag_id: '${dagId}' not found`);
}

function runState(text: string | null): DagRunState | null {
  if (text === null || (DAG_RUN_STATES as readonly string[]).includes(text)) return text as DagRunState | null;
  throw new MessageFieldError(`${text} is no state of a Dag run`);
}

export const dagRunMessages = {
  GetDagRun: async (x, _callerId, message) =>
    replyTo(await getDagRun(x, message.text("dag_id"), message.text("run_id")), (run) => ({
      type: "DagRunResult",
      ...run,
    })),
  GetDagRunState: async (x, _callerId, message) =>
    replyTo(await getDagRun(x, message.text("dag_id"), message.text("run_id")), ({ state }) => ({
      type: "DagRunStateResult",
      state,
    })),
  GetPreviousDagRun: async (x, _callerId, message) => {
    const state = runState(message.optionalText("state"));
    const run = await getPreviousDagRun(x, message.text("dag_id"), message.instant("logical_date"), state);
    return { body: { type: "PreviousDagRunResult", dag_run: run } };
  },
  GetDRCount: async (x, _callerId, message) => {
    const count = await getDagRunCount(x, {
      dagId: message.text("dag_id"),
      logicalDates: message.optionalInstants("logical_dates"),
      runIds: message.optionalTexts("run_ids"),
      states: message.optionalTexts("states"),
    });
    return { body: { type: "DRCount", count } };
  },
  GetPrevSuccessfulDagRun: async (x, callerId, message) => {
    const run = await getPreviousSuccessfulDagRun(x, callerId ?? message.text("ti_id"));
    return { body: { type: "PrevSuccessfulDagRunResult", ...run } };
  },
  GetDag: async (x, _callerId, message) =>
    replyTo(await getDag(x, message.text("dag_id")), (dag) => ({ type: "DagResult", ...dag })),
  TriggerDagRun: async (x, callerId, message) => {
    const dagId = message.text("dag_id");
    const runId = message.text("run_id");
    const answer = await triggerDagRun(x, callerId, {
      dagId,
      runId,
      logicalDate: message.optionalInstant("logical_date"),
      runAfter: message.optionalInstant("run_after"),
      conf: message.optionalJson("conf"),
      note: message.optionalText("note"),
      partitionKey: message.optionalText("partition_key"),
    });
    if (answer.kind === "ok") return OK_RESPONSE;
    if (answer.status !== 409) return refusalReply(answer);
    if (!message.flag("reset_dag_run")) return { body: errorResponse("DAGRUN_ALREADY_EXISTS", null) };
    const cleared = await clearDagRun(x, dagId, runId);
    return cleared.kind === "ok" ? OK_RESPONSE : refusalReply(cleared);
  },
} satisfies Record<string, MessageHandler>;
