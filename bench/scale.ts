// `npm run bench -- scale [CASE …]`: the control plane alone, with an executor that starts nothing: each try succeeds at once.
import { pino } from "pino";
import { EventBus } from "../src/domain/events.ts";
import type { Executor, Workload } from "../src/domain/workload.ts";
import { systemClock } from "../src/kit/clock.ts";
import { RunCreator } from "../src/scheduler/run-creator.ts";
import { Scheduler } from "../src/scheduler/scheduler.ts";
import { VersionCache } from "../src/store/dag-versions.ts";
import { openDatabase, type OpenDatabase } from "../src/store/database.ts";
import { migrate } from "../src/store/migrate.ts";
import { makeDag, makeVersion, triggerRun } from "../test/support/factories.ts";
import { createHome, prepareSharedHome } from "../test/support/home.ts";
import { sleep } from "./client.ts";
import { onDatastore, secondsSince } from "./filled-home.ts";
import { commitFloorMs, median } from "./floors.ts";

const kit = { logger: pino({ level: "error" }), clock: systemClock };
const PARALLELISM = 1_000;
/** Of runs and task instances that lie in the tables beside what is measured. */
const HISTORY = { dags: 100, runs: 300_000, tasksPerRun: 10 };

/** Ends every try as soon as it is queued, many in one statement, and tells the scheduler as execution does. */
class NoOpExecutor implements Executor {
  readonly #database: OpenDatabase;
  readonly #bus: EventBus;
  readonly #held = new Map<string, Workload>();
  #flushing = false;
  done = 0;

  constructor(database: OpenDatabase, bus: EventBus) {
    this.#database = database;
    this.#bus = bus;
  }

  enqueue(workloads: readonly Workload[]): void {
    for (const workload of workloads) this.#held.set(workload.id, workload);
    if (!this.#flushing && this.#held.size > 0) void this.#flush();
  }

  terminate(): void {}

  held(): ReadonlySet<string> {
    return new Set(this.#held.keys());
  }

  async #flush(): Promise<void> {
    this.#flushing = true;
    while (this.#held.size > 0) {
      const batch = [...this.#held.values()];
      const { rows } = await this.#database.pool.query<{
        id: string;
        dag_run_id: number;
        task_id: string;
        map_index: number;
      }>(
        `update task_instance set state = 'success', start_date = queued_dttm, end_date = clock_timestamp(), duration = 0
         where id = any($1::uuid[]) and state = 'queued' returning id, dag_run_id, task_id, map_index`,
        [batch.map(({ id }) => id)],
      );
      for (const { id } of batch) this.#held.delete(id);
      this.done += rows.length;
      for (const row of rows) {
        this.#bus.publish({
          kind: "task-instance",
          dagRunId: Number(row.dag_run_id),
          id: row.id,
          taskId: row.task_id,
          mapIndex: row.map_index,
          state: "success",
          wakeAt: null,
          newId: null,
          mappedLength: null,
        });
      }
    }
    this.#flushing = false;
  }
}

interface Bench {
  database: OpenDatabase;
  rows: string[];
}

interface Plane {
  executor: NoOpExecutor;
  bus: EventBus;
  creator: RunCreator;
  /** Runs that ended, by DAG. */
  ended: () => number;
  stop(): Promise<void>;
}

async function controlPlane({ database }: Bench, parallelism = PARALLELISM): Promise<Plane> {
  const bus = new EventBus();
  const versions = new VersionCache(database.db);
  const executor = new NoOpExecutor(database, bus);
  const askTimetable = () => Promise.reject(new Error("no timetable of a user here"));
  const creator = new RunCreator(kit, { db: database.db, bus, versions, askTimetable });
  let ended = 0;
  const scheduler = new Scheduler(
    kit,
    {
      db: database.db,
      bus,
      versions,
      executor,
      startFromTrigger: async () => false,
      runFinished: (dagId) => {
        ended++;
        creator.refresh(dagId);
      },
    },
    { parallelism, retryMs: 250 },
  );
  await scheduler.start();
  return {
    executor,
    bus,
    creator,
    ended: () => ended,
    stop: async () => {
      await creator.stop();
      await scheduler.stop();
    },
  };
}

type Tasks = { id: string; downstream: string[] }[];

/** `width` tasks in each of `depth` layers, each after two of the layer before. */
function layers(width: number, depth: number): Tasks {
  const id = (layer: number, at: number) => `t${layer}_${at % width}`;
  return Array.from({ length: width * depth }, (_, n) => {
    const [layer, at] = [Math.floor(n / width), n % width];
    const downstream = layer + 1 < depth ? [...new Set([id(layer + 1, at), id(layer + 1, at + 1)])] : [];
    return { id: id(layer, at), downstream };
  });
}

