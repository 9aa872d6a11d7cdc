import type { Instant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import { TASK_INSTANCE_STATES, type TaskInstanceState } from "../domain/states.ts";
import { findGroup, tasksOfGroup } from "../domain/task-relatives.ts";
import { findDag } from "../store/execution-dag-run.ts";
import { whereabouts } from "../store/execution-liveness.ts";
import {
  countTaskInstances,
  findPreviousTaskInstance,
  firstRescheduleStart,
  skipTaskInstances,
  storeRenderedFields,
  storeRenderedMapIndex,
  taskInstanceBreadcrumbs,
  taskInstanceStates,
  type PreviousTaskInstanceFilter,
  type TaskInstanceFilter,
} from "../store/execution-task-instance.ts";
import { EMPTY, ok, refuse, replyTo, type Answer } from "./answer.ts";
import type { ExecutionContext, MessageHandler } from "./context.ts";
import { MessageFieldError, type MessageFields } from "./message-fields.ts";
import { notLive } from "./state.ts";

/** `PUT /task-instances/{id}/rtif`. */
export async function setRenderedFields(x: ExecutionContext, id: string, fields: JsonText): Promise<Answer<null>> {
  if (await storeRenderedFields(x.deps.database.pool, id, fields)) return ok(null);
  return notLive((await whereabouts(x.deps.database.pool, id)).archived);
}

/** `PATCH /task-instances/{id}/rendered-map-index`. */
export async function setRenderedMapIndex(x: ExecutionContext, id: string, text: string): Promise<Answer<null>> {
  if (text === "") return refuse(422, "invalid_value", "rendered_map_index cannot be empty");
  if (await storeRenderedMapIndex(x.deps.database.db, id, text)) return ok(null);
  return notLive((await whereabouts(x.deps.database.pool, id)).archived);
}

/** `PATCH /task-instances/{id}/skip-downstream`: tasks that are running or ended already stay as they are. */
export async function skipDownstream(
  x: ExecutionContext,
  id: string,
  tasks: readonly (readonly [taskId: string, mapIndex: number])[],
): Promise<Answer<null>> {
  const result = await skipTaskInstances(x.deps.database.db, id, tasks, x.kit.clock.now());
  if (!result) {
    const found = await whereabouts(x.deps.database.pool, id);
    if (!found.live) return notLive(found.archived);
    return refuse(409, "invalid_state", "TI is not running, so it skips nothing", { previous_state: found.state });
  }
  if (result.skipped > 0) x.deps.bus.publish({ kind: "dag-run", dagRunId: result.dag_run_id });
  return ok(null);
}

/** `groupId` narrows to the tasks of a task group, as the DAG's newest version has it. */
export type TaskInstanceQuery = TaskInstanceFilter & { groupId: string | null };

/** `GET /task-instances/count`. */
export async function getTaskInstanceCount(
  x: ExecutionContext,
  query: TaskInstanceQuery,
  states: readonly string[] | null,
): Promise<Answer<number>> {
  const { db } = x.deps.database;
  if (query.groupId === null) return ok(await countTaskInstances(db, query, states));
  const group = await tasksInGroup(x, query.dagId, query.groupId);
  if (group.kind === "refused") return group;
  const { taskIds } = query;
  const both = taskIds?.length ? group.value.filter((id) => taskIds.includes(id)) : group.value;
  return ok(both.length === 0 ? 0 : await countTaskInstances(db, { ...query, taskIds: both }, states));
}

/** `GET /task-instances/states`: run id → task id (with `_<map index>` when mapped) → state. */
export async function getTaskStates(
  x: ExecutionContext,
  query: TaskInstanceQuery,
): Promise<Answer<Record<string, Record<string, TaskInstanceState | null>>>> {
  let { taskIds } = query;
  if (query.groupId !== null) {
    const group = await tasksInGroup(x, query.dagId, query.groupId);
    if (group.kind === "refused") return group;
    taskIds = [...(taskIds ?? []), ...group.value];
    if (taskIds.length === 0) return ok({});
  }
  const states: Record<string, Record<string, TaskInstanceState | null>> = {};
  for (const row of await taskInstanceStates(x.deps.database.db, { ...query, taskIds })) {
    const name = row.map_index < 0 ? row.task_id : `${row.task_id}_${row.map_index}`;
    (states[row.run_id] ??= {})[name] = row.state;
  }
  return ok(states);
}

async function tasksInGroup(x: ExecutionContext, dagId: string, groupId: string): Promise<Answer<string[]>> {
  const dag = await findDag(x.deps.database.db, dagId);
  if (!dag?.current_version_id) return refuse(404, "not_found", `The Dag with ID: \`${dagId}\` was not found`);
  const group = findGroup((await x.deps.graph(dag.current_version_id)).root, groupId);
  if (!group) return refuse(404, "not_found", `Task group ${groupId} not found in DAG ${dagId}`);
  return ok(tasksOfGroup(group));
}

/** `GET /task-instances/breadcrumbs`. */
export async function getTaskBreadcrumbs(
  x: ExecutionContext,
  dagId: string,
  runId: string,
): Promise<Record<string, unknown>[]> {
  return await taskInstanceBreadcrumbs(x.deps.database.db, dagId, runId);
}

/** `GET /task-instances/previous/{dag_id}/{task_id}`. */
export async function getPreviousTaskInstance(
  x: ExecutionContext,
  filter: PreviousTaskInstanceFilter,
): Promise<Record<string, unknown> | null> {
  return await findPreviousTaskInstance(x.deps.database.db, filter);
}

/** `GET /task-reschedules/{id}/start_date`. */
export async function getRescheduleStart(x: ExecutionContext, id: string): Promise<Instant | null> {
  return await firstRescheduleStart(x.deps.database.db, id);
}

function queryOf(message: MessageFields): TaskInstanceQuery {
  const mapIndex = message.optionalInteger("map_index");
  return {
    dagId: message.text("dag_id"),
    taskIds: message.optionalTexts("task_ids"),
    // The SDK's client leaves a negative index out of its request.
    mapIndex: mapIndex !== null && mapIndex >= 0 ? mapIndex : null,
    logicalDates: message.optionalInstants("logical_dates"),
    runIds: message.optionalTexts("run_ids"),
    groupId: message.optionalText("task_group_id"),
  };
}

function stateOf(message: MessageFields): TaskInstanceState | null {
  const text = message.optionalText("state");
  if (text === null || (TASK_INSTANCE_STATES as readonly string[]).includes(text))
    return text as TaskInstanceState | null;
  throw new MessageFieldError(`${text} is no state of a task instance`);
}

function tasksOf(message: MessageFields): [string, number][] {
  const tasks = JSON.parse(message.json("tasks")) as unknown;
  if (!Array.isArray(tasks)) throw new MessageFieldError("SkipDownstreamTasks.tasks must be a list");
  return tasks.map((task: unknown) => {
    if (typeof task === "string") return [task, -1];
    const [taskId, mapIndex] = Array.isArray(task) ? (task as unknown[]) : [];
    if (typeof taskId === "string" && typeof mapIndex === "number") return [taskId, mapIndex];
    throw new MessageFieldError("SkipDownstreamTasks.tasks must hold task ids, or pairs of task id and map index");
  });
}

const NO_CALLER = replyTo(notLive(false));

export const taskInstanceMessages = {
  SetRenderedFields: async (x, id, message) => {
    if (id === null) return NO_CALLER;
    const answer = await setRenderedFields(x, id, message.json("rendered_fields"));
    // After a retry the process renders once more for its callbacks; that try is in the history already.
    return answer.kind === "refused" && answer.status === 410 ? EMPTY : replyTo(answer);
  },
  SetRenderedMapIndex: async (x, id, message) =>
    id === null ? NO_CALLER : replyTo(await setRenderedMapIndex(x, id, message.text("rendered_map_index"))),
  SkipDownstreamTasks: async (x, id, message) =>
    id === null ? NO_CALLER : replyTo(await skipDownstream(x, id, tasksOf(message))),
  GetTICount: async (x, _id, message) =>
    replyTo(await getTaskInstanceCount(x, queryOf(message), message.optionalTexts("states")), (count) => ({
      type: "TICount",
      count,
    })),
  GetTaskStates: async (x, _id, message) =>
    replyTo(await getTaskStates(x, queryOf(message)), (states) => ({ type: "TaskStatesResult", task_states: states })),
  GetTaskBreadcrumbs: async (x, _id, message) => {
    const breadcrumbs = await getTaskBreadcrumbs(x, message.text("dag_id"), message.text("run_id"));
    return { body: { type: "TaskBreadcrumbsResult", breadcrumbs } };
  },
  GetPreviousTI: async (x, _id, message) => {
    const previous = await getPreviousTaskInstance(x, {
      dagId: message.text("dag_id"),
      taskId: message.text("task_id"),
      mapIndex: message.optionalInteger("map_index") ?? -1,
      before: message.optionalInstant("logical_date"),
      state: stateOf(message),
    });
    return { body: { type: "PreviousTIResult", task_instance: previous } };
  },
  GetTaskRescheduleStartDate: async (x, id, message) => {
    const startDate = await getRescheduleStart(x, id ?? message.text("ti_id"));
    return { body: { type: "TaskRescheduleStartDate", start_date: startDate } };
  },
} satisfies Record<string, MessageHandler>;
