import { Type, type Static } from "typebox";
import type { DagGraph } from "../../domain/dag-graph.ts";
import { findGroup, tasksOfGroup, type TaskMarker } from "../../domain/task-relatives.ts";
import { markTaskInstances, selectToMark, type MarkRequest, type MarkState } from "../../store/mark.ts";
import {
  deleteTaskInstances,
  findTaskInstance,
  findTaskInstances,
  findTaskInstancesById,
  noteTaskInstances,
  type TaskInstanceRow,
} from "../../store/task-instances.ts";
import { audited } from "../audit.ts";
import { userOf, type ApiContext, type TypedApp } from "../context.ts";
import { ApiError, conflict, notFound } from "../errors.ts";
import { masked, updateMaskQuery } from "../query.ts";
import { sendRaw } from "../raw-json.ts";
import { nullable, strictObject, valueError } from "../schema.ts";
import { latestGraph } from "./dag-lookup.ts";
import { toTaskInstanceCollection } from "./task-instance-answers.ts";
import { taskInstanceNotFound } from "./task-instances.ts";

export const patchFields = {
  new_state: Type.Optional(nullable(Type.String())),
  note: Type.Optional(nullable(Type.String({ maxLength: 1000 }))),
  include_upstream: Type.Boolean({ default: false }),
  include_downstream: Type.Boolean({ default: false }),
  include_future: Type.Boolean({ default: false }),
  include_past: Type.Boolean({ default: false }),
};
const patchBody = strictObject(patchFields);
export type PatchBody = Static<typeof patchBody>;

const maskQuery = Type.Object(updateMaskQuery);
/** The path without a map index takes one as a parameter too, which is how the UI sends it. */
const taskQuery = Type.Object({ ...updateMaskQuery, map_index: Type.Optional(Type.Integer()) });
const taskParams = Type.Object({ dag_id: Type.String(), dag_run_id: Type.String(), task_id: Type.String() });
const mappedParams = Type.Object({ ...taskParams.properties, map_index: Type.Integer() });
const groupParams = Type.Object({ dag_id: Type.String(), dag_run_id: Type.String(), group_id: Type.String() });

interface TaskPlace {
  dag_id: string;
  dag_run_id: string;
  task_id: string;
  /** null: all map indexes. */
  map_index: number | null;
}

