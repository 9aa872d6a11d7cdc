import { Type } from "typebox";
import { responseEvent, withEvent } from "../../domain/hitl-event.ts";
import { formatInstant } from "../../kit/instant.ts";
import { fromJsonText, toJsonText, type JsonValue } from "../../kit/json-text.ts";
import {
  answerHitlDetail,
  findHitlDetail,
  HITL_SORTABLE,
  listHitlDetails,
  type HitlRow,
} from "../../store/hitl-details.ts";
import { findTries } from "../../store/task-instance-tries.ts";
import { findTaskInstance, findTaskInstancesById, type TaskInstanceRow } from "../../store/task-instances.ts";
import { audited } from "../audit.ts";
import { teamsOf, userOf, type ApiContext, type TypedApp } from "../context.ts";
import { ApiError, badRequest, conflict, notFound } from "../errors.ts";
import {
  instantRangeOf,
  instantRangeQuery,
  orderByQuery,
  orderOf,
  pageOf,
  pageQuery,
  patternQuery,
  patternsOf,
} from "../query.ts";
import { sendRaw } from "../raw-json.ts";
import { JsonObject } from "../schema.ts";
import { instantOrNull, jsonOrNull } from "../serialize.ts";
import { toTaskInstanceResponse, toTryResponse } from "./task-instance-answers.ts";
import { statesOf } from "./task-instance-filter.ts";
import { taskInstanceNotFound } from "./task-instances.ts";

const RUN = "/dags/:dag_id/dagRuns/:dag_run_id";
const DETAIL = `${RUN}/taskInstances/:task_id/:map_index/hitlDetails`;
const runParams = Type.Object({ dag_id: Type.String(), dag_run_id: Type.String() });
const params = Type.Object({ ...runParams.properties, task_id: Type.String(), map_index: Type.Integer() });
const tryParams = Type.Object({ ...params.properties, try_number: Type.Integer() });
const texts = Type.Array(Type.String(), { default: [] });
const listQuery = Type.Object({
  ...pageQuery,
  ...orderByQuery,
  ...patternQuery("dag_id"),
  ...patternQuery("task_id"),
  ...instantRangeQuery("created_at"),
  task_id: Type.Optional(Type.String()),
  map_index: Type.Optional(Type.Integer()),
  state: texts,
  response_received: Type.Optional(Type.Boolean()),
  responded_by_user_id: texts,
  responded_by_user_name: texts,
  subject_search: Type.Optional(Type.String()),
  body_search: Type.Optional(Type.String()),
});
const answerBody = Type.Object({
  chosen_options: Type.Array(Type.String(), { minItems: 1 }),
  params_input: Type.Optional(JsonObject),
});

type Place = { dag_id: string; dag_run_id: string; task_id: string; map_index: number };

/** Human in the loop: what tasks ask people, and their answers. */
export function hitlRoutes(app: TypedApp, context: ApiContext): void {
  const { db, bus } = context;

  app.get(`${RUN}/hitlDetails`, { schema: { params: runParams, querystring: listQuery } }, async (request, reply) => {
    const { params, query } = request;
    const named = (value: string): string | undefined => (value === "~" ? undefined : value);
    const { rows, total } = await listHitlDetails(
      db,
      {
        dagId: named(params.dag_id),
        runId: named(params.dag_run_id),
        taskId: query.task_id,
        mapIndex: query.map_index,
        states: statesOf(query.state),
        responded: query.response_received,
        responderIds: query.responded_by_user_id,
        responderNames: query.responded_by_user_name,
        dagIdPattern: patternsOf(query, "dag_id"),
        taskIdPattern: patternsOf(query, "task_id"),
        subject: query.subject_search === undefined ? {} : { substring: query.subject_search },
        body: query.body_search === undefined ? {} : { substring: query.body_search },
        createdAt: instantRangeOf(query, "created_at"),
        teams: teamsOf(request),
      },
      {
        orders: orderOf(query.order_by, { allowed: Object.keys(HITL_SORTABLE), primaryKey: "ti_id" }),
        page: pageOf(query),
      },
    );
    const details = await hitlDetailsOf(db, rows);
    return sendRaw(reply, { hitl_details: details.map(({ detail }) => detail), total_entries: total });
  });

  app.get(DETAIL, { schema: { params } }, async (request, reply) => {
    const { ti, detail } = await require(request.params);
    return sendRaw(reply, { ...toHitlDetail(detail), task_instance: toTaskInstanceResponse(ti) });
  });

  app.get(`${DETAIL}/tries/:try_number`, { schema: { params: tryParams } }, async (request) => {
    const place = placeOf(request.params);
    const found = (await findTries(db, place, request.params.try_number))[0];
    if (!found) throw taskInstanceNotFound(place);
    return { ...toHitlDetail(await requireDetail(found.id)), task_instance: toTryResponse(found) };
  });

  app.patch(
    DETAIL,
    {
      schema: { params, body: answerBody },
      config: { role: "USER" },
      preValidation: audited(db, "update_hitl_detail"),
    },
    async (request) => {
      const { body } = request;
      const { ti, detail } = await require(request.params);
      const { name } = userOf(request);
      const answered = () =>
        conflict(
          `Human-in-the-loop detail has already been updated for Task Instance with id ${ti.id} ` +
            "and is not allowed to write again.",
        );
      if (detail.responded_at !== null) throw answered();
      checkAnswer(detail, body.chosen_options, name);
      const now = context.kit.clock.now();
      const responder = { id: name, name };
      const payload = { ...body, params_input: body.params_input ?? {} };
      const answer = {
        respondedBy: toJsonText(responder),
        chosenOptions: toJsonText(payload.chosen_options),
        paramsInput: toJsonText(payload.params_input),
      };
      const event = responseEvent({ ...answer, respondedAt: now, timedOut: false });
      const result = await answerHitlDetail(db, ti.id, {
        ...answer,
        resumeWith: (kwargs) => withEvent(kwargs, event),
        now,
      });
      if (!result) throw answered();
      if (result.resumedRun !== null) bus.publish({ kind: "dag-run", dagRunId: result.resumedRun });
      return { responded_by: responder, responded_at: formatInstant(now), ...payload };
    },
  );

  async function require(at: Place): Promise<{ ti: TaskInstanceRow; detail: HitlRow }> {
    const place = placeOf(at);
    const ti = await findTaskInstance(db, place);
    if (!ti) throw taskInstanceNotFound(place);
    return { ti, detail: await requireDetail(ti.id) };
  }

  async function requireDetail(tiId: string): Promise<HitlRow> {
    const detail = await findHitlDetail(db, tiId);
    if (detail) return detail;
    throw notFound(`Human-in-the-loop detail does not exist for Task Instance with id ${tiId}`);
  }
}