async function makeDagOf({ database }: Bench, tasks: object[], dag: Record<string, unknown> = {}): Promise<string> {
  const { dag_id: dagId } = await makeDag(database.db, { is_paused: false, max_active_tasks: 100_000 });
  const shape = { tasks: tasks as Tasks, dag: { max_active_tasks: 100_000, max_active_runs: 1_000, ...dag } };
  await makeVersion(database.db, { dag_id: dagId }, shape);
  return dagId;
}

interface Effort {
  seconds: number;
  /** The share of one core that Node took. */
  cpu: number;
}

/** Returns what tells the effort since. */
function startWatch(): () => Effort {
  const cpu = process.cpuUsage();
  const began = performance.now();
  return () => {
    const seconds = secondsSince(began);
    const used = process.cpuUsage(cpu);
    return { seconds, cpu: (used.user + used.system) / 1e6 / seconds };
  };
}

/** Until all of these runs have ended, from the first trigger. */
async function timeRuns(bench: Bench, plane: Plane, dagIds: readonly string[]): Promise<Effort> {
  const watch = startWatch();
  const goal = plane.ended() + dagIds.length;
  await Promise.all(dagIds.map((dagId) => triggerRun(bench.database.db, plane.bus, dagId)));
  while (plane.ended() < goal) await sleep(2);
  return watch();
}

function say({ rows }: Bench, name: string, measured: string, target: string, note = ""): void {
  rows.push(`| ${name} | ${measured} | ${target} | ${note} |`);
  console.log(rows.at(-1));
}

/** Task instances per second of 200 runs with 100 tasks each. */
async function rate(bench: Bench, rounds: number): Promise<{ perSecond: number; cpu: number }> {
  const plane = await controlPlane(bench);
  const dagIds = await Promise.all(Array.from({ length: 20 }, () => makeDagOf(bench, layers(20, 5))));
  const runs = Array.from({ length: 200 }, (_, n) => dagIds[n % dagIds.length] as string);
  await timeRuns(bench, plane, dagIds);
  const found = [];
  for (let round = 0; round < rounds; round++) found.push(await timeRuns(bench, plane, runs));
  await plane.stop();
  const seconds = median(found.map((each) => each.seconds));
  return { perSecond: (runs.length * 100) / seconds, cpu: median(found.map((each) => each.cpu)) };
}

async function throughput(bench: Bench): Promise<void> {
  const { perSecond, cpu } = await rate(bench, 5);
  say(
    bench,
    "no-op executor, 200 runs of 100 tasks",
    `${perSecond.toFixed(0)} task instances/s`,
    "5,000/s",
    cpuNote(cpu),
  );
}

const cpuNote = (cpu: number) => `Node takes ${(cpu * 100).toFixed(0)} % of a core`;

async function mapped(bench: Bench): Promise<void> {
  const expand = {
    type: "dict-of-lists",
    value: { __type: "dict", __var: { op_args: Array.from({ length: 10_000 }, (_, n) => [n]) } },
  };
  const dagId = await makeDagOf(bench, [
    {
      id: "many",
      _is_mapped: true,
      partial_kwargs: {},
      expand_input: expand,
      _expand_input_attr: "expand_input",
      downstream: ["after"],
    },
    { id: "after" },
  ]);
  for (const parallelism of [PARALLELISM, 32]) {
    const plane = await controlPlane(bench, parallelism);
    const { seconds, cpu } = await timeRuns(bench, plane, [dagId]);
    const count = plane.executor.done;
    say(
      bench,
      `run of 10,000 mapped tasks, parallelism ${parallelism}`,
      `${seconds.toFixed(2)} s`,
      "",
      `${count} done; ${cpuNote(cpu)}`,
    );
    await plane.stop();
  }
}

async function wide(bench: Bench): Promise<void> {
  const dagId = await makeDagOf(bench, layers(60, 50));
  const plane = await controlPlane(bench);
  const seconds = [];
  for (let round = 0; round < 3; round++) seconds.push((await timeRuns(bench, plane, [dagId])).seconds);
  await plane.stop();
  say(
    bench,
    "DAG of 3,000 tasks in 50 layers",
    `${median(seconds).toFixed(2)} s`,
    "",
    `${((median(seconds) / 50) * 1000).toFixed(1)} ms a layer`,
  );
}

