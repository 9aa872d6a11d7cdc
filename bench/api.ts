import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { resolvePaths } from "../src/lite/paths.ts";
import { airflowPython, startAirflow } from "../test/conformance/airflow.ts";
import { prepareSharedHome } from "../test/support/home.ts";
import { createLiteHome } from "../test/support/lite.ts";
import { sleep, type Client } from "./client.ts";
import { onDatastore, printTable } from "./filled-home.ts";
import { memoryMb } from "./processes.ts";

declare const SCRIPT_FOLDER: string;

// How long the lists and grids of the UI take to answer: 1,000 DAGs, 200 runs of a DAG of 1,000 tasks, a million task instances.

const DAGS = `from datetime import datetime
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

for number in range(999):
    with DAG(f"dag_{number:03}", schedule=None, start_date=datetime(2024, 1, 1), tags=[f"team_{number % 20}"]):
        [EmptyOperator(task_id=f"task_{each}") for each in range(10)]
with DAG("wide", schedule=None, start_date=datetime(2024, 1, 1)):
    layers = [[EmptyOperator(task_id=f"task_{layer * 20 + each}") for each in range(20)] for layer in range(50)]
    for before, after in zip(layers, layers[1:]):
        for one, other in zip(before, after):
            one >> other
`;
const WIDE_RUNS = 200;
const OTHER_RUNS = 80;
const REQUESTS = 200;
/** What takes long is asked less often. */
const MOST_MS = 10_000;
const AT_ONCE = 8;

const FILL = [
  `insert into dag_run (dag_id, run_id, run_type, state, logical_date, data_interval_start, data_interval_end, run_after, queued_at,
     start_date, end_date, conf, dag_version_id)
   select d.dag_id, 'manual__' || to_char(t, 'YYYY-MM-DD"T"HH24:MI:SS+00:00'), 'manual',
     case when extract(hour from t)::integer % 7 = 0 then 'failed' else 'success' end, t, t, t, t, t, t, t + interval '61 min', '{}',
     d.current_version_id
   from dag as d, generate_series(0, case when d.dag_id = 'wide' then ${WIDE_RUNS - 1} else ${OTHER_RUNS - 1} end) as n,
     lateral (select timestamptz '2026-01-01' + n * interval '5 hours' as t) as at`,
  `insert into task_instance (id, dag_run_id, dag_id, task_id, state, try_number, max_tries, task_display_name, operator, queue,
     executor_config, dag_version_id, scheduled_dttm, queued_dttm, start_date, end_date, duration, last_heartbeat_at, hostname, unixname,
     pid, worker_id)
   select gen_random_uuid(), r.id, r.dag_id, 'task_' || i, case when i % 97 = 0 then 'failed' else 'success' end, 1, 1, 'task_' || i,
     'EmptyOperator', 'default', '{}', r.dag_version_id, r.start_date, r.start_date, r.start_date + i * interval '1 s',
     r.start_date + i * interval '3 s', 2.01, r.start_date, 'machine.example.com', 'ana', 4000 + i, 'worker-1'
   from dag_run as r, generate_series(0, case when r.dag_id = 'wide' then 999 else 9 end) as i`,
  `insert into log (dag_id, task_id, event, run_id, owner, dttm)
   select dag_id, task_id, 'success', 'x', 'ana', start_date from task_instance limit 300000`,
  "vacuum analyze",
  "checkpoint",
];