const placeOf = (at: Place) => ({
  dagId: at.dag_id,
  runId: at.dag_run_id,
  taskId: at.task_id,
  mapIndex: at.map_index,
});

/** Refused here, an answer does not fail the task when it goes on. */
function checkAnswer(detail: HitlRow, chosen: readonly string[], user: string): void {
  const assignees = detail.assignees === null ? [] : fromJsonText<{ id: string }[]>(detail.assignees);
  if (assignees.length > 0 && !assignees.some(({ id }) => id === user)) {
    throw new ApiError(403, `User=${user} (id=${user}) is not a respondent for the task.`);
  }
  const options = fromJsonText<string[]>(detail.options);
  const invalid = [...new Set(chosen)].filter((option) => !options.includes(option));
  const list = (values: readonly string[]): string =>
    `[${[...values]
      .sort()
      .map((value) => `'${value}'`)
      .join(", ")}]`;
  if (invalid.length > 0) throw badRequest(`Invalid options ${list(invalid)}; allowed options are ${list(options)}.`);
  if (!detail.multiple && chosen.length > 1) {
    throw badRequest("Multiple options chosen but this Human-in-the-loop task accepts only a single option.");
  }
}

/** Requests as Airflow's API shows them; those whose task instance is gone are left out. */
export async function hitlDetailsOf<R extends HitlRow>(db: ApiContext["db"], rows: readonly R[]) {
  const instances = await findTaskInstancesById(
    db,
    rows.map((row) => row.ti_id),
  );
  const byId = new Map(instances.map((ti) => [ti.id, ti]));
  return rows.flatMap((row) => {
    const ti = byId.get(row.ti_id);
    return ti ? [{ row, detail: { ...toHitlDetail(row), task_instance: toTaskInstanceResponse(ti) } }] : [];
  });
}

/** A request as Airflow's API shows it, but for its task instance. */
function toHitlDetail(row: HitlRow) {
  return {
    options: fromJsonText(row.options),
    subject: row.subject,
    body: row.body,
    defaults: jsonOrNull(row.defaults),
    multiple: row.multiple,
    params: Object.fromEntries(
      Object.entries(fromJsonText<Record<string, JsonValue>>(row.params)).map(([key, value]) => [key, asParam(value)]),
    ),
    assigned_users: row.assignees === null ? [] : fromJsonText(row.assignees),
    created_at: formatInstant(row.created_at),
    responded_by_user: jsonOrNull(row.responded_by),
    responded_at: instantOrNull(row.responded_at),
    chosen_options: jsonOrNull(row.chosen_options),
    params_input: fromJsonText(row.params_input),
    response_received: row.responded_at !== null,
  };
}

/** A param may be stored as its bare value. */
function asParam(value: JsonValue): JsonValue {
  const isParam =
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    ["description", "schema", "value"].every((field) => field in value);
  return isParam ? value : { value, description: null, schema: {} };
}
