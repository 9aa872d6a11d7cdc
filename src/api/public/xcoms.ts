import { Type } from "typebox";
import type { FastifyReply, FastifyRequest } from "fastify";
import { formatInstant } from "../../kit/instant.ts";
import { ExactObject, exactStringify, parseExact, pythonStr, type ExactJson } from "../../kit/exact-json.ts";
import { toJsonText, type JsonText } from "../../kit/json-text.ts";
import { findRun } from "../../store/run-lookup.ts";
import {
  createXComEntry,
  deleteXComEntry,
  findXComEntry,
  listXComs,
  updateXComEntry,
  XCOM_SORTABLE,
  type XComPlace,
  type XComRow,
} from "../../store/xcoms.ts";
import { audited } from "../audit.ts";
import { bodyText } from "../body.ts";
import { teamsOf, type ApiContext, type TypedApp } from "../context.ts";
import { badRequest, conflict, notFound } from "../errors.ts";
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
import { RawText, sendRaw } from "../raw-json.ts";
import { instantOrNull } from "../serialize.ts";
import { strictObject, valueError } from "../schema.ts";
import { latestGraph } from "./dag-lookup.ts";
import { readableXCom, reservedKeyProblem } from "./xcom-text.ts";

const ENTRIES = "/dags/:dag_id/dagRuns/:dag_run_id/taskInstances/:task_id/xcomEntries";
const taskParams = Type.Object({ dag_id: Type.String(), dag_run_id: Type.String(), task_id: Type.String() });
const keyParams = Type.Object({ ...taskParams.properties, "*": Type.String() });
const mapIndexQuery = { map_index: Type.Integer({ minimum: -1, default: -1 }) };
const listQuery = Type.Object({
  ...pageQuery,
  ...orderByQuery,
  ...patternQuery("xcom_key"),
  ...patternQuery("dag_display_name"),
  ...patternQuery("run_id"),
  ...patternQuery("task_id"),
  ...instantRangeQuery("logical_date"),
  ...instantRangeQuery("run_after"),
  map_index_filter: Type.Optional(Type.Integer()),
  xcom_key: Type.Optional(Type.String()),
  map_index: Type.Optional(Type.Integer({ minimum: -1 })),
});
const createBody = strictObject({
  key: Type.String(),
  value: Type.Unknown(),
  map_index: Type.Integer({ default: -1 }),
});
const updateBody = strictObject({ value: Type.Unknown(), map_index: Type.Integer({ default: -1 }) });