const RUN = "manual__2026-02-11T11:00:00+00:00";
const ofRun = encodeURIComponent(RUN);
/** What the pages of the UI ask, as they ask it. */
const ASKED: readonly [name: string, path: string][] = [
  ["home: statistics", "/ui/dashboard/dag_stats"],
  [
    "home: history of a day",
    "/ui/dashboard/historical_metrics_data?start_date=2026-02-10T00:00:00Z&end_date=2026-02-11T00:00:00Z",
  ],
  ["DAGs, 50 with their runs", "/ui/dags?limit=50&dag_runs_limit=14&order_by=dag_display_name"],
  ["DAGs, searched", "/ui/dags?limit=50&dag_runs_limit=14&dag_display_name_pattern=%2577%25"],
  ["DAGs (REST)", "/api/v2/dags?limit=100"],
  ["grid: structure of 1,000 tasks", "/ui/grid/structure/wide?limit=25&order_by=-run_after"],
  ["grid: runs", "/ui/grid/runs/wide?limit=25&order_by=-run_after"],
  ["grid: a run of 1,000 tasks", `/ui/grid/ti_summaries/wide?run_ids=${ofRun}`],
  ["graph of 1,000 tasks", "/ui/structure/structure_data?dag_id=wide"],
  ["gantt of 1,000 tasks", `/ui/gantt/wide/${ofRun}`],
  [
    "calendar of a year",
    "/ui/calendar/wide?granularity=daily&logical_date_gte=2026-01-01T00:00:00Z&logical_date_lte=2026-12-31T00:00:00Z",
  ],
  ["runs of all DAGs", "/api/v2/dags/~/dagRuns?limit=50&order_by=-run_after"],
  ["runs of all DAGs, failed", "/api/v2/dags/~/dagRuns?limit=50&order_by=-run_after&state=failed"],
  ["runs of a DAG", "/api/v2/dags/wide/dagRuns?limit=50&order_by=-run_after"],
  ["task instances of all", "/api/v2/dags/~/dagRuns/~/taskInstances?limit=50&order_by=-start_date"],
  [
    "task instances of all, failed",
    "/api/v2/dags/~/dagRuns/~/taskInstances?limit=50&order_by=-start_date&state=failed",
  ],
  ["task instances of a run", `/api/v2/dags/wide/dagRuns/${ofRun}/taskInstances?limit=50`],
  [
    "tries of a task over runs",
    "/api/v2/dags/wide/dagRuns/~/taskInstances?task_id=task_7&limit=50&order_by=-start_date",
  ],
  ["tasks of a DAG of 1,000", "/api/v2/dags/wide/tasks"],
  ["audit log", "/api/v2/eventLogs?limit=50&order_by=-when"],
  ["a run", `/api/v2/dags/wide/dagRuns/${ofRun}`],
  ["health", "/api/v2/monitor/health"],
];

/** The same in Airflow's tables. */
const FILL_AIRFLOW = [
  `insert into dag_run (dag_id, run_id, run_type, state, logical_date, data_interval_start, data_interval_end, run_after, queued_at,
     start_date, end_date, conf, created_dag_version_id, clear_number, updated_at, created_at)
   select d.dag_id, 'manual__' || to_char(t, 'YYYY-MM-DD"T"HH24:MI:SS+00:00'), 'manual',
     case when extract(hour from t)::integer % 7 = 0 then 'failed' else 'success' end, t, t, t, t, t, t, t + interval '61 min', '{}',
     v.id, 0, t, t
   from dag as d join dag_version as v on v.dag_id = d.dag_id,
     generate_series(0, case when d.dag_id = 'wide' then ${WIDE_RUNS - 1} else ${OTHER_RUNS - 1} end) as n,
     lateral (select timestamptz '2026-01-01' + n * interval '5 hours' as t) as at`,
  `insert into task_instance (id, run_id, dag_id, task_id, state, try_number, max_tries, task_display_name, operator, queue, pool,
     pool_slots, priority_weight, executor_config, dag_version_id, scheduled_dttm, queued_dttm, start_date, end_date, duration,
     last_heartbeat_at, hostname, unixname, pid, updated_at)
   select gen_random_uuid(), r.run_id, r.dag_id, 'task_' || i, case when i % 97 = 0 then 'failed' else 'success' end, 1, 1, 'task_' || i,
     'EmptyOperator', 'default', 'default_pool', 1, 1, decode('80047d942e', 'hex'), r.created_dag_version_id, r.start_date, r.start_date,
     r.start_date + i * interval '1 s', r.start_date + i * interval '3 s', 2.01, r.start_date, 'machine.example.com', 'ana', 4000 + i,
     r.start_date
   from dag_run as r, generate_series(0, case when r.dag_id = 'wide' then 999 else 9 end) as i`,
  `insert into log (dag_id, task_id, event, run_id, owner, dttm)
   select dag_id, task_id, 'success', 'x', 'ana', start_date from task_instance limit 300000`,
  "vacuum analyze",
];

