import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createTestApi, type TestApi } from "../../../test/support/api.ts";
import { createTestDatabase, type TestDatabase } from "../../../test/support/database.ts";
import {
  makeDag,
  makeRun,
  makeTaskInstance,
  makeTaskInstanceHistory,
  makeVersion,
  NOON,
} from "../../../test/support/factories.ts";
import { addMicros, formatInstant, parseInstant } from "../../kit/instant.ts";
import { VersionCache } from "../../store/dag-versions.ts";
import { assetRoutes } from "./assets.ts";
import { dagRoutes } from "./dags.ts";
import { dashboardRoutes } from "./dashboard.ts";
import { deadlineRoutes } from "./deadlines.ts";
import { dependencyRoutes } from "./dependencies.ts";
import { durationStats } from "./duration-stats.ts";
import { gridRoutes } from "./grid.ts";
import { runRoutes } from "./runs.ts";
import { settingsRoutes } from "./settings.ts";
import { structureRoutes } from "./structure.ts";

let database: TestDatabase;
let api: TestApi;
let pythonAsked = 0;
let pythonFails = true;
const second = (n: number) => addMicros(NOON, n * 1_000_000);
const get = async (url: string) => {
  const answer = await api.get(url);
  return {
    status: answer.statusCode,
    body: answer.body === "" ? undefined : answer.json<Record<string, unknown>>(),
  };
};
const body = async <T>(url: string): Promise<T> => {
  const answer = await api.get(url);
  expect([url, answer.statusCode]).toEqual([url, 200]);
  return answer.json();
};

beforeAll(async () => {
  database = await createTestDatabase();
  const versions = new VersionCache(database.db);
  const groups = [
    settingsRoutes,
    dashboardRoutes,
    dagRoutes,
    runRoutes,
    gridRoutes,
    structureRoutes,
    dependencyRoutes,
    assetRoutes,
    deadlineRoutes,
  ];
  api = await createTestApi(database.db, groups, {
    prefix: "/ui",
    graph: async (id) => (await versions.get(id)).graph,
    python: async () => {
      pythonAsked += 1;
      if (pythonFails) throw new Error("not warm yet");
      return [{ connection_type: "http" }];
    },
  });
  await makeHistory();
});
afterAll(async () => {
  await api.close();
  await database.close();
});

/**
 * `pipe` has two versions: the first with the task "old", the current one with "a" before the mapped task "m". Its runs:
 * "first" on the old version, failed; "second" on the new one, running; `waits` waits for `pipe`.
 */
async function makeHistory(): Promise<void> {
  const { db } = database;
  await makeDag(db, { dag_id: "pipe" });
  const old = await makeVersion(db, { dag_id: "pipe" }, { tasks: [{ id: "old" }, { id: "a" }] });
  const first = await makeRun(db, {
    dag_id: "pipe",
    run_id: "first",
    state: "failed",
    logical_date: NOON,
    end_date: second(10),
    note: "look here",
  });
  await makeTaskInstance(db, { dag_run_id: first.id, task_id: "old", state: "failed", try_number: 2, note: "why" });
  await makeTaskInstanceHistory(db, { dag_run_id: first.id, task_id: "old", try_number: 1 });
  await makeTaskInstance(db, { dag_run_id: first.id, task_id: "a", state: "success", try_number: 1 });
  const mapped = { _is_mapped: true, _expand_input_attr: "op_kwargs_expand_input", partial_kwargs: {} };
  const expand = {
    op_kwargs_expand_input: { type: "dict-of-lists", value: { __type: "dict", __var: { x: [1, 2, 3] } } },
  };
  await makeVersion(
    db,
    { dag_id: "pipe" },
    {
      tasks: [
        { id: "a", downstream: ["m"] },
        { id: "m", ...mapped, ...expand },
      ],
    },
  );
  const run = await makeRun(db, {
    dag_id: "pipe",
    run_id: "second",
    run_type: "scheduled",
    logical_date: second(60),
    start_date: second(61),
  });
  await makeTaskInstance(db, {
    dag_run_id: run.id,
    task_id: "a",
    state: "success",
    start_date: second(61),
    end_date: second(62),
  });
  for (const [map_index, state] of (["success", "running", null] as const).entries()) {
    await makeTaskInstance(db, {
      dag_run_id: run.id,
      task_id: "m",
      map_index,
      state,
      start_date: state && second(63 + map_index),
    });
  }
  await makeDag(db, { dag_id: "waits", is_paused: true });
  const dependency = {
    source: "pipe",
    target: "waits",
    label: "wait",
    dependency_type: "sensor",
    dependency_id: "wait",
  };
  await makeVersion(db, { dag_id: "waits" }, { dag: { dag_dependencies: [dependency] } });
  await db.insertInto("dag_favorite").values({ dag_id: "waits", user_id: "admin" }).execute();
  expect(old.version_number).toBe(1);
}

