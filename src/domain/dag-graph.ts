import type { Instant } from "../kit/instant.ts";
import type { JsonText, JsonValue } from "../kit/json-text.ts";
import type { TriggerRule } from "./states.ts";

/**
 * A DAG version as the control plane knows it: Airflow's serialized DAG (format 3) with defaults applied and edges in both
 * directions. Immutable, shared by all runs of the version. Made by `parseSerializedDag`.
 */
export interface DagGraph {
  dagId: string;
  dagDisplayName: string;
  description: string | null;
  docMd: string | null;
  tags: readonly string[];
  owners: string;
  timezone: string;
  startDate: Instant | null;
  endDate: Instant | null;
  catchup: boolean;
  maxActiveTasks: number;
  /** null: no limit. */
  maxActiveRuns: number | null;
  maxConsecutiveFailedDagRuns: number;
  dagrunTimeoutSeconds: number | null;
  failFast: boolean;
  isPausedUponCreation: boolean | null;
  renderTemplateAsNativeObj: boolean;
  orientation: string;
  allowedRunTypes: readonly string[] | null;
  /** The timetable as serialized: `{ "__type": import path, "__var": {...} }`. */
  timetable: SerializedTimetable;
  params: readonly DagParam[];
  tasks: ReadonlyMap<string, TaskNode>;
  /** Task ids, upstream before downstream, ties in the DAG's own order. */
  topologicalOrder: readonly string[];
  root: TaskGroupNode;
  edgeInfo: Readonly<Record<string, Readonly<Record<string, { label?: string }>>>>;
  hasOnSuccessCallback: boolean;
  hasOnFailureCallback: boolean;
  hasDeadlines: boolean;
  hasTaskConcurrencyLimits: boolean;
  ownerLinks: Readonly<Record<string, string>>;
  /** The DAG's file when it was serialized. */
  fileloc: string;
}

export interface SerializedTimetable {
  type: string;
  data: Record<string, JsonValue>;
}

/** A parameter by name, as Airflow's APIs show it. */
export type DagParam = readonly [
  name: string,
  param: {
    /** Its default; null when it has none. */
    value: JsonValue;
    schema: JsonValue;
    description: string | null;
    source: string | null;
  },
  hasValue: boolean,
];

export interface TaskNode {
  taskId: string;
  /** Without the prefix of its groups. */
  label: string;
  displayName: string;
  taskType: string;
  taskModule: string;
  operatorName: string;
  upstream: readonly string[];
  downstream: readonly string[];
  triggerRule: TriggerRule;
  retries: number;
  retryDelaySeconds: number;
  /** false/0: constant delay; otherwise the multiplier (true is 2.0). */
  retryExponentialBackoff: number;
  maxRetryDelaySeconds: number | null;
  hasRetryPolicy: boolean;
  hasOnFailureCallback: boolean;
  hasOnRetryCallback: boolean;
  /** In which case Airflow writes to whom the task names. */
  emailOnFailure: boolean;
  emailOnRetry: boolean;
  executionTimeoutSeconds: number | null;
  dependsOnPast: boolean;
  waitForDownstream: boolean;
  ignoreFirstDependsOnPast: boolean;
  waitForPastDependsBeforeSkipping: boolean;
  pool: string;
  poolSlots: number;
  queue: string;
  executor: string | null;
  executorConfig: JsonText | null;
  priorityWeight: number;
  weightRule: string;
  /** By the weight rule over the whole graph. */
  priorityWeightTotal: number;
  maxActiveTisPerDag: number | null;
  maxActiveTisPerDagrun: number | null;
  startDate: Instant | null;
  endDate: Instant | null;
  owner: string;
  docMd: string | null;
  isSetup: boolean;
  isTeardown: boolean;
  onFailureFailDagrun: boolean;
  /** EmptyOperator without callbacks, inlets or outlets: succeeds without a process. */
  inheritsFromEmptyOperator: boolean;
  inheritsFromSkipMixin: boolean;
  isSensor: boolean;
  startFromTrigger: boolean;
  hasOutlets: boolean;
  hasInlets: boolean;
  /** Set on mapped operators. */
  expandInput: ExpandInput | null;
  /** Ids of the mapped task groups around it, outermost first. */
  mappedGroups: readonly string[];
  /** Ids of all groups around it, outermost first. */
  groups: readonly string[];
  templateFields: readonly string[];
  uiColor: string;
  uiFgcolor: string;
  params: readonly DagParam[];
  mapIndexTemplate: string | null;
  operatorExtraLinks: Readonly<Record<string, string>>;
}

/** What an expand() iterates over. Lengths come from literals here, or from task_map rows of the tasks referred to. */
export interface ExpandInput {
  kind: "dict-of-lists" | "list-of-dicts";
  sources: readonly { key: string; source: MapSource }[];
}

export type MapSource =
  | { kind: "literal"; length: number; keys: readonly string[] | null }
  /** plain, mapped, zipped or concatenated XCom references: see lengthOfSource. */
  | { kind: "xcom"; taskId: string; key: string }
  | { kind: "map"; of: MapSource }
  | { kind: "filter"; of: MapSource }
  | { kind: "zip"; of: readonly MapSource[]; fillvalue: boolean }
  | { kind: "concat"; of: readonly MapSource[] }
  | { kind: "unknown"; description: string };

export interface TaskGroupNode {
  /** null for the root group. */
  groupId: string | null;
  label: string;
  displayName: string;
  prefixGroupId: boolean;
  tooltip: string;
  docMd: string | null;
  uiColor: string;
  uiFgcolor: string;
  /** By child id, as Airflow sorts them. */
  children: readonly ({ kind: "task"; taskId: string } | { kind: "group"; group: TaskGroupNode })[];
  upstreamGroupIds: readonly string[];
  downstreamGroupIds: readonly string[];
  upstreamTaskIds: readonly string[];
  downstreamTaskIds: readonly string[];
  /** Set on mapped task groups. */
  expandInput: ExpandInput | null;
}