/** Words of the rows to measure; `--airflow` measures Airflow instead, in the venv that the conformance tests use. */
const wanted = process.argv.slice(2).filter((word) => word !== "--airflow");
if (process.argv.includes("--airflow")) {
  await measureAirflow();
  process.exit(0);
}
await prepareSharedHome();
const home = await createLiteHome([process.execPath, join(SCRIPT_FOLDER, "../bin/leoflow")]);
try {
  writeFileSync(join(home.workspace, "many.py"), DAGS);
  const first = await home.start();
  await untilDags(first.client, 1000);
  await first.stop();
  const database = await onDatastore(resolvePaths(home.home), async ({ database }) => {
    const client = new pg.Client(database);
    await client.connect();
    for (const statement of FILL) await client.query(statement);
    await client.end();
    return database;
  });
  const lite = await home.start();
  await untilDags(lite.client, 1000);
  await measure(lite.client, database);
  console.log(`the server takes ${memoryMb(lite.pid, "Pss").toFixed(0)} MB (PSS)`);
  await lite.stop();
} finally {
  await home.remove();
}

async function measureAirflow(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "leoflow-bench-airflow-"));
  const dags = join(folder, "dags");
  mkdirSync(dags);
  writeFileSync(join(dags, "many.py"), DAGS);
  const airflow = await startAirflow(await airflowPython(), folder, dags, 18580);
  try {
    await untilDags(airflow.client, 1000);
    const client = new pg.Client(airflow.database);
    await client.connect();
    for (const statement of FILL_AIRFLOW) await client.query(statement);
    await client.end();
    await measure(airflow.client, airflow.database);
  } finally {
    await airflow.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function untilDags(client: Client, count: number): Promise<void> {
  for (;;) {
    const { total_entries: total } = (await client.call("GET", "/api/v2/dags?limit=1")) as { total_entries: number };
    if (total >= count) return;
    await sleep(200);
  }
}

/**
 * p50 and p95 of one request after the other, each after a change of the database; then how many answers a second eight at once
 * get, while the database changes a hundred times a second and while it rests.
 */
async function measure(client: Client, database: pg.ClientConfig): Promise<void> {
  const writer = new pg.Client(database);
  await writer.connect();
  const change = () => writer.query("select pg_current_xact_id()");
  const rows: string[][] = [["asked", "p50", "p95", "to reach", "answers/s, changing", "answers/s, at rest", "kB"]];
  for (const [name, path] of ASKED) {
    if (wanted.length > 0 && !wanted.some((word) => name.includes(word))) continue;
    const bytes = JSON.stringify(await client.call("GET", path)).length;
    const times: number[] = [];
    const until = performance.now() + MOST_MS;
    for (let at = 0; at < REQUESTS && (at < 5 || performance.now() < until); at++) {
      await change();
      times.push(await timed(client, path));
    }
    times.sort((a, b) => a - b);
    const [p50 = 0, p95 = 0] = [times[times.length >> 1], times[Math.floor(times.length * 0.95)]];
    const changing = setInterval(() => void change(), 10);
    const busy = await answersPerSecond(client, path);
    clearInterval(changing);
    const rest = await answersPerSecond(client, path);
    rows.push([name, ms(p50), ms(p95), "50 ms", busy.toFixed(0), rest.toFixed(0), (bytes / 1000).toFixed(0)]);
    console.log(rows.at(-1)?.join(" | "));
  }
  await writer.end();
  printTable(rows);
}

async function answersPerSecond(client: Client, path: string): Promise<number> {
  const began = performance.now();
  let answers = 0;
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      while (performance.now() - began < 2000) {
        await client.drain(path);
        answers++;
      }
    }),
  );
  return answers / ((performance.now() - began) / 1000);
}

async function timed(client: Client, path: string): Promise<number> {
  const began = performance.now();
  await client.drain(path);
  return performance.now() - began;
}

function ms(value: number): string {
  return `${value.toFixed(1)} ms`;
}
