import { Type } from "typebox";
import { TASK_INSTANCE_STATES, type TaskInstanceState } from "../../domain/states.ts";
import type { Order } from "../../store/filters.ts";
import { TASK_INSTANCE_SORTABLE, type TaskInstanceFilter } from "../../store/task-instances.ts";
import { ApiError } from "../errors.ts";
import {
  instantRangeOf,
  instantRangeQuery,
  numberRangeOf,
  numberRangeQuery,
  orderOf,
  patternQuery,
  patternsOf,
} from "../query.ts";

const texts = Type.Array(Type.String(), { default: [] });
const integers = Type.Array(Type.Integer(), { default: [] });

/** The query parameters that narrow a list of task instances. */
export const filterQuery = {
  ...instantRangeQuery("run_after"),
  ...instantRangeQuery("logical_date"),
  ...instantRangeQuery("start_date"),
  ...instantRangeQuery("end_date"),
  ...instantRangeQuery("updated_at"),
  ...numberRangeQuery("duration"),
  state: texts,
  pool: texts,
  queue: texts,
  executor: texts,
  version_number: integers,
  try_number: integers,
  operator: texts,
  map_index: integers,
  ...patternQuery("pool_name"),
  ...patternQuery("queue_name"),
  ...patternQuery("operator_name"),
  ...patternQuery("rendered_map_index"),
};

type FilterQuery = Type.Static<Type.TObject<typeof filterQuery>>;

export function filterOf(query: FilterQuery): TaskInstanceFilter {
  return {
    runAfter: instantRangeOf(query, "run_after"),
    logicalDate: instantRangeOf(query, "logical_date"),
    startDate: instantRangeOf(query, "start_date"),
    endDate: instantRangeOf(query, "end_date"),
    updatedAt: instantRangeOf(query, "updated_at"),
    duration: numberRangeOf(query, "duration"),
    states: statesOf(query.state),
    pools: query.pool,
    queues: query.queue,
    executors: query.executor,
    versionNumbers: query.version_number,
    tryNumbers: query.try_number,
    operators: query.operator,
    mapIndexes: query.map_index,
    patterns: {
      pool: patternsOf(query, "pool_name"),
      queue: patternsOf(query, "queue_name"),
      operatorName: patternsOf(query, "operator_name"),
      renderedMapIndex: patternsOf(query, "rendered_map_index"),
    },
  };
}

/** States by name; "none" and "no_status" stand for those without one. */
export function statesOf(names: readonly string[]): (TaskInstanceState | null)[] {
  return names.map((name) => {
    if (name === "none" || name === "no_status") return null;
    if ((TASK_INSTANCE_STATES as readonly string[]).includes(name)) return name as TaskInstanceState;
    throw new ApiError(422, `Invalid value for state. Valid values are ${TASK_INSTANCE_STATES.join(", ")}`);
  });
}

/** Reads `order_by`; labels of map indexes are sorted with the index behind them, so that 10 comes after 9. */
export function taskInstanceOrder(
  values: readonly string[] | undefined,
  allowed: readonly string[] = Object.keys(TASK_INSTANCE_SORTABLE),
  fallback: string[] = ["map_index"],
): Order[] {
  const orders = orderOf(values, { allowed, primaryKey: "id", fallback });
  return orders.flatMap((order) =>
    order.by === "rendered_map_index" ? [order, { by: "map_index", descending: order.descending }] : [order],
  );
}
