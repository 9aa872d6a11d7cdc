import { fromJsonText, type JsonText, type JsonValue } from "../kit/json-text.ts";
import type { DagGraph, SerializedTimetable, TaskNode } from "./dag-graph.ts";
import { reachableWeights, topologicalOrder } from "./graph-order.ts";
import { parseTaskGroups } from "./serialized-task-group.ts";
import { parseParams, parseTask } from "./serialized-task.ts";
import {
  flagOr,
  instantOrNull,
  isObject,
  listOf,
  numberOr,
  objectOf,
  textOr,
  textsOf,
  type JsonObject,
} from "./serialized-value.ts";

/**
 * Reads what Airflow's `DagSerialization.to_dict` wrote (format 3; 1 and 2 too), with schema and client defaults applied and
 * what Airflow derives after loading: upstream edges, places in groups, total weights. Throws RangeError on anything else.
 */
export function parseSerializedDag(serialized: JsonText | object): DagGraph {
  const whole = (typeof serialized === "string" ? fromJsonText(serialized) : serialized) as JsonValue;
  if (!isObject(whole) || !isObject(whole["dag"])) throw new RangeError("not a serialized DAG");
  const version = whole["__version"];
  if (version !== 1 && version !== 2 && version !== 3) {
    throw new RangeError(`a serialized DAG of format ${JSON.stringify(version ?? null)}; known are 1, 2 and 3`);
  }
  const dag = version === 1 ? upgradeFormat1(whole["dag"]) : whole["dag"];
  const clientDefaults = objectOf(objectOf(whole["client_defaults"])["tasks"]);

  const dagId = textOr(dag["dag_id"], null);
  if (dagId === null) throw new RangeError("the serialized DAG has no dag_id");
  const encodedTasks = (Array.isArray(dag["tasks"]) ? dag["tasks"] : []).map(objectOf);
  const groups = parseTaskGroups(
    dag["task_group"],
    encodedTasks.map((task) => textOr(task["task_id"], "")),
  );
  const startDate = instantOrNull(dag["start_date"]);
  const endDate = instantOrNull(dag["end_date"]);
  const tasks = new Map<string, TaskNode>();
  for (const encoded of encodedTasks) {
    const place = groups.placeOf(textOr(encoded["task_id"], ""));
    const task = parseTask(encoded, { clientDefaults, place, startDate, endDate });
    tasks.set(task.taskId, task);
  }
  connect(tasks);
  const order = topologicalOrder(dagId, tasks);
  weigh(tasks, order, objectOf(objectOf(whole["leoflow"])["weights"]));
  const nodes = [...tasks.values()];

  return {
    dagId,
    dagDisplayName: textOr(dag["dag_display_name"], "") || dagId,
    description: textOr(dag["description"], null),
    docMd: textOr(dag["doc_md"], null),
    tags: [...textsOf(dag["tags"])].sort(),
    owners: [...new Set(nodes.map((task) => task.owner))].join(", "),
    timezone: timezoneOf(dag["timezone"]),
    startDate,
    endDate,
    catchup: flagOr(dag["catchup"], false),
    maxActiveTasks: numberOr(dag["max_active_tasks"], numberOr(dag["_concurrency"], 16)),
    maxActiveRuns: "max_active_runs" in dag ? numberOr(dag["max_active_runs"], null) : 16,
    maxConsecutiveFailedDagRuns: numberOr(dag["max_consecutive_failed_dag_runs"], 0),
    dagrunTimeoutSeconds: numberOr(dag["dagrun_timeout"], null),
    failFast: flagOr(dag["fail_fast"], false),
    isPausedUponCreation: flagOr(dag["is_paused_upon_creation"], null),
    renderTemplateAsNativeObj: flagOr(dag["render_template_as_native_obj"], false),
    orientation: textOr(dag["orientation"], "LR"),
    allowedRunTypes: Array.isArray(dag["allowed_run_types"]) ? textsOf(dag["allowed_run_types"]) : null,
    timetable: timetableOf(dag["timetable"]),
    params: parseParams(dag["params"]),
    tasks,
    topologicalOrder: order,
    root: groups.root,
    edgeInfo: objectOf(dag["edge_info"]) as DagGraph["edgeInfo"],
    hasOnSuccessCallback: flagOr(dag["has_on_success_callback"], false),
    hasOnFailureCallback: flagOr(dag["has_on_failure_callback"], false),
    hasDeadlines: listOf(dag["deadline"]).length > 0,
    hasTaskConcurrencyLimits: nodes.some(
      (task) => task.maxActiveTisPerDag !== null || task.maxActiveTisPerDagrun !== null,
    ),
    ownerLinks: Object.fromEntries(
      Object.entries(objectOf(dag["owner_links"])).map(([owner, link]) => [owner, textOr(link, "")]),
    ),
    fileloc: textOr(dag["fileloc"], ""),
  };
}