/** Setting the state and the note of task instances and of task groups; deleting. */
export function taskInstancePatchRoutes(app: TypedApp, context: ApiContext): void {
  const { db, bus } = context;
  const RUN = "/dags/:dag_id/dagRuns/:dag_run_id";
  const TASK = `${RUN}/taskInstances/:task_id`;
  const options = <P, Q>(params: P, querystring: Q) => ({
    schema: { params, querystring, body: patchBody },
    config: { role: "USER" as const },
  });
  const auditing = (event: string) => ({ preValidation: audited(db, event) });

  const patch = async (place: TaskPlace, body: PatchBody, mask: string[] | undefined, user: string) => {
    const { graph, rows } = await requireTask(context, place);
    await applyPatch(context, { graph, place, rows, body, mask, user });
    return toTaskInstanceCollection(await rowsAt(context, place));
  };
  app.patch(TASK, { ...options(taskParams, taskQuery), ...auditing("patch_task_instance") }, async (request, reply) => {
    const { params, body, query } = request;
    const place = { ...params, map_index: query.map_index ?? null };
    return sendRaw(reply, await patch(place, body, query.update_mask, userOf(request).name));
  });
  app.patch(
    `${TASK}/:map_index`,
    { ...options(mappedParams, maskQuery), ...auditing("patch_task_instance") },
    async (request, reply) => {
      const { params, body, query } = request;
      return sendRaw(reply, await patch(params, body, query.update_mask, userOf(request).name));
    },
  );

  const dryRun = async (place: TaskPlace, body: PatchBody, mask: string[] | undefined) => {
    const { graph, rows } = await requireTask(context, place);
    const state = stateOf(masked(body, mask));
    if (state === undefined) return toTaskInstanceCollection(rows);
    const ids = await selectToMark(db, markRequest({ graph, place, body, state }));
    return toTaskInstanceCollection(await findTaskInstancesById(db, ids));
  };
  app.patch(`${TASK}/dry_run`, options(taskParams, taskQuery), async ({ params, body, query }, reply) =>
    sendRaw(reply, await dryRun({ ...params, map_index: query.map_index ?? null }, body, query.update_mask)),
  );
  app.patch(`${TASK}/:map_index/dry_run`, options(mappedParams, maskQuery), async ({ params, body, query }, reply) =>
    sendRaw(reply, await dryRun(params, body, query.update_mask)),
  );

  const GROUP = `${RUN}/taskGroupInstances/:group_id`;
  app.patch(
    GROUP,
    { ...options(groupParams, maskQuery), ...auditing("patch_task_group_instances") },
    async (request, reply) => {
      const { params, body, query } = request;
      const { graph, taskIds, rows } = await requireGroup(context, params);
      const given = masked(body, query.update_mask);
      const state = stateOf(given);
      let changed = rows.map(({ id }) => id);
      const inGroup = changed;
      if (state !== undefined) {
        changed = await markTaskInstances(context, groupRequest(graph, params, taskIds, body, state));
        if (changed.length === 0) throw conflict(`All task instances in the group are already in ${state} state`);
      }
      await applyNote(context, inGroup, given, query.update_mask, userOf(request).name);
      return sendRaw(reply, toTaskInstanceCollection(await findTaskInstancesById(db, changed)));
    },
  );
  app.patch(`${GROUP}/dry_run`, options(groupParams, Type.Object({})), async ({ params, body }, reply) => {
    const { graph, taskIds, rows } = await requireGroup(context, params);
    const state = stateOf(body);
    if (state === undefined) return sendRaw(reply, toTaskInstanceCollection(rows));
    const ids = await selectToMark(db, groupRequest(graph, params, taskIds, body, state));
    return sendRaw(reply, toTaskInstanceCollection(await findTaskInstancesById(db, ids)));
  });

  app.delete(
    TASK,
    {
      schema: { params: taskParams, querystring: Type.Object({ map_index: Type.Integer({ default: -1 }) }) },
      config: { role: "USER" },
    },
    async ({ params, query }, reply) => {
      const place = {
        dagId: params.dag_id,
        runId: params.dag_run_id,
        taskId: params.task_id,
        mapIndex: query.map_index,
      };
      const row = await findTaskInstance(db, place);
      if (!row) throw taskInstanceNotFound(place);
      const gone = await deleteTaskInstances(db, [row.id]);
      publishDeleted(bus, gone);
      return sendRaw(reply, null);
    },
  );
}

/** Ends what ran for deleted task instances, and lets the scheduler look at their runs. */
export function publishDeleted(bus: ApiContext["bus"], gone: readonly { id: string; dagRunId: number }[]): void {
  if (gone.length === 0) return;
  bus.publish({ kind: "kill", ids: gone.map(({ id }) => id), reason: "deleted" });
  for (const dagRunId of new Set(gone.map((row) => row.dagRunId))) bus.publish({ kind: "dag-run", dagRunId });
}

/** Marks and annotates as one PATCH asks. Throws 409 when a state was asked for and nothing was left to change. */
export async function applyPatch(
  context: ApiContext,
  given: {
    graph: DagGraph;
    place: TaskPlace;
    rows: readonly TaskInstanceRow[];
    body: PatchBody;
    mask: readonly string[] | undefined;
    user: string;
  },
): Promise<void> {
  const { graph, place, rows, body, mask, user } = given;
  const fields = masked(body, mask);
  const state = stateOf(fields);
  if (state !== undefined) {
    const changed = await markTaskInstances(context, markRequest({ graph, place, body, state }));
    if (changed.length === 0) throw conflict(`Task id ${place.task_id} is already in ${state} state`);
  }
  // After the state: a refused mark leaves the note alone. Marking keeps the ids.
  await applyNote(
    context,
    rows.map(({ id }) => id),
    fields,
    mask,
    user,
  );
}

