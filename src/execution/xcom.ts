import type { JsonText } from "../kit/json-text.ts";
import { RawJson } from "../domain/task-execution.ts";
import {
  countXComs,
  deleteXCom as deleteStoredXCom,
  findXCom,
  findXComOfPriorDates,
  listXComs,
  storeXCom,
  type XComKey,
  type XComSeries,
} from "../store/execution-xcom.ts";
import { findLiveTry } from "../store/execution-task-instance.ts";
import { EMPTY, errorResponse, ok, refuse, replyTo, type Answer, type Refused } from "./answer.ts";
import type { ExecutionContext, MessageHandler } from "./context.ts";
import type { MessageFields } from "./message-fields.ts";
import { sliceBounds } from "./sequence-slice.ts";
import { withinTeams } from "./team-rule.ts";

export interface NewXCom extends XComKey {
  /** The try that pushes; null when none stands behind it. */
  callerId: string | null;
  value: JsonText;
  dagResult: boolean;
  /** How many mapped tasks the value expands into. */
  mappedLength: number | null;
}

/** `POST /xcoms/{dag_id}/{run_id}/{task_id}/{key}`. */
export async function setXCom(x: ExecutionContext, xcom: NewXCom): Promise<Answer<null>> {
  if (xcom.key === "") return refuse(400, "invalid_key", "XCom key must be a non-empty string.");
  if (xcom.mappedLength !== null && xcom.mappedLength > x.config.maxMapLength) {
    return refuse(
      400,
      "unmappable_return_value_length",
      `pushed value is too large to map as a downstream's dependency: ${xcom.mappedLength} items, at most ${x.config.maxMapLength}`,
    );
  }
  if ((await storeXCom(x.deps.database.pool, xcom)) === "no_run") {
    return refuse(404, "not_found", `DAG run not found on DAG '${xcom.dagId}' with ID '${xcom.runId}'`);
  }
  return ok(null);
}

/** `GET /xcoms/{dag_id}/{run_id}/{task_id}/{key}`; undefined where Airflow answers 404. */
export async function getXCom(
  x: ExecutionContext,
  xcom: XComKey,
  includePriorDates: boolean,
): Promise<JsonText | undefined> {
  const { db, pool } = x.deps.database;
  return includePriorDates ? await findXComOfPriorDates(db, xcom) : await findXCom(pool, xcom);
}

/** `HEAD /xcoms/…`: how many map indexes have a value. */
export async function getXComCount(x: ExecutionContext, series: XComSeries): Promise<number> {
  return await countXComs(x.deps.database.db, series);
}

/** `GET /xcoms/…/item/{offset}`; a negative offset counts from the end. undefined where Airflow answers 404. */
export async function getXComItem(
  x: ExecutionContext,
  series: XComSeries,
  offset: number,
  includePriorDates = false,
): Promise<JsonText | undefined> {
  const range = { descending: offset < 0, offset: offset < 0 ? -1 - offset : offset, limit: 1, includePriorDates };
  return (await listXComs(x.deps.database.db, series, range))[0];
}

export interface XComSlice {
  start: number | null;
  stop: number | null;
  step: number | null;
  includePriorDates: boolean;
}

/** `GET /xcoms/…/slice`: Python's `values[start:stop:step]`. */
export async function getXComSlice(x: ExecutionContext, series: XComSeries, slice: XComSlice): Promise<JsonText[]> {
  const { includePriorDates } = slice;
  const total = await countXComs(x.deps.database.db, series, includePriorDates);
  const { offset, limit, step } = sliceBounds(slice, total);
  if (limit === 0) return [];
  const descending = step < 0;
  const range = { descending, offset: descending ? total - offset - limit : offset, limit, includePriorDates };
  const values = await listXComs(x.deps.database.db, series, range);
  const stride = Math.abs(step);
  return stride === 1 ? values : values.filter((_, index) => index % stride === 0);
}

/**
 * Over HTTP, where tokens leak, a task writes XComs of its own run only; Airflow leaves that open. null: it may. What a try
 * that is no more writes goes nowhere anyway.
 */
export async function foreignRunRefusal(
  x: ExecutionContext,
  callerId: string,
  run: { dagId: string; runId: string },
): Promise<Refused | null> {
  const live = await findLiveTry(x.deps.database.pool, callerId);
  if (!live || (live.dag_id === run.dagId && live.run_id === run.runId)) return null;
  return refuse(
    403,
    "access_denied",
    `Task may write XComs of its own run only, not of '${run.runId}' of '${run.dagId}'`,
  );
}

/** `DELETE /xcoms/…`. */
export async function deleteXCom(x: ExecutionContext, callerId: string | null, xcom: XComKey): Promise<void> {
  await deleteStoredXCom(x.deps.database.db, callerId, xcom);
}

function seriesOf(message: MessageFields): XComSeries {
  return {
    dagId: message.text("dag_id"),
    runId: message.text("run_id"),
    taskId: message.text("task_id"),
    key: message.text("key"),
  };
}

function keyOf(message: MessageFields): XComKey {
  return { ...seriesOf(message), mapIndex: Math.max(-1, message.optionalInteger("map_index") ?? -1) };
}

export const xcomMessages = withinTeams({
  SetXCom: async (x, callerId, message) => {
    const length = message.optionalInteger("mapped_length");
    return replyTo(
      await setXCom(x, {
        ...keyOf(message),
        callerId,
        value: message.json("value"),
        dagResult: message.flag("dag_result"),
        mappedLength: length !== null && length >= 0 ? length : null,
      }),
    );
  },
  GetXCom: async (x, _callerId, message) => {
    const xcom = keyOf(message);
    const value = await getXCom(x, xcom, message.flag("include_prior_dates"));
    // xcom_pull() of nothing is None.
    return { body: { type: "XComResult", key: xcom.key, value: value === undefined ? null : new RawJson(value) } };
  },
  GetXComCount: async (x, _callerId, message) => ({
    body: { type: "XComCountResponse", len: await getXComCount(x, seriesOf(message)) },
  }),
  GetXComSequenceItem: async (x, _callerId, message) => {
    const series = seriesOf(message);
    const offset = message.integer("offset");
    const value = await getXComItem(x, series, offset);
    if (value !== undefined) return { body: { type: "XComSequenceIndexResult", root: new RawJson(value) } };
    const { dagId: dag_id, runId: run_id, taskId: task_id, key } = series;
    return { body: errorResponse("XCOM_NOT_FOUND", { dag_id, run_id, task_id, key, offset }) };
  },
  GetXComSequenceSlice: async (x, _callerId, message) => {
    const values = await getXComSlice(x, seriesOf(message), {
      start: message.optionalInteger("start"),
      stop: message.optionalInteger("stop"),
      step: message.optionalInteger("step"),
      includePriorDates: message.flag("include_prior_dates"),
    });
    return { body: { type: "XComSequenceSliceResult", root: values.map((value) => new RawJson(value)) } };
  },
  DeleteXCom: async (x, callerId, message) => {
    await deleteXCom(x, callerId, keyOf(message));
    return EMPTY;
  },
} satisfies Record<string, MessageHandler>);
