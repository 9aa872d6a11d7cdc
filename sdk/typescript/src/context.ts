import { SupervisorError, type Message, type Supervisor } from "./supervisor.ts";

/** What a task is given. */
export interface TaskContext {
  readonly dagId: string;
  readonly runId: string;
  readonly taskId: string;
  /** -1 for a task that is not mapped. */
  readonly mapIndex: number;
  /** From 1. */
  readonly tryNumber: number;
  /** Id of this try. */
  readonly taskInstanceId: string;
  readonly dagRun: DagRun;
  /** null for runs without one. */
  readonly logicalDate: Date | null;
  /** The DAG's params with the run's conf over them. */
  readonly params: Readonly<Record<string, unknown>>;
  readonly xcom: XCom;
  readonly variables: Variables;
  readonly connections: Connections;
  readonly log: Log;
  /** Aborted when the try is to end: hand it to `fetch`, timers, child processes. */
  readonly signal: AbortSignal;
}

export interface DagRun {
  readonly runType: string;
  readonly conf: Readonly<Record<string, unknown>>;
  readonly runAfter: Date;
  readonly startDate: Date | null;
  readonly dataIntervalStart: Date | null;
  readonly dataIntervalEnd: Date | null;
  readonly triggeringUser: string | null;
}

export interface XComSource {
  key?: string;
  /** Of a mapped task. */
  mapIndex?: number;
  dagId?: string;
  runId?: string;
  /** Look in runs of earlier logical dates too. */
  includePriorDates?: boolean;
}

export interface XCom {
  /** A value of another task of this run, its return value unless a key is given; null where there is none. */
  pull<T = unknown>(taskId: string, from?: XComSource): Promise<T | null>;
  /** The values of all instances of a mapped task, by map index. */
  pullAll<T = unknown>(taskId: string, from?: Pick<XComSource, "key" | "dagId" | "runId">): Promise<T[]>;
  push(key: string, value: unknown): Promise<void>;
}

export interface Variables {
  /** Throws where there is none, unless there is a fallback. */
  get(key: string): Promise<string>;
  get<F>(key: string, fallback: F): Promise<string | F>;
  /** The same for one that holds JSON. */
  getJson<T = unknown>(key: string): Promise<T>;
  getJson<T, F>(key: string, fallback: F): Promise<T | F>;
  set(key: string, value: string, description?: string): Promise<void>;
  delete(key: string): Promise<void>;
}

export interface Connection {
  readonly id: string;
  readonly type: string;
  readonly host: string | null;
  readonly port: number | null;
  readonly login: string | null;
  readonly password: string | null;
  readonly schema: string | null;
  /** Parsed; empty where it holds none. */
  readonly extra: Readonly<Record<string, unknown>>;
}

export interface Connections {
  /** Throws where there is none. Password and secrets of `extra` are masked in the log from then on. */
  get(id: string): Promise<Connection>;
}

/** `error` is shown with its stack and causes. */
export interface LogFields {
  error?: unknown;
  [field: string]: unknown;
}

type Say = (event: string, fields?: LogFields) => void;

export interface Log {
  debug: Say;
  info: Say;
  warning: Say;
  error: Say;
  critical: Say;
}

/** What Python's task runner reads from the DAG file. */
export interface TaskFacts {
  params?: Record<string, unknown>;
  timeoutSeconds?: number | null;
  outlets?: { name: string; uri: string }[];
}

/** Airflow's, of which only what is used is named. */
export interface StartupDetails extends Message {
  readonly ti: {
    id: string;
    task_id: string;
    dag_id: string;
    run_id: string;
    try_number: number;
    map_index?: number | null;
  };
  readonly ti_context: {
    should_retry?: boolean;
    xcom_keys_to_clear?: string[] | null;
    dag_run: {
      run_type: string;
      conf?: Record<string, unknown> | null;
      triggering_user_name?: string | null;
      [time: string]: unknown;
    };
  };
}

interface Surroundings {
  supervisor: Pick<Supervisor, "ask">;
  log: Log;
  signal: AbortSignal;
  facts: TaskFacts;
}