describe("the grid", () => {
  it("has a column per run, newest first, with versions, duration and notes", async () => {
    const runs = await body<Record<string, unknown>[]>("/ui/grid/runs/pipe?order_by=-run_after&limit=5");
    expect(runs.map(({ run_id }) => run_id)).toEqual(["second", "first"]);
    expect(runs[1]).toMatchObject({
      state: "failed",
      run_type: "manual",
      start_date: formatInstant(NOON),
      duration: 10,
      has_note: true,
      has_missed_deadline: false,
      dag_versions: [{ version_number: 1, dag_display_name: "pipe", bundle_url: null }],
    });
    expect(runs[0]).not.toHaveProperty("end_date");
    const only = await body<unknown[]>("/ui/grid/runs/pipe?state=failed&run_type=manual&order_by=-run_after");
    expect(only).toHaveLength(1);
    expect((await get("/ui/grid/runs/pipe?state=nonsense")).status).toBe(422);
  });

  it("has a row per task of the current version and of the versions on the page", async () => {
    expect(await body("/ui/grid/structure/pipe?order_by=-run_after")).toEqual([
      { id: "a", label: "a" },
      { id: "m", label: "m", is_mapped: true },
      { id: "old", label: "old" },
    ]);
    expect(await body("/ui/grid/structure/pipe?order_by=-run_after&limit=1")).toHaveLength(2);
    expect(await get("/ui/grid/structure/none")).toEqual({
      status: 404,
      body: { detail: "Dag with id none was not found" },
    });
  });

  it("streams a line of squares per run", async () => {
    const answer = await api.get("/ui/grid/ti_summaries/pipe?run_ids=second&run_ids=first&run_ids=unknown");
    expect(answer.headers["content-type"]).toMatch(/^application\/x-ndjson/);
    const lines = answer.body
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as { run_id: string; task_instances: Record<string, unknown>[] });
    expect(lines.map(({ run_id }) => run_id)).toEqual(["second", "first"]);
    expect(lines[0]?.task_instances).toEqual([
      {
        task_id: "a",
        task_display_name: "a",
        state: "success",
        child_states: null,
        min_start_date: formatInstant(second(61)),
        max_end_date: formatInstant(second(62)),
        dag_version_number: 2,
        has_note: false,
      },
      {
        task_id: "m",
        task_display_name: "m",
        state: "running",
        child_states: { running: 1, success: 1, none: 1 },
        min_start_date: formatInstant(second(63)),
        max_end_date: null,
        dag_version_number: 2,
        has_note: false,
      },
    ]);
    expect(lines[1]?.task_instances.map(({ task_id, state, has_note }) => [task_id, state, has_note])).toEqual([
      ["a", "success", false],
      ["old", "failed", true],
    ]);
    expect((await api.get("/ui/grid/ti_summaries/pipe")).body).toBe("");
  });
});

