import { toJsonText, type JsonValue } from "../kit/json-text.ts";
import type { DagParam, TaskNode } from "./dag-graph.ts";
import { parseExpandInput } from "./serialized-expand-input.ts";
import type { TaskPlace } from "./serialized-task-group.ts";
import {
  decodeValue,
  flagOr,
  instantOrNull,
  isObject,
  listOf,
  numberOr,
  objectOf,
  textOr,
  textsOf,
  unwrap,
  type JsonObject,
} from "./serialized-value.ts";
import { TRIGGER_RULES, type TriggerRule } from "./states.ts";

/** What a task takes from its DAG. */
export interface TaskSurroundings {
  clientDefaults: JsonObject;
  place: TaskPlace;
  startDate: TaskNode["startDate"];
  endDate: TaskNode["endDate"];
}

/** Fields a task had under other names in serialization formats 1 and 2. */
const FORMER_NAMES = [
  ["task_display_name", "_task_display_name"],
  ["_downstream_task_ids", "downstream_task_ids"],
  ["_task_type", "task_type"],
  ["_outlets", "outlets"],
  ["_inlets", "inlets"],
  ["_on_failure_fail_dagrun", "on_failure_fail_dagrun"],
] as const;

/**
 * Reads one operator. A mapped operator keeps most fields in `partial_kwargs`; client defaults come before the schema's,
 * as in `OperatorSerialization.populate_operator`. Upstream edges and the total weight are filled in by the caller.
 */
export function parseTask(encoded: JsonObject, around: TaskSurroundings): TaskNode {
  const { clientDefaults, place } = around;
  const own = withCurrentNames({ ...clientDefaults, ...encoded });
  const mapped = own["_is_mapped"] === true;
  const partial = mapped ? withCurrentNames({ ...clientDefaults, ...objectOf(own["partial_kwargs"]) }) : {};
  const field = (name: string): JsonValue | undefined => (name in partial ? partial[name] : own[name]);

  const taskId = textOr(own["task_id"], "");
  const taskType = textOr(own["task_type"], "BaseOperator");
  const expandInput = mapped
    ? parseExpandInput(own[textOr(own["_expand_input_attr"], "expand_input")] ?? own["expand_input"])
    : null;
  const hasOutlets = listOf(field("outlets")).length > 0;
  const hasInlets = listOf(field("inlets")).length > 0;
  const runsForItsCallbacks =
    flagOr(field("has_on_execute_callback"), false) || flagOr(field("has_on_success_callback"), false);
  const hasEmail = textOr(field("email"), "") !== "" || listOf(field("email")).length > 0;

  const priorityWeight = numberOr(field("priority_weight"), 1);
  return {
    taskId,
    label: taskId.startsWith(place.prefix) ? taskId.slice(place.prefix.length) : taskId,
    displayName: textOr(field("_task_display_name"), "") || taskId,
    taskType,
    taskModule: textOr(own["_task_module"], ""),
    operatorName: textOr(own["_operator_name"], taskType),
    upstream: [],
    downstream: textsOf(own["downstream_task_ids"]),
    triggerRule: triggerRuleOf(field("trigger_rule")),
    retries: numberOr(field("retries"), 0),
    retryDelaySeconds: numberOr(field("retry_delay"), 300),
    retryExponentialBackoff: multiplierOf(field("retry_exponential_backoff")),
    maxRetryDelaySeconds: numberOr(field("max_retry_delay"), null),
    hasRetryPolicy: flagOr(field("has_retry_policy"), false),
    hasOnFailureCallback: flagOr(field("has_on_failure_callback"), false),
    hasOnRetryCallback: flagOr(field("has_on_retry_callback"), false),
    emailOnFailure: hasEmail && flagOr(field("email_on_failure"), true),
    emailOnRetry: hasEmail && flagOr(field("email_on_retry"), true),
    executionTimeoutSeconds: numberOr(field("execution_timeout"), null),
    dependsOnPast: flagOr(field("depends_on_past"), false),
    waitForDownstream: flagOr(field("wait_for_downstream"), false),
    ignoreFirstDependsOnPast: flagOr(field("ignore_first_depends_on_past"), false),
    waitForPastDependsBeforeSkipping: flagOr(field("wait_for_past_depends_before_skipping"), false),
    pool: textOr(field("pool"), "default_pool"),
    poolSlots: numberOr(field("pool_slots"), 1),
    queue: textOr(field("queue"), "default"),
    executor: textOr(field("executor"), null),
    executorConfig: executorConfigOf(field("executor_config")),
    priorityWeight,
    priorityWeightTotal: priorityWeight,
    weightRule: textOr(field("weight_rule"), "downstream") || "downstream",
    maxActiveTisPerDag: numberOr(field("max_active_tis_per_dag"), null),
    maxActiveTisPerDagrun: numberOr(field("max_active_tis_per_dagrun"), null),
    startDate: instantOrNull(own["start_date"]) ?? around.startDate,
    endDate: instantOrNull(own["end_date"]) ?? around.endDate,
    owner: textOr(field("owner"), "airflow"),
    docMd: textOr(field("doc_md"), null),
    isSetup: flagOr(field("is_setup"), false),
    isTeardown: flagOr(field("is_teardown"), false),
    onFailureFailDagrun: flagOr(field("on_failure_fail_dagrun"), false),
    inheritsFromEmptyOperator: flagOr(own["_is_empty"], false) && !runsForItsCallbacks && !hasOutlets && !hasInlets,
    inheritsFromSkipMixin: flagOr(own["_can_skip_downstream"], false),
    isSensor: flagOr(own["_is_sensor"], false),
    startFromTrigger: flagOr(own["start_from_trigger"], false) && isObject(own["start_trigger_args"]),
    hasOutlets,
    hasInlets,
    expandInput,
    mappedGroups: place.mappedGroups,
    groups: place.groups,
    templateFields: textsOf(own["template_fields"]),
    uiColor: textOr(own["ui_color"], "#fff"),
    uiFgcolor: textOr(own["ui_fgcolor"], "#000"),
    params: parseParams(own["params"]),
    mapIndexTemplate: textOr(field("map_index_template"), null),
    operatorExtraLinks: extraLinksOf(own["_operator_extra_links"]),
  };
}

