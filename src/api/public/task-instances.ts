import { Type } from "typebox";
import { TASK_INSTANCE_STATES } from "../../domain/states.ts";
import { findGroup, isMapped, tasksOfGroup } from "../../domain/task-relatives.ts";
import { findRun, type RunRef } from "../../store/run-lookup.ts";
import { findTries } from "../../store/task-instance-tries.ts";
import {
  countTaskInstances,
  countTaskInstancesUpTo,
  findTaskInstance,
  findTaskInstances,
  pageOfTaskInstances,
  taskInstancesAfter,
  type TaskInstanceFilter,
} from "../../store/task-instances.ts";
import { audited } from "../audit.ts";
import { teamsOf, type ApiContext, type TypedApp } from "../context.ts";
import { decodeCursor, encodeBackwardCursor, encodeCursor } from "../cursor.ts";
import { ApiError, badRequest, notFound } from "../errors.ts";
import { instantRangeOf, numberRangeOf, orderByQuery, pageOf, pageQuery, patternQuery, patternsOf } from "../query.ts";
import { sendRaw } from "../raw-json.ts";
import { enumOf, InstantText, nullable, strictObject } from "../schema.ts";
import { latestGraph } from "./dag-lookup.ts";
import { toTaskInstanceCollection, toTaskInstanceResponse, toTryResponse } from "./task-instance-answers.ts";
import { filterOf, filterQuery, taskInstanceOrder } from "./task-instance-filter.ts";

const RUN = "/dags/:dag_id/dagRuns/:dag_run_id";
const runParams = Type.Object({ dag_id: Type.String(), dag_run_id: Type.String() });
const taskParams = Type.Object({ dag_id: Type.String(), dag_run_id: Type.String(), task_id: Type.String() });
const mappedParams = Type.Object({ ...taskParams.properties, map_index: Type.Integer() });
const tryParams = Type.Object({ ...taskParams.properties, task_try_number: Type.Integer() });
const mappedTryParams = Type.Object({ ...mappedParams.properties, task_try_number: Type.Integer() });
const mapIndexQuery = Type.Object({ map_index: Type.Integer({ default: -1 }) });

const mappedListQuery = Type.Object({ ...pageQuery, ...orderByQuery, ...filterQuery });
const listQuery = Type.Object({
  ...mappedListQuery.properties,
  task_id: Type.Optional(Type.String()),
  task_group_id: Type.Optional(Type.String()),
  cursor: Type.Optional(Type.String()),
  ...patternQuery("task_display_name"),
  ...patternQuery("dag_id"),
  ...patternQuery("run_id"),
});

const texts = Type.Optional(nullable(Type.Array(Type.String())));
const instant = Type.Optional(nullable(InstantText));
const seconds = Type.Optional(nullable(Type.Number()));
const batchBody = strictObject({
  dag_ids: texts,
  dag_run_ids: texts,
  task_ids: texts,
  state: Type.Optional(nullable(Type.Array(nullable(enumOf(TASK_INSTANCE_STATES))))),
  ...{ run_after_gte: instant, run_after_gt: instant, run_after_lte: instant, run_after_lt: instant },
  ...{ logical_date_gte: instant, logical_date_gt: instant, logical_date_lte: instant, logical_date_lt: instant },
  ...{ start_date_gte: instant, start_date_gt: instant, start_date_lte: instant, start_date_lt: instant },
  ...{ end_date_gte: instant, end_date_gt: instant, end_date_lte: instant, end_date_lt: instant },
  ...{ duration_gte: seconds, duration_gt: seconds, duration_lte: seconds, duration_lt: seconds },
  pool: texts,
  queue: texts,
  executor: texts,
  page_offset: Type.Integer({ minimum: 0, default: 0 }),
  page_limit: Type.Integer({ minimum: 0, default: 100 }),
  order_by: Type.Optional(nullable(Type.String())),
});
/** Pages by cursor count no further than this. */
const COUNT_LIMIT = 50_000;
const BATCH_SORTABLE = ["id", "state", "duration", "start_date", "end_date", "map_index"];

interface Place {
  dagId: string;
  runId: string;
  taskId: string;
  mapIndex: number;
}

const placeOf = (params: { dag_id: string; dag_run_id: string; task_id: string }, mapIndex: number): Place => ({
  dagId: params.dag_id,
  runId: params.dag_run_id,
  taskId: params.task_id,
  mapIndex,
});