describe("the graph", () => {
  it("shows any version, and what is around the DAG", async () => {
    const latest = await body<{ nodes: { id: string }[]; edges: unknown[] }>(
      "/ui/structure/structure_data?dag_id=pipe",
    );
    expect(latest.nodes.map(({ id }) => id)).toEqual(["a", "m"]);
    expect(latest.edges).toEqual([
      { source_id: "a", target_id: "m", is_setup_teardown: null, label: null, is_source_asset: null },
    ]);
    const first = await body<{ nodes: { id: string }[] }>("/ui/structure/structure_data?dag_id=pipe&version_number=1");
    expect(first.nodes.map(({ id }) => id)).toEqual(["a", "old"]);
    const around = await body<{ nodes: { id: string }[]; edges: { source_id: string; target_id: string }[] }>(
      "/ui/structure/structure_data?dag_id=waits&external_dependencies=true",
    );
    expect(around.nodes.map(({ id }) => id)).toEqual(["a", "sensor:pipe:waits:wait"]);
    expect(around.edges).toMatchObject([{ source_id: "sensor:pipe:waits:wait", target_id: "a" }]);
    expect((await get("/ui/structure/structure_data?dag_id=pipe&version_number=9")).status).toBe(404);
  });

  it("shows how DAGs depend on each other", async () => {
    const graph = await body<{ nodes: { id: string }[]; edges: unknown[] }>("/ui/dependencies?node_id=dag:pipe");
    expect(graph.nodes.map(({ id }) => id).sort()).toEqual(["dag:pipe", "dag:waits", "sensor:pipe:waits:wait"]);
    expect(graph.edges).toEqual([
      { source_id: "dag:pipe", target_id: "sensor:pipe:waits:wait" },
      { source_id: "sensor:pipe:waits:wait", target_id: "dag:waits" },
    ]);
    expect((await get("/ui/dependencies?node_id=dag:none")).status).toBe(404);
    expect((await get("/ui/dependencies?dependency_type=data")).status).toBe(400);
  });
});

describe("the lists", () => {
  it("shows DAGs with their latest runs and who likes them", async () => {
    const { dags, total_entries } = await body<{ dags: Record<string, unknown>[]; total_entries: number }>(
      "/ui/dags?dag_runs_limit=1&order_by=dag_id",
    );
    expect(total_entries).toBe(2);
    expect(dags).toMatchObject([
      {
        dag_id: "pipe",
        is_favorite: false,
        pending_actions: [],
        latest_dag_runs: [{ run_id: "second", state: "running" }],
      },
      { dag_id: "waits", is_favorite: true, latest_dag_runs: [] },
    ]);
    // Null fields are left out, and the duration of a run that goes on is one.
    expect(dags[0]).not.toHaveProperty("description");
    expect(await body("/ui/dags?dag_ids=waits")).toMatchObject({ total_entries: 1 });
    expect(await body("/ui/dags?is_favorite=true&paused=true")).toMatchObject({ total_entries: 1 });
    // Any run of it, not only the latest.
    expect(await body("/ui/dags?dag_run_state=failed")).toMatchObject({ total_entries: 1 });
    expect(await body("/ui/dags?last_dag_run_state=failed")).toMatchObject({ total_entries: 0 });
    expect(await body("/ui/dags?dag_run_state=running&last_dag_run_state=running")).toMatchObject({ total_entries: 1 });
    expect(await body("/ui/dags?has_pending_actions=true")).toEqual({ total_entries: 0, dags: [] });
  });

  it("knows a DAG's latest run, or that there is none", async () => {
    expect(await body("/ui/dags/pipe/latest_run")).toMatchObject({ run_id: "second", duration: null });
    const none = await api.get("/ui/dags/waits/latest_run");
    expect([none.statusCode, none.body]).toEqual([200, "null"]);
    expect((await get("/ui/dags/~/latest_run")).status).toBe(400);
  });

  it("tells how long runs take", async () => {
    expect(await body("/ui/dags/pipe/dagRuns/first/stats")).toEqual({
      duration: { mean: 10, mode: null, p50: 10, p90: 10, p95: 10, p99: 10 },
    });
    expect((await get("/ui/dags/pipe/dagRuns/none/stats")).status).toBe(404);
    expect(durationStats([3, 1, 2, 2.2])).toEqual({ mean: 2.05, mode: 2, p50: 2.1, p90: 2.76, p95: 2.88, p99: 2.976 });
    expect(durationStats([])).toBeNull();
  });

  it("draws every try of the unmapped tasks", async () => {
    const { task_instances } = await body<{ task_instances: Record<string, unknown>[] }>("/ui/gantt/pipe/first");
    expect(task_instances.map(({ task_id, try_number, state }) => [task_id, try_number, state])).toEqual([
      ["a", 1, "success"],
      ["old", 1, "failed"],
      ["old", 2, "failed"],
    ]);
    expect((await get("/ui/gantt/pipe/none")).status).toBe(404);
  });

  it("counts the dashboard's states", async () => {
    expect(await body("/ui/dashboard/dag_stats")).toEqual({
      active_dag_count: 1,
      failed_dag_count: 0,
      running_dag_count: 1,
      queued_dag_count: 0,
    });
    const metrics = await body<Record<string, Record<string, number>>>(
      "/ui/dashboard/historical_metrics_data?start_date=2026-01-01T00:00:00Z",
    );
    expect(metrics["dag_run_states"]).toEqual({ queued: 0, running: 1, success: 0, failed: 1 });
    expect(metrics["task_instance_states"]).toMatchObject({
      no_status: 1,
      success: 3,
      running: 1,
      failed: 1,
      skipped: 0,
    });
    expect(metrics["dag_run_counts_are_lower_bounds"]).toBe(false);
    expect((await get("/ui/dashboard/historical_metrics_data")).status).toBe(422);
  });
});