/** Gives tasks their upstream edges. */
function connect(tasks: ReadonlyMap<string, TaskNode>): void {
  const upstream = new Map<string, string[]>();
  for (const task of tasks.values()) {
    for (const below of task.downstream) {
      if (!tasks.has(below)) throw new RangeError(`the task ${task.taskId} names an unknown task ${below} downstream`);
      const above = upstream.get(below);
      if (above) above.push(task.taskId);
      else upstream.set(below, [task.taskId]);
    }
  }
  for (const [taskId, above] of upstream) (tasks.get(taskId) as TaskNode).upstream = above;
}

const INT32 = 2 ** 31;

/** Airflow keeps the sum within 32 bits (`db_safe_priority`). `own`: what strategies of the user's own said when it was parsed. */
function weigh(tasks: Map<string, TaskNode>, order: readonly string[], own: JsonObject): void {
  const node = (id: string): TaskNode => tasks.get(id) as TaskNode;
  const weight = (id: string): number => node(id).priorityWeight;
  const rules = new Set([...tasks.values()].map((task) => ruleOf(task)));
  const downstream = rules.has("downstream")
    ? reachableWeights(order.toReversed(), (id) => node(id).downstream, weight)
    : null;
  const upstream = rules.has("upstream") ? reachableWeights(order, (id) => node(id).upstream, weight) : null;
  for (const task of tasks.values()) {
    const sums = ruleOf(task) === "downstream" ? downstream : ruleOf(task) === "upstream" ? upstream : null;
    const total = Math.trunc(sums?.get(task.taskId) ?? numberOr(own[task.taskId], task.priorityWeight));
    task.priorityWeightTotal = Math.max(-INT32, Math.min(INT32 - 1, total));
  }
}

function ruleOf(task: TaskNode): string {
  if (task.weightRule.endsWith("._DownstreamPriorityWeightStrategy")) return "downstream";
  return task.weightRule.endsWith("._UpstreamPriorityWeightStrategy") ? "upstream" : task.weightRule;
}

/** An IANA name, or an offset in seconds for fixed zones. */
function timezoneOf(value: JsonValue | undefined): string {
  if (typeof value === "number") return String(value);
  return textOr(value, "UTC");
}

function timetableOf(value: JsonValue | undefined): SerializedTimetable {
  if (!isObject(value)) return { type: "airflow.timetables.simple.NullTimetable", data: {} };
  return { type: textOr(value["__type"], ""), data: objectOf(value["__var"]) };
}

/** Format 1 is Airflow 2's: private names on the DAG, datasets for assets, schedule_interval for some timetables. */
function upgradeFormat1(dag: JsonObject): JsonObject {
  const upgraded: JsonObject = { ...dag };
  for (const [former, current] of [
    ["_dag_id", "dag_id"],
    ["_task_group", "task_group"],
  ] as const) {
    if (former in upgraded) upgraded[current] = upgraded[former] ?? null;
  }
  if (isObject(upgraded["timetable"])) {
    const text = JSON.stringify(upgraded["timetable"])
      .replaceAll(/Dataset(?=[A-Z])/g, "Asset")
      .replaceAll("dataset", "asset");
    upgraded["timetable"] = JSON.parse(text) as JsonValue;
  } else {
    upgraded["timetable"] = timetableOfInterval(upgraded["schedule_interval"], timezoneOf(upgraded["timezone"]));
  }
  return upgraded;
}

function timetableOfInterval(interval: JsonValue | undefined, timezone: string): JsonObject {
  const made = (name: string, data: JsonObject = {}): JsonObject => ({
    __type: `airflow.timetables.${name}`,
    __var: data,
  });
  if (interval === "@once") return made("simple.OnceTimetable");
  if (interval === "@continuous") return made("simple.ContinuousTimetable");
  if (typeof interval === "string") {
    return made("trigger.CronTriggerTimetable", {
      expression: interval,
      timezone,
      interval: 0,
      run_immediately: false,
    });
  }
  if (isObject(interval)) return made("trigger.DeltaTriggerTimetable", { delta: interval["__var"] ?? 0, interval: 0 });
  return made("simple.NullTimetable");
}