/** 1,000 DAGs, each due every six seconds. */
async function schedules(bench: Bench): Promise<void> {
  const EVERY = 6;
  const SECONDS = 60;
  const { database } = bench;
  const start = Math.floor(Date.now() / 1000) - 60;
  const ids: string[] = [];
  for (let n = 0; n < 1_000; n++) {
    ids.push(
      await makeDagOf(bench, [{ id: "a", downstream: ["b"] }, { id: "b" }], {
        // Spread over the six seconds as real DAGs are.
        start_date: start + (n % 60) / 10,
        timetable: { __type: "airflow.timetables.trigger.DeltaTriggerTimetable", __var: { delta: EVERY, interval: 0 } },
      }),
    );
  }
  const plane = await controlPlane(bench);
  await plane.creator.start();
  await plane.creator.settled();
  const first = plane.ended();
  const watch = startWatch();
  const since = systemClock.now();
  await sleep(SECONDS * 1000);
  const { seconds, cpu } = watch();
  const ended = plane.ended() - first;
  await plane.stop();
  const { rows } = await database.pool.query<{ started: number; finished: number }>(
    `select extract(epoch from percentile_cont(0.95) within group (order by start_date - run_after))::float8 as started,
       extract(epoch from percentile_cont(0.95) within group (order by end_date - run_after))::float8 as finished
     from dag_run where run_type = 'scheduled' and run_after >= $1 and state = 'success'`,
    [since],
  );
  const ms = (value: number | undefined) => `${((value ?? NaN) * 1000).toFixed(0)} ms`;
  say(
    bench,
    "1,000 DAGs, 10 runs a minute each",
    `${(ended / seconds).toFixed(0)} runs/s`,
    "167/s",
    `p95 due to started ${ms(rows[0]?.started)}, to ended ${ms(rows[0]?.finished)}; ${cpuNote(cpu)}`,
  );
  await database.pool.query("update dag set is_paused = true where dag_id = any($1)", [ids]);
}

async function history(bench: Bench): Promise<void> {
  const { pool } = bench.database;
  await pool.query("vacuum analyze");
  const before = await rate(bench, 5);
  const { dags, runs, tasksPerRun } = HISTORY;
  await pool.query(
    `insert into dag_run (dag_id, run_id, run_type, state, logical_date, run_after, queued_at, start_date, end_date, dag_version_id)
     select v.dag_id, 'old__' || n, 'scheduled', 'success', t, t, t, t, t + interval '1 minute', v.id
     from (select dag_id, current_version_id as id from dag where current_version_id is not null order by dag_id limit ${dags}) as v,
       generate_series(1, ${runs / dags}) as n, lateral (select timestamptz '2001-01-01' + n * interval '1 hour' as t) as at`,
  );
  await pool.query(
    `insert into task_instance (id, dag_run_id, dag_id, task_id, state, try_number, task_display_name, operator, queue, dag_version_id,
       start_date, end_date, duration)
     select gen_random_uuid(), r.id, r.dag_id, 't0_' || n, 'success', 1, 't0_' || n, 'PythonOperator', 'default', r.dag_version_id,
       r.start_date, r.end_date, 60
     from dag_run as r, generate_series(1, ${tasksPerRun}) as n where r.run_id like 'old\\_\\_%'`,
  );
  await pool.query("vacuum analyze");
  await pool.query("checkpoint");
  const after = await rate(bench, 5);
  const ratio = before.perSecond / after.perSecond;
  say(
    bench,
    "the same beside 3 million finished task instances",
    `${ratio.toFixed(2)} times the time`,
    "1.2",
    `${before.perSecond.toFixed(0)} and ${after.perSecond.toFixed(0)} task instances/s`,
  );
}

const CASES = { throughput, mapped, wide, schedules, history };

await prepareSharedHome();
const { paths, remove } = createHome();
const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !(name in CASES));
if (unknown.length > 0)
  throw new Error(`no such case: ${unknown.join(", ")}; there are ${Object.keys(CASES).join(", ")}`);
try {
  await onDatastore(paths, async (datastore) => {
    const database = openDatabase(datastore.database);
    await migrate(database.pool);
    const bench = { database, rows: [] };
    const floor = await commitFloorMs((text) => database.pool.query(text));
    say(bench, "floor: one committed update", `${floor.toFixed(2)} ms`, "");
    for (const [name, run] of Object.entries(CASES)) if (wanted.length === 0 || wanted.includes(name)) await run(bench);
    await database.close();
    console.log(`\n| control plane alone | measured | to reach | |\n|---|---|---|---|\n${bench.rows.join("\n")}`);
  });
} finally {
  remove();
}