/** Reading task instances and their tries. */
export function taskInstanceRoutes(app: TypedApp, context: ApiContext): void {
  const { db } = context;
  const TIS = `${RUN}/taskInstances`;

  app.get(`${TIS}/:task_id`, { schema: { params: taskParams } }, async (request, reply) => {
    const { dag_id: dagId, dag_run_id: runId, task_id: taskId } = request.params;
    const [row] = await findTaskInstances(db, { dagId, runId, taskId });
    if (!row) {
      throw notFound(
        `The Task Instance with dag_id: \`${dagId}\`, run_id: \`${runId}\` and task_id: \`${taskId}\` was not found`,
      );
    }
    if (row.map_index !== -1) throw notFound("Task instance is mapped, add the map_index value to the URL");
    return sendRaw(reply, toTaskInstanceResponse(row));
  });

  app.get(`${TIS}/:task_id/:map_index`, { schema: { params: mappedParams } }, async (request, reply) => {
    const { dag_id, dag_run_id, task_id, map_index } = request.params;
    const row = await findTaskInstance(db, placeOf(request.params, map_index));
    if (!row) {
      throw notFound(
        `The Mapped Task Instance with dag_id: \`${dag_id}\`, run_id: \`${dag_run_id}\`, task_id: \`${task_id}\`, ` +
          `and map_index: \`${map_index}\` was not found`,
      );
    }
    return sendRaw(reply, toTaskInstanceResponse(row));
  });

  app.get(
    `${TIS}/:task_id/listMapped`,
    { schema: { params: taskParams, querystring: mappedListQuery } },
    async (request, reply) => {
      const { params, query } = request;
      const mapped = { dagId: params.dag_id, runId: params.dag_run_id, taskId: params.task_id, mapped: true };
      // None is an answer for a task that expanded to nothing, a mistake for one that never expands.
      if ((await countTaskInstances(db, mapped)) === 0) await requireMapped(context, params);
      const { rows, total } = await pageOfTaskInstances(
        db,
        { ...filterOf(query), ...mapped },
        { orders: taskInstanceOrder(query.order_by), page: pageOf(query) },
      );
      return sendRaw(reply, toTaskInstanceCollection(rows, total));
    },
  );

  app.get(TIS, { schema: { params: runParams, querystring: listQuery } }, async (request, reply) => {
    const { params, query } = request;
    const filter: TaskInstanceFilter = {
      ...filterOf(query),
      ...(await scopeOf(context, params, query.task_group_id)),
      taskId: query.task_id,
      teams: teamsOf(request),
    };
    filter.patterns = {
      ...filter.patterns,
      taskDisplayName: patternsOf(query, "task_display_name"),
      dagId: patternsOf(query, "dag_id"),
      runId: patternsOf(query, "run_id"),
    };
    const orders = taskInstanceOrder(query.order_by);
    const page = pageOf(query);
    if (query.cursor === undefined) {
      const { rows, total } = await pageOfTaskInstances(db, filter, { orders, page });
      return sendRaw(reply, toTaskInstanceCollection(rows, total));
    }
    const from = decodeCursor(query.cursor, orders);
    const found = await taskInstancesAfter(db, filter, {
      orders,
      limit: page.limit,
      after: from?.values ?? null,
      backward: from?.backward ?? false,
    }).catch(badCursor);
    const [first, last] = [found.rows[0], found.rows.at(-1)];
    const hasNext = from?.backward ? true : found.hasMore;
    const hasPrevious = from?.backward ? found.hasMore : from !== null;
    return sendRaw(reply, {
      task_instances: found.rows.map(toTaskInstanceResponse),
      total_entries: await countTaskInstancesUpTo(db, filter, COUNT_LIMIT),
      total_entries_limit: COUNT_LIMIT,
      next_cursor: hasNext && last ? encodeCursor(last.cursor) : null,
      previous_cursor: hasPrevious && first ? encodeBackwardCursor(first.cursor) : null,
    });
  });

  app.post(
    `${TIS}/list`,
    {
      schema: { params: runParams, body: batchBody },
      config: { role: "VIEWER" },
      preValidation: audited(db, "get_task_instances_batch"),
    },
    async (request, reply) => {
      requireWildcards(request.params);
      const { body } = request;
      const filter: TaskInstanceFilter = {
        teams: teamsOf(request),
        dagIds: body.dag_ids ?? [],
        runIds: body.dag_run_ids ?? [],
        taskIds: body.task_ids ?? [],
        states: body.state ?? [],
        runAfter: instantRangeOf(body, "run_after", "body"),
        logicalDate: instantRangeOf(body, "logical_date", "body"),
        startDate: instantRangeOf(body, "start_date", "body"),
        endDate: instantRangeOf(body, "end_date", "body"),
        strictDates: true,
        duration: numberRangeOf(body, "duration"),
        pools: body.pool ?? [],
        queues: body.queue ?? [],
        executors: body.executor ?? [],
      };
      const orders = taskInstanceOrder(body.order_by ? [body.order_by] : undefined, BATCH_SORTABLE, ["id"]);
      const page = pageOf({ limit: body.page_limit, offset: body.page_offset });
      const { rows, total } = await pageOfTaskInstances(db, filter, { orders, page });
      return sendRaw(reply, toTaskInstanceCollection(rows, total));
    },
  );

  const tries = async (place: Place) => {
    const found = await findTries(db, place);
    if (found.length === 0) throw taskInstanceNotFound(place);
    return { task_instances: found.map(toTryResponse), total_entries: found.length };
  };
  app.get(`${TIS}/:task_id/tries`, { schema: { params: taskParams, querystring: mapIndexQuery } }, (request) =>
    tries(placeOf(request.params, request.query.map_index)),
  );
  app.get(`${TIS}/:task_id/:map_index/tries`, { schema: { params: mappedParams } }, (request) =>
    tries(placeOf(request.params, request.params.map_index)),
  );

  const oneTry = async (place: Place, tryNumber: number) => {
    // The live row first: while it waits for a retry it tells of the same try as the history does.
    const found = (await findTries(db, place, tryNumber)).at(-1);
    if (found) return toTryResponse(found);
    const { dagId, runId, taskId, mapIndex } = place;
    throw notFound(
      `The Task Instance with dag_id: \`${dagId}\`, run_id: \`${runId}\`, task_id: \`${taskId}\`, ` +
        `try_number: \`${tryNumber}\` and map_index: \`${mapIndex}\` was not found`,
    );
  };
  app.get(
    `${TIS}/:task_id/tries/:task_try_number`,
    { schema: { params: tryParams, querystring: mapIndexQuery } },
    (request) => oneTry(placeOf(request.params, request.query.map_index), request.params.task_try_number),
  );
  app.get(`${TIS}/:task_id/:map_index/tries/:task_try_number`, { schema: { params: mappedTryParams } }, (request) =>
    oneTry(placeOf(request.params, request.params.map_index), request.params.task_try_number),
  );
}