/** XComs: what tasks passed on, shown with every number as the task wrote it. Keys may hold slashes. */
export function xcomRoutes(app: TypedApp, context: ApiContext): void {
  const { db } = context;
  const user = { role: "USER" as const };
  const placeOf = (
    params: { dag_id: string; dag_run_id: string; task_id: string },
    key: string,
    mapIndex: number,
  ): XComPlace => ({ dagId: params.dag_id, runId: params.dag_run_id, taskId: params.task_id, mapIndex, key });

  app.get(
    `${ENTRIES}/*`,
    {
      schema: {
        params: keyParams,
        querystring: Type.Object({
          ...mapIndexQuery,
          deserialize: Type.Boolean({ default: false }),
          stringify: Type.Boolean({ default: false }),
        }),
      },
    },
    async ({ params, query }, reply) => {
      const row = await findXComEntry(db, placeOf(params, params["*"], query.map_index));
      if (!row) throw notFound(`XCom entry with key: \`${params["*"]}\` not found`);
      const stored = row.value ?? ("null" as JsonText);
      // Values reach 50 MB: what is shown as it is stored is not parsed for that.
      const plain = !query.stringify && (!query.deserialize || isPlain(stored));
      if (plain) return answer(reply, row, stored);
      const value = query.deserialize ? readableXCom(parseExact(stored)) : parseExact(stored);
      const shown = query.stringify && value !== null ? toJsonText(pythonStr(value)) : exactStringify(value);
      return answer(reply, row, shown as JsonText);
    },
  );

  app.get(ENTRIES, { schema: { params: taskParams, querystring: listQuery } }, async (request) => {
    const { params, query } = request;
    const named = (value: string): string | undefined => (value === "~" ? undefined : value);
    const { rows, total } = await listXComs(
      db,
      {
        dagId: named(params.dag_id),
        runId: named(params.dag_run_id),
        taskId: named(params.task_id),
        mapIndex: query.map_index ?? query.map_index_filter,
        key: query.xcom_key,
        keyPattern: patternsOf(query, "xcom_key"),
        dagDisplayName: patternsOf(query, "dag_display_name"),
        runIdPattern: patternsOf(query, "run_id"),
        taskIdPattern: patternsOf(query, "task_id"),
        logicalDate: instantRangeOf(query, "logical_date"),
        runAfter: instantRangeOf(query, "run_after"),
        teams: teamsOf(request),
      },
      { orders: orderOfXComs(query.order_by), page: pageOf(query) },
    );
    return { xcom_entries: rows.map(toEntry), total_entries: total };
  });

  app.post(
    ENTRIES,
    {
      schema: { params: taskParams, body: createBody },
      config: user,
      preValidation: audited(db, "create_xcom_entry"),
    },
    async (request, reply) => {
      const { params, body } = request;
      const { dag_id: dagId, dag_run_id: runId, task_id: taskId } = params;
      const value = storedValue(request);
      const run = await findRun(db, dagId, runId);
      const graph = run?.version_id ? await context.graph(run.version_id) : await latestGraph(context, dagId);
      if (!graph.tasks.has(taskId)) throw notFound(`Task with ID: \`${taskId}\` not found in dag: \`${dagId}\``);
      if (!run) throw notFound(`Dag Run with ID: \`${runId}\` not found for dag: \`${dagId}\``);
      if (body.key === "") throw badRequest(`Couldn't serialise the XCom with key: \`\``);
      const place = placeOf(params, body.key, body.map_index);
      if (!(await createXComEntry(db, place, value))) {
        throw conflict(`The XCom with key: \`${body.key}\` with mentioned task instance already exists.`);
      }
      return await answerEntry(reply.code(201), place);
    },
  );

  app.patch(
    `${ENTRIES}/*`,
    {
      schema: { params: keyParams, body: updateBody },
      config: user,
      preValidation: audited(db, "update_xcom_entry"),
    },
    async (request, reply) => {
      const place = placeOf(request.params, request.params["*"], request.body.map_index);
      if (!(await updateXComEntry(db, place, storedValue(request)))) throw missing(place.key);
      return await answerEntry(reply, place);
    },
  );

  app.delete(
    `${ENTRIES}/*`,
    {
      schema: { params: keyParams, querystring: Type.Object(mapIndexQuery) },
      config: user,
      preValidation: audited(db, "delete_xcom_entry"),
    },
    async ({ params, query }, reply) => {
      const place = placeOf(params, params["*"], query.map_index);
      if (!(await deleteXComEntry(db, place))) throw missing(place.key);
      return reply.code(204).send();
    },
  );

  async function answerEntry(reply: FastifyReply, place: XComPlace): Promise<FastifyReply> {
    const row = await findXComEntry(db, place);
    if (!row) throw missing(place.key);
    return answer(reply, row, row.value ?? ("null" as JsonText));
  }
}

/** No serialized object and no text that may hold JSON: the readable form is the stored one. */
function isPlain(stored: string): boolean {
  return !stored.startsWith('"') && !stored.includes('"__classname__"') && !stored.includes('"__type"');
}

const missing = (key: string) => notFound(`The XCom with key: \`${key}\` with mentioned task instance doesn't exist.`);

function answer(reply: FastifyReply, row: XComRow, value: JsonText): FastifyReply {
  return sendRaw(reply, { ...toEntry(row), value: new RawText(value) });
}

function toEntry(row: XComRow) {
  return {
    key: row.key,
    timestamp: formatInstant(row.timestamp),
    logical_date: instantOrNull(row.logical_date),
    map_index: row.map_index,
    task_id: row.task_id,
    dag_id: row.dag_id,
    run_id: row.run_id,
    dag_display_name: row.dag_display_name,
    task_display_name: row.task_display_name,
    run_after: formatInstant(row.run_after),
  };
}

const TOTAL_ORDER = ["dag_id", "task_id", "run_id", "map_index", "key"];

/** No single column names an XCom: what the client left out is sorted by behind what it gave. */
function orderOfXComs(values: readonly string[] | undefined) {
  const allowed = Object.keys(XCOM_SORTABLE);
  const orders = orderOf(values, { allowed, primaryKey: "key", fallback: TOTAL_ORDER });
  const rest = TOTAL_ORDER.filter((by) => !orders.some((order) => order.by === by));
  return [...orders, ...rest.map((by) => ({ by, descending: false }))];
}

/** The value of the body with its numbers as they were sent. */
function storedValue(request: FastifyRequest): JsonText {
  const text = bodyText(request);
  const body = parseExact(text === "" ? JSON.stringify(request.body) : text);
  const value: ExactJson = body instanceof ExactObject ? (body.entries.get("value") ?? null) : null;
  const problem = reservedKeyProblem(value);
  if (problem) throw valueError(["body", "value"], problem, (request.body as { value: unknown }).value);
  return exactStringify(value) as JsonText;
}