async function applyNote(
  context: ApiContext,
  ids: readonly string[],
  fields: Partial<PatchBody>,
  mask: readonly string[] | undefined,
  user: string,
): Promise<void> {
  if (!("note" in fields) || (fields.note == null && !mask?.length)) return;
  await noteTaskInstances(context.db, ids, fields.note ? { text: fields.note, userId: user } : null);
}

/** The task in the DAG's newest version and its instances in the run, or Airflow's 404s. */
export async function requireTask(
  context: ApiContext,
  place: TaskPlace,
): Promise<{ graph: DagGraph; rows: TaskInstanceRow[] }> {
  const { dag_id: dagId, dag_run_id: runId, task_id: taskId, map_index: mapIndex } = place;
  const graph = await latestGraph(context, dagId);
  if (!graph.tasks.has(taskId)) throw notFound(`Task '${taskId}' not found in Dag '${dagId}'`);
  const rows = await rowsAt(context, place);
  // A list of one text: Airflow has a tuple there, and clients have seen it.
  if (rows.length === 0) throw new ApiError(404, [taskInstanceNotFound({ dagId, runId, taskId, mapIndex }).detail]);
  return { graph, rows };
}

async function rowsAt(context: ApiContext, place: TaskPlace): Promise<TaskInstanceRow[]> {
  return await findTaskInstances(context.db, {
    dagId: place.dag_id,
    runId: place.dag_run_id,
    taskId: place.task_id,
    ...(place.map_index === null ? {} : { mapIndexes: [place.map_index] }),
  });
}

async function requireGroup(
  context: ApiContext,
  params: { dag_id: string; dag_run_id: string; group_id: string },
): Promise<{ graph: DagGraph; taskIds: string[]; rows: TaskInstanceRow[] }> {
  const { dag_id: dagId, dag_run_id: runId, group_id: groupId } = params;
  const graph = await latestGraph(context, dagId);
  const group = findGroup(graph.root, groupId);
  if (!group) throw notFound(`Task group '${groupId}' not found in DAG '${dagId}'`);
  const taskIds = tasksOfGroup(group);
  const rows = await findTaskInstances(context.db, { dagId, runId, groupTaskIds: taskIds });
  if (rows.length === 0) {
    throw notFound(`No task instances found for task group '${groupId}' in dag run '${runId}'`);
  }
  return { graph, taskIds, rows };
}

const STATES = ["success", "failed", "skipped"];

/** The state a body asks for; undefined when it asks for none. Throws pydantic's 422 for one that users may not set. */
export function stateOf(
  body: { new_state?: string | null | undefined },
  loc: (string | number)[] = ["body"],
): MarkState | undefined {
  if (!("new_state" in body) || body.new_state === undefined) return undefined;
  const at = [...loc, "new_state"];
  if (body.new_state === null) throw valueError(at, "'new_state' should not be empty", null);
  const state = body.new_state.toLowerCase();
  if (STATES.includes(state)) return state as MarkState;
  throw valueError(at, `'${state}' is not one of ['success', 'failed', 'skipped']`, body.new_state);
}

function markRequest(given: { graph: DagGraph; place: TaskPlace; body: PatchBody; state: MarkState }): MarkRequest {
  const { graph, place, body, state } = given;
  const marker: TaskMarker = place.map_index === null ? place.task_id : [place.task_id, place.map_index];
  return { graph, runId: place.dag_run_id, tasks: [marker], state, ...reachOf(body) };
}

function groupRequest(
  graph: DagGraph,
  params: { dag_run_id: string },
  taskIds: readonly string[],
  body: PatchBody,
  state: MarkState,
): MarkRequest {
  return { graph, runId: params.dag_run_id, tasks: taskIds, state, ...reachOf(body) };
}

function reachOf(body: PatchBody) {
  return {
    upstream: body.include_upstream,
    downstream: body.include_downstream,
    future: body.include_future,
    past: body.include_past,
  };
}