describe("the calendar", () => {
  it("shows past runs and those the timetable plans", async () => {
    const { db } = database;
    await makeDag(db, {
      dag_id: "daily",
      timetable_periodic: true,
      next_dagrun: parseInstant("2026-01-03T00:00:00Z"),
      next_dagrun_data_interval_start: parseInstant("2026-01-03T00:00:00Z"),
      next_dagrun_data_interval_end: parseInstant("2026-01-03T00:00:00Z"),
      next_dagrun_create_after: parseInstant("2026-01-03T00:00:00Z"),
    });
    const timetable = {
      __type: "airflow.timetables.trigger.CronTriggerTimetable",
      __var: { expression: "0 0 * * *", timezone: "UTC", interval: 0, run_immediately: false },
    };
    await makeVersion(db, { dag_id: "daily" }, { dag: { timetable } });
    await makeRun(db, {
      dag_id: "daily",
      run_id: "past",
      state: "success",
      logical_date: parseInstant("2026-01-02T00:00:00Z"),
    });
    expect(
      await body("/ui/calendar/daily?logical_date_gte=2026-01-01T00:00:00Z&logical_date_lte=2026-01-05T00:00:00Z"),
    ).toEqual({
      total_entries: 4,
      dag_runs: [
        { date: "2026-01-02T00:00:00Z", state: "success", count: 1 },
        { date: "2026-01-03T00:00:00Z", state: "planned", count: 1 },
        { date: "2026-01-04T00:00:00Z", state: "planned", count: 1 },
        { date: "2026-01-05T00:00:00Z", state: "planned", count: 1 },
      ],
    });
    expect(await body("/ui/calendar/pipe?granularity=hourly")).toEqual({
      total_entries: 2,
      dag_runs: [
        { date: "2026-01-01T12:00:00Z", state: "failed", count: 1 },
        { date: "2026-01-01T12:00:00Z", state: "running", count: 1 },
      ],
    });
    expect((await get("/ui/calendar/none")).status).toBe(404);
  });
});

describe("settings", () => {
  it("configures the UI", async () => {
    const config = await body<Record<string, unknown>>("/ui/config");
    expect(config).toMatchObject({ instance_name: "Leoflow", auto_refresh_interval: 1, test_connection: "Enabled" });
    expect((await get("/ui/teams")).status).toBe(403);
  });

  it("asks Python for the forms of connections once, and again after a failure", async () => {
    expect((await api.get("/ui/connections/hook_meta")).statusCode).toBe(500);
    pythonFails = false;
    expect(await body("/ui/connections/hook_meta")).toEqual([{ connection_type: "http" }]);
    expect(await body("/ui/connections/hook_meta")).toEqual([{ connection_type: "http" }]);
    expect(pythonAsked).toBe(2);
    api.user = { name: "v", role: "VIEWER" };
    expect((await get("/ui/connections/hook_meta")).status).toBe(403);
    api.user = { name: "admin", role: "ADMIN" };
  });

  it("is empty where nothing can be yet", async () => {
    expect(await body("/ui/dags/pipe/dagRuns/first/deadlines")).toEqual({ deadlines: [], total_entries: 0 });
    expect((await get("/ui/dags/pipe/dagRuns/none/deadlines")).status).toBe(404);
    expect(await body("/ui/dags/pipe/deadlineAlerts")).toEqual({ deadline_alerts: [], total_entries: 0 });
    expect(await body("/ui/next_run_assets/pipe")).toMatchObject({ events: [] });
    expect(await body("/ui/partitioned_dag_runs")).toMatchObject({ partitioned_dag_runs: [], total: 0 });
    expect((await get("/ui/pending_partitioned_dag_run/pipe?partition_key=k")).status).toBe(404);
  });
});
