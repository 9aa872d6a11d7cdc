import type { Client } from "../../bench/client.ts";
import { captureConsumed, captureWaiting, withFixedIds, type WaitingOutcome } from "./asset-outcome.ts";

/** What came of a DAG's scenario, without what differs between two runs of the same server. */
export interface DagOutcome {
  dag: string;
  isPaused: boolean;
  runs: RunOutcome[];
  /** Of DAGs that wait for assets: how many were updated since, and the partitions that wait. */
  waits?: WaitingOutcome;
}

export interface RunOutcome {
  run: string;
  type: string;
  state: string;
  /** Only of scheduled runs, and of those that were given a date: [logical date, data interval start, end]. */
  dates?: (string | null)[];
  /** Of one partition: its key and its date. */
  partition?: (string | null)[];
  /** The events of assets that made it. */
  consumed?: unknown[];
  conf?: unknown;
  /** `task[map index]` → "state try/max_tries" and, when there is one, the rendered map index. */
  tasks: Record<string, string>;
  /** `task[map index]` → key → value. */
  xcoms?: Record<string, Record<string, unknown>>;
}

interface Run {
  dag_run_id: string;
  run_type: string;
  state: string;
  conf: Record<string, unknown> | null;
  logical_date: string | null;
  data_interval_start: string | null;
  data_interval_end: string | null;
  partition_key?: string | null;
  partition_date?: string | null;
}

interface TaskInstance {
  task_id: string;
  map_index: number;
  state: string | null;
  try_number: number;
  max_tries: number;
  rendered_map_index: string | null;
}

interface XCom {
  key: string;
  task_id: string;
  map_index: number;
}

const PAGE = 100;
const XCOMS_AT_A_TIME = 4;

export async function captureDag(client: Client, dagId: string): Promise<DagOutcome> {
  const { is_paused: isPaused } = (await client.call("GET", `/api/v2/dags/${dagId}`)) as { is_paused: boolean };
  const runs = await pages<Run>(client, `/api/v2/dags/${dagId}/dagRuns?order_by=id`, "dag_runs");
  const outcomes = [];
  for (const run of runs) outcomes.push(await captureRun(client, dagId, run));
  const waits = await captureWaiting(client, dagId);
  return { dag: dagId, isPaused, runs: withFixedIds(outcomes).sort((a, b) => (a.run < b.run ? -1 : 1)), ...waits };
}

async function captureRun(client: Client, dagId: string, run: Run): Promise<RunOutcome> {
  const path = runPath(dagId, run.dag_run_id);
  const instances = await pages<TaskInstance>(client, `${path}/taskInstances`, "task_instances");
  const tasks: Record<string, string> = {};
  for (const ti of instances) {
    const label = ti.rendered_map_index === null ? "" : ` ${JSON.stringify(ti.rendered_map_index)}`;
    tasks[nameOf(ti)] = `${ti.state} ${ti.try_number}/${ti.max_tries}${label}`;
  }
  const xcoms = await captureXComs(client, path);
  return {
    run: run.dag_run_id,
    type: run.run_type,
    state: run.state,
    ...(run.run_type === "scheduled"
      ? { dates: [run.logical_date, run.data_interval_start, run.data_interval_end].map(plainDate) }
      : {}),
    ...(run.partition_key == null ? {} : { partition: [run.partition_key, plainDate(run.partition_date ?? null)] }),
    ...(run.run_type === "asset_triggered" ? { consumed: await captureConsumed(client, path) } : {}),
    ...(run.conf && Object.keys(run.conf).length > 0 ? { conf: run.conf } : {}),
    tasks: sorted(tasks),
    ...(Object.keys(xcoms).length > 0 ? { xcoms } : {}),
  };
}

async function captureXComs(client: Client, path: string): Promise<Record<string, Record<string, unknown>>> {
  const entries = await pages<XCom>(client, `${path}/taskInstances/~/xcomEntries`, "xcom_entries");
  const xcoms: Record<string, Record<string, unknown>> = {};
  const queue = [...entries];
  const worker = async () => {
    for (let entry = queue.shift(); entry !== undefined; entry = queue.shift()) {
      const one = `${path}/taskInstances/${entry.task_id}/xcomEntries/${encodeURIComponent(entry.key)}`;
      const answer = (await client.call("GET", `${one}?map_index=${entry.map_index}&deserialize=false`)) as {
        value: unknown;
      };
      (xcoms[nameOf(entry)] ??= {})[entry.key] = plainXCom(entry.key, answer.value);
    }
  };
  await Promise.all(Array.from({ length: XCOMS_AT_A_TIME }, worker));
  return sorted(Object.fromEntries(Object.entries(xcoms).map(([name, values]) => [name, sorted(values)])));
}

/** A branch leaves the tasks it follows in the order of a Python set, which differs from process to process. */
function plainXCom(key: string, value: unknown): unknown {
  if (key !== "skipmixin_key") return value;
  const lists = Object.entries(value as Record<string, string[]>);
  return Object.fromEntries(lists.map(([name, tasks]) => [name, tasks.toSorted()]));
}

/** All pages of a listing. */
export async function pages<T>(client: Client, path: string, field: string): Promise<T[]> {
  const found: T[] = [];
  for (;;) {
    const page = `${path}${path.includes("?") ? "&" : "?"}limit=${PAGE}&offset=${found.length}`;
    const answer = (await client.call("GET", page)) as Record<string, unknown>;
    const rows = answer[field] as T[];
    found.push(...rows);
    if (rows.length < PAGE) return found;
  }
}

export function runPath(dagId: string, runId: string): string {
  return `/api/v2/dags/${dagId}/dagRuns/${encodeURIComponent(runId)}`;
}

function nameOf({ task_id: task, map_index: index }: { task_id: string; map_index: number }): string {
  return index < 0 ? task : `${task}[${index}]`;
}

function plainDate(text: string | null): string | null {
  return text === null ? null : new Date(text).toISOString().replace(".000Z", "Z");
}

function sorted<T>(record: Record<string, T>): Record<string, T> {
  return Object.fromEntries(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)));
}