function withCurrentNames(fields: JsonObject): JsonObject {
  for (const [former, current] of FORMER_NAMES) {
    if (!(former in fields)) continue;
    fields[current] = fields[former] ?? null;
    delete fields[former];
  }
  return fields;
}

function triggerRuleOf(value: JsonValue | undefined): TriggerRule {
  const text = textOr(value, "all_success");
  const rule = TRIGGER_RULES.find((known) => known === text);
  if (!rule) throw new RangeError(`unknown trigger rule ${JSON.stringify(text)}`);
  return rule;
}

function multiplierOf(value: JsonValue | undefined): number {
  const content = unwrap(value);
  if (typeof content === "boolean") return content ? 2 : 0;
  return typeof content === "number" ? content : 0;
}

function executorConfigOf(value: JsonValue | undefined): TaskNode["executorConfig"] {
  const plain = value === undefined ? null : decodeValue(value);
  return isObject(plain ?? undefined) && Object.keys(objectOf(plain ?? undefined)).length > 0
    ? toJsonText(plain)
    : null;
}

function extraLinksOf(value: JsonValue | undefined): Record<string, string> {
  const links = Object.entries(objectOf(value));
  return Object.fromEntries(links.filter((link): link is [string, string] => typeof link[1] === "string"));
}

function isNotSet(value: JsonValue | undefined): boolean {
  return isObject(value) && (value["__type"] === "arg_not_set" || value["__type"] === "NOTSET");
}

/** Reads `params` of a DAG or a task; up to Airflow 2.9.2 they were an object, and values stood there bare. */
export function parseParams(value: JsonValue | undefined): DagParam[] {
  const pairs = Array.isArray(value)
    ? value.filter((pair): pair is [string, JsonValue] => Array.isArray(pair) && typeof pair[0] === "string")
    : Object.entries(objectOf(value));
  return pairs.map(([name, param]): DagParam => {
    if (!isObject(param) || !("__class" in param)) {
      return [name, { value: decodeValue(param), schema: {}, description: null, source: null }, true];
    }
    return [
      name,
      {
        value: decodeValue(param["default"] ?? null),
        schema: decodeValue(param["schema"] ?? {}) ?? {},
        description: textOr(param["description"], null),
        source: textOr(param["source"], null),
      },
      "default" in param && !isNotSet(param["default"]),
    ];
  });
}