export function taskInstanceNotFound({
  dagId,
  runId,
  taskId,
  mapIndex,
}: Omit<Place, "mapIndex"> & { mapIndex: number | null }) {
  return notFound(
    `The Task Instance with dag_id: \`${dagId}\`, run_id: \`${runId}\`, task_id: \`${taskId}\` ` +
      `and map_index: \`${mapIndex ?? "None"}\` was not found`,
  );
}

/** What `~` in the path leaves open; 404 for a run, DAG or task group that is not there. */
async function scopeOf(
  context: ApiContext,
  params: { dag_id: string; dag_run_id: string },
  groupId: string | undefined,
): Promise<Pick<TaskInstanceFilter, "dagId" | "runId" | "groupTaskIds">> {
  const { dag_id: dagId, dag_run_id: runId } = params;
  let run: RunRef | null = null;
  if (runId !== "~") {
    if (dagId === "~") throw badRequest("dag_id is required when dag_run_id is specified");
    run = await findRun(context.db, dagId, runId);
    if (!run) throw notFound(`DagRun with dag_id: \`${dagId}\` and run_id: \`${runId}\` was not found`);
  }
  if (dagId === "~") {
    if (groupId !== undefined) throw badRequest("dag_id is required when task_group_id is specified");
    return {};
  }
  const scope = { dagId, ...(run ? { runId } : {}) };
  if (run && groupId === undefined) return scope;
  const graph = run?.version_id ? await context.graph(run.version_id) : await latestGraph(context, dagId);
  if (groupId === undefined) return scope;
  const group = findGroup(graph.root, groupId);
  if (!group) throw new ApiError(404, { reason: "not_found", message: `Task group ${groupId} not found` });
  return { ...scope, groupTaskIds: tasksOfGroup(group) };
}

async function requireMapped(
  context: ApiContext,
  params: { dag_id: string; dag_run_id: string; task_id: string },
): Promise<void> {
  const run = await findRun(context.db, params.dag_id, params.dag_run_id);
  const graph = run?.version_id ? await context.graph(run.version_id) : await latestGraph(context, params.dag_id);
  const task = graph.tasks.get(params.task_id);
  if (!task) throw notFound(`Task id ${params.task_id} not found`);
  if (!isMapped(task)) throw notFound(`Task id ${params.task_id} is not mapped`);
}

/** Airflow serves the batch list at one literal path. */
function requireWildcards(params: { dag_id: string; dag_run_id: string }): void {
  for (const name of ["dag_id", "dag_run_id"] as const) {
    if (params[name] === "~") continue;
    const issue = { type: "literal_error", loc: ["path", name], msg: "Input should be '~'", input: params[name] };
    throw new ApiError(422, [{ ...issue, ctx: { expected: "'~'" } }]);
  }
}

/** A token with values of the wrong kind: PostgreSQL's class 22, data exceptions. */
function badCursor(error: unknown): never {
  if (error instanceof Error && "code" in error && String(error.code).startsWith("22")) {
    throw badRequest("Invalid cursor token");
  }
  throw error;
}
