import { Type } from "typebox";
import type { DagGraph, TaskNode } from "../../domain/dag-graph.ts";
import type { ApiContext, TypedApp } from "../context.ts";
import { badRequest, notFound } from "../errors.ts";
import { instantOrNull, timeDelta } from "../serialize.ts";
import { paramsResponse } from "./dag-response.ts";
import { latestGraph } from "./dag-lookup.ts";

type TaskResponse = ReturnType<typeof toTaskResponse>;
type SortValue = string | number | boolean | null;

/** What tasks may be sorted by; the API's values sort as the model's do, durations by their seconds. */
const SORT_KEYS: Record<string, (task: TaskNode) => SortValue> = {
  task_id: (task) => task.taskId,
  task_display_name: (task) => task.displayName,
  owner: (task) => task.owner,
  start_date: (task) => task.startDate,
  end_date: (task) => task.endDate,
  trigger_rule: (task) => task.triggerRule,
  depends_on_past: (task) => task.dependsOnPast,
  wait_for_downstream: (task) => task.waitForDownstream,
  retries: (task) => task.retries,
  queue: (task) => task.queue,
  pool: (task) => task.pool,
  pool_slots: (task) => task.poolSlots,
  execution_timeout: (task) => task.executionTimeoutSeconds,
  retry_delay: (task) => task.retryDelaySeconds,
  retry_exponential_backoff: (task) => task.retryExponentialBackoff,
  priority_weight: (task) => task.priorityWeight,
  weight_rule: (task) => task.weightRule,
  ui_color: (task) => task.uiColor,
  ui_fgcolor: (task) => task.uiFgcolor,
  operator_name: (task) => task.operatorName,
};

/** `/dags/{dag_id}/tasks`: the tasks of the DAG's newest version. */
export function taskRoutes(app: TypedApp, context: ApiContext): void {
  app.get(
    "/dags/:dag_id/tasks",
    {
      schema: {
        params: Type.Object({ dag_id: Type.String() }),
        querystring: Type.Object({ order_by: Type.String({ default: "task_id" }) }),
      },
    },
    async ({ params, query }) => {
      const graph = await latestGraph(context, params.dag_id);
      const by = query.order_by.replace(/^-+/, "");
      const key = Object.hasOwn(SORT_KEYS, by) ? SORT_KEYS[by] : undefined;
      if (!key) throw badRequest(`Ordering with '${by}' is disallowed or the attribute does not exist on the model`);
      const tasks = sorted([...graph.tasks.values()], key, query.order_by.startsWith("-"));
      return { tasks: tasks.map(toTaskResponse), total_entries: tasks.length };
    },
  );

  app.get(
    "/dags/:dag_id/tasks/:task_id",
    { schema: { params: Type.Object({ dag_id: Type.String(), task_id: Type.String() }) } },
    async ({ params }): Promise<TaskResponse> => {
      const graph: DagGraph = await latestGraph(context, params.dag_id);
      const task = graph.tasks.get(params.task_id);
      if (!task) throw notFound(`Task with id ${params.task_id} was not found`);
      return toTaskResponse(task);
    },
  );
}

function sorted(tasks: TaskNode[], key: (task: TaskNode) => SortValue, descending: boolean): TaskNode[] {
  const direction = descending ? -1 : 1;
  return tasks.sort((a, b) => direction * compare(key(a), key(b)));
}

/** Nulls last. */
function compare(a: SortValue, b: SortValue): number {
  if (a === b) return 0;
  if (a === null) return 1;
  if (b === null) return -1;
  return a < b ? -1 : 1;
}

function toTaskResponse(task: TaskNode) {
  return {
    task_id: task.taskId,
    task_display_name: task.displayName,
    owner: task.owner,
    start_date: instantOrNull(task.startDate),
    end_date: instantOrNull(task.endDate),
    trigger_rule: task.triggerRule,
    depends_on_past: task.dependsOnPast,
    wait_for_downstream: task.waitForDownstream,
    retries: task.retries,
    queue: task.queue,
    pool: task.pool,
    pool_slots: task.poolSlots,
    execution_timeout: timeDelta(task.executionTimeoutSeconds),
    retry_delay: timeDelta(task.retryDelaySeconds),
    retry_exponential_backoff: task.retryExponentialBackoff,
    priority_weight: task.priorityWeight,
    weight_rule: task.weightRule,
    ui_color: task.uiColor,
    ui_fgcolor: task.uiFgcolor,
    template_fields: [...task.templateFields],
    downstream_task_ids: [...task.downstream].sort(),
    doc_md: task.docMd,
    operator_name: task.operatorName,
    params: paramsResponse(task.params),
    class_ref: { module_path: task.taskModule, class_name: task.taskType },
    is_mapped: task.expandInput !== null,
    extra_links: Object.keys(task.operatorExtraLinks),
  };
}