export function contextOf(
  { ti, ti_context: { dag_run: run } }: StartupDetails,
  { supervisor, log, signal, facts }: Surroundings,
): TaskContext {
  const conf = run.conf ?? {};
  const own = { dag_id: ti.dag_id, run_id: ti.run_id, task_id: ti.task_id, map_index: ti.map_index ?? -1 };
  return {
    dagId: ti.dag_id,
    runId: ti.run_id,
    taskId: ti.task_id,
    mapIndex: own.map_index,
    tryNumber: ti.try_number,
    taskInstanceId: ti.id,
    logicalDate: dateOf(run["logical_date"]),
    params: { ...facts.params, ...conf },
    dagRun: {
      runType: run.run_type,
      conf,
      runAfter: dateOf(run["run_after"]) ?? new Date(0),
      startDate: dateOf(run["start_date"]),
      dataIntervalStart: dateOf(run["data_interval_start"]),
      dataIntervalEnd: dateOf(run["data_interval_end"]),
      triggeringUser: run.triggering_user_name ?? null,
    },
    xcom: xcomOf(supervisor, own),
    variables: variablesOf(supervisor),
    connections: connectionsOf(supervisor),
    log,
    signal,
  };
}

interface OwnXCom {
  dag_id: string;
  run_id: string;
  task_id: string;
  map_index: number;
}

function xcomOf(supervisor: Pick<Supervisor, "ask">, own: OwnXCom): XCom {
  const at = (taskId: string, { key = "return_value", dagId = own.dag_id, runId = own.run_id }: XComSource) => ({
    key,
    dag_id: dagId,
    run_id: runId,
    task_id: taskId,
  });
  return {
    async pull<T>(taskId: string, from: XComSource = {}) {
      const { mapIndex = -1, includePriorDates = false } = from;
      const where = { ...at(taskId, from), map_index: mapIndex, include_prior_dates: includePriorDates };
      return ((await supervisor.ask({ type: "GetXCom", ...where }))?.["value"] ?? null) as T | null;
    },
    async pullAll<T>(taskId: string, from: XComSource = {}) {
      const slice = { start: null, stop: null, step: null, include_prior_dates: false };
      const found = await supervisor.ask({ type: "GetXComSequenceSlice", ...at(taskId, from), ...slice });
      return (found?.["root"] ?? []) as T[];
    },
    async push(key, value) {
      await supervisor.ask({ type: "SetXCom", key, value: value ?? null, ...own });
    },
  };
}

function variablesOf(supervisor: Pick<Supervisor, "ask">): Variables {
  async function get(key: string, ...fallback: unknown[]): Promise<unknown> {
    try {
      return (await supervisor.ask({ type: "GetVariable", key }))?.["value"];
    } catch (error) {
      if (fallback.length === 0 || !isCode(error, "VARIABLE_NOT_FOUND")) throw error;
      return fallback[0];
    }
  }
  const missing = Symbol("missing");
  return {
    get: get as Variables["get"],
    getJson: async (key: string, ...fallback: unknown[]) => {
      const text = fallback.length === 0 ? await get(key) : await get(key, missing);
      return text === missing ? fallback[0] : (JSON.parse(text as string) as unknown);
    },
    async set(key, value, description) {
      await supervisor.ask({ type: "PutVariable", key, value, description: description ?? null });
    },
    async delete(key) {
      await supervisor.ask({ type: "DeleteVariable", key });
    },
  };
}

function connectionsOf(supervisor: Pick<Supervisor, "ask">): Connections {
  return {
    async get(id) {
      const found = (await supervisor.ask({ type: "GetConnection", conn_id: id })) as Message;
      const { conn_id, conn_type, host, port, login, password, schema, extra } = found as Record<string, unknown>;
      return {
        id: conn_id,
        type: conn_type,
        host: host ?? null,
        port: port ?? null,
        login: login ?? null,
        password: password ?? null,
        schema: schema ?? null,
        extra: typeof extra === "string" && extra !== "" ? (JSON.parse(extra) as object) : {},
      } as Connection;
    },
  };
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof SupervisorError && error.code === code;
}

/** Airflow sends times as msgpack's own, Leoflow as text. */
function dateOf(value: unknown): Date | null {
  if (value instanceof Date) return value;
  return typeof value === "string" ? new Date(value) : null;
}
