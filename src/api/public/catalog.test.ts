import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createTestApi, type TestApi } from "../../../test/support/api.ts";
import { createTestDatabase, type TestDatabase } from "../../../test/support/database.ts";
import {
  makeDag,
  makeRun,
  makeRunningTask,
  makeTaskInstance,
  makeVersion,
  NOON,
} from "../../../test/support/factories.ts";
import type { Role } from "../../domain/user.ts";
import type { JsonText } from "../../kit/json-text.ts";
import { registerJob } from "../../store/jobs.ts";
import { assetRoutes } from "./assets.ts";
import { backfillRoutes } from "./backfills.ts";
import { dagFileRoutes } from "./dag-files.ts";
import { dagVersionRoutes } from "./dag-versions.ts";
import { dagRoutes } from "./dags.ts";
import { eventLogRoutes } from "./event-logs.ts";
import { extraLinkRoutes } from "./extra-links.ts";
import { installationRoutes } from "./installation.ts";
import { monitoringRoutes } from "./monitoring.ts";
import { taskRoutes } from "./tasks.ts";

let database: TestDatabase;
let api: TestApi;
/** What the Python side would answer. */
const python: Record<string, unknown> = {};

beforeAll(async () => {
  database = await createTestDatabase();
  const groups = [
    assetRoutes,
    backfillRoutes,
    dagFileRoutes,
    dagRoutes,
    dagVersionRoutes,
    eventLogRoutes,
    extraLinkRoutes,
    installationRoutes,
    monitoringRoutes,
    taskRoutes,
  ];
  api = await createTestApi(database.db, groups, {
    python: ({ kind }) =>
      kind in python ? Promise.resolve(python[kind]) : Promise.reject(new Error("Python did not answer")),
  });
});
afterAll(async () => {
  await api.close();
  await database.close();
});

describe("versions and sources", () => {
  it("lists versions of one DAG and of all", async () => {
    const { db } = database;
    const dag = await makeDag(db, { dag_display_name: "Shown" });
    const first = await makeVersion(db, { dag_id: dag.dag_id, source_code: "one = 1\n" });
    await makeVersion(db, { dag_id: dag.dag_id, source_code: "two = 2\n" });
    const list = `/api/v2/dags/${dag.dag_id}/dagVersions`;
    expect((await api.get(`${list}?order_by=-version_number`)).json()).toMatchObject({
      dag_versions: [{ version_number: 2 }, { version_number: 1 }],
      total_entries: 2,
    });
    expect((await api.get("/api/v2/dags/~/dagVersions?limit=1")).json<{ total_entries: number }>().total_entries).toBe(
      2,
    );
    expect((await api.get(`${list}/1`)).json()).toEqual({
      id: first.id,
      version_number: 1,
      dag_id: dag.dag_id,
      bundle_name: "dags-folder",
      bundle_version: null,
      created_at: expect.stringMatching(/Z$/) as string,
      dag_display_name: "Shown",
      bundle_url: null,
    });
    expect((await api.get(`${list}/9`)).json()).toEqual({
      detail: `The DagVersion with dag_id: \`${dag.dag_id}\` and version_number: \`9\` was not found`,
    });

    const source = `/api/v2/dagSources/${dag.dag_id}`;
    expect((await api.get(source)).json()).toEqual({
      content: "two = 2\n",
      dag_id: dag.dag_id,
      version_number: 2,
      dag_display_name: "Shown",
    });
    const text = await api.request("GET", `${source}?version_number=1`, undefined, { accept: "text/plain" });
    expect([text.headers["content-type"], text.payload]).toEqual(["text/plain; charset=utf-8", "one = 1\n"]);
    expect((await api.request("GET", source, undefined, { accept: "image/png" })).statusCode).toBe(406);
    expect((await api.get("/api/v2/dagSources/none")).json()).toEqual({
      detail: "The source code of the Dag none, version_number None was not found",
    });
  });
});

describe("tasks", () => {
  it("are those of the newest version", async () => {
    const { db } = database;
    const dag = await makeDag(db);
    const tasks = [
      { id: "a", downstream: ["b"], retries: 2, retry_delay: 90.0, doc_md: "  doc" },
      { id: "b", execution_timeout: 90000.5, pool: "other" },
    ];
    await makeVersion(db, { dag_id: dag.dag_id }, { tasks });
    const url = `/api/v2/dags/${dag.dag_id}/tasks`;
    const found = (await api.get(url)).json<{ tasks: object[]; total_entries: number }>();
    expect(found.total_entries).toBe(2);
    expect(found.tasks[0]).toEqual({
      task_id: "a",
      task_display_name: "a",
      owner: "airflow",
      start_date: "2025-01-01T00:00:00Z",
      end_date: null,
      trigger_rule: "all_success",
      depends_on_past: false,
      wait_for_downstream: false,
      retries: 2,
      queue: "default",
      pool: "default_pool",
      pool_slots: 1,
      execution_timeout: null,
      retry_delay: { __type: "TimeDelta", days: 0, seconds: 90, microseconds: 0 },
      retry_exponential_backoff: 0,
      priority_weight: 1,
      weight_rule: "downstream",
      ui_color: "#fff",
      ui_fgcolor: "#000",
      template_fields: [],
      downstream_task_ids: ["b"],
      doc_md: "  doc",
      operator_name: "PythonOperator",
      params: {},
      class_ref: { module_path: "airflow.providers.standard.operators.python", class_name: "PythonOperator" },
      is_mapped: false,
      extra_links: [],
    });
    expect((await api.get(`${url}/b`)).json()).toMatchObject({
      pool: "other",
      execution_timeout: { days: 1, seconds: 3600, microseconds: 500000 },
    });
    expect((await api.get(`${url}?order_by=-retries`)).json()).toMatchObject({ tasks: [{ task_id: "a" }, {}] });
    expect((await api.get(`${url}?order_by=_x`)).statusCode).toBe(400);
    expect((await api.get(`${url}/zz`)).json()).toEqual({ detail: "Task with id zz was not found" });
  });
});

describe("what came of files", () => {
  it("lists import errors and warnings, and parses again", async () => {
    const { db } = database;
    await db
      .insertInto("import_error")
      .values([
        { filename: "broken.py", stacktrace: "SyntaxError", timestamp: NOON },
        { filename: "sub/other.py", stacktrace: "NameError", timestamp: NOON },
      ])
      .execute();
    const list = (await api.get("/api/v2/importErrors?filename_pattern=sub")).json<{
      import_errors: { import_error_id: number }[];
    }>();
    expect(list).toEqual({
      import_errors: [
        {
          import_error_id: expect.any(Number) as number,
          timestamp: "2026-01-01T12:00:00Z",
          filename: "sub/other.py",
          bundle_name: "dags-folder",
          stack_trace: "NameError",
        },
      ],
      total_entries: 1,
    });
    const id = list.import_errors[0]?.import_error_id;
    expect((await api.get(`/api/v2/importErrors/${id}`)).json()).toEqual(list.import_errors[0]);
    expect((await api.get("/api/v2/importErrors/999")).json()).toEqual({
      detail: "The ImportError with import_error_id: `999` was not found",
    });

    const dag = await makeDag(db);
    await db
      .insertInto("dag_warning")
      .values({ dag_id: dag.dag_id, warning_type: "non-existent pool", message: "no pool", timestamp: NOON })
      .execute();
    expect((await api.get(`/api/v2/dagWarnings?dag_id=${dag.dag_id}`)).json()).toEqual({
      dag_warnings: [
        {
          dag_id: dag.dag_id,
          warning_type: "non-existent pool",
          message: "no pool",
          timestamp: "2026-01-01T12:00:00Z",
          dag_display_name: dag.dag_id,
        },
      ],
      total_entries: 1,
    });

    const { dags } = (await api.get(`/api/v2/dags?dag_id_pattern=${dag.dag_id}`)).json<{
      dags: { file_token: string }[];
    }>();
    const parsed = await api.request("PUT", `/api/v2/parseDagFile/${dags[0]?.file_token}`);
    expect([parsed.statusCode, parsed.payload]).toEqual([201, "null"]);
    expect(api.reparsed).toEqual([`${dag.dag_id}.py`]);
    const forged = Buffer.from('{"bundle_name":"x","relative_fileloc":"../../etc/passwd"}').toString("base64url");
    expect((await api.request("PUT", `/api/v2/parseDagFile/${forged}`)).json()).toEqual({ detail: "File not found" });
    expect((await api.request("PUT", "/api/v2/parseDagFile/%00")).statusCode).toBe(404);
  });
});

describe("the installation", () => {
  it("tells its version and health without a login", async () => {
    expect((await api.get("/api/v2/version")).json()).toEqual({ version: "3.3.2", git_version: null });
    expect((await api.get("/api/v2/monitor/health")).json()).toEqual({
      metadatabase: { status: "healthy" },
      scheduler: { status: "unhealthy", latest_scheduler_heartbeat: null },
      triggerer: { status: null, latest_triggerer_heartbeat: null },
      dag_processor: { status: null, latest_dag_processor_heartbeat: null },
    });
    await registerJob(database.db, { type: "SchedulerJob", hostname: "h", unixname: "u" });
    expect((await api.get("/api/v2/monitor/health")).json()).toMatchObject({
      scheduler: { status: "healthy", latest_scheduler_heartbeat: expect.stringMatching(/\+00:00$/) as string },
    });
    expect((await api.get("/api/v2/jobs?is_alive=true&job_type=SchedulerJob")).json()).toMatchObject({
      jobs: [{ job_type: "SchedulerJob", state: "running", hostname: "h", unixname: "u", dag_display_name: null }],
      total_entries: 1,
    });
    expect((await api.get("/api/v2/jobs?job_state=failed")).json()).toEqual({ jobs: [], total_entries: 0 });
  });

  it("shows plugins, providers and the config as Python tells them", async () => {
    expect((await api.get("/api/v2/plugins")).statusCode).toBe(500);
    python.plugins = { plugins: [{ name: "b" }, { name: "a" }], import_errors: [{ source: "s", error: "e" }] };
    expect((await api.get("/api/v2/plugins?limit=1")).json()).toEqual({ plugins: [{ name: "a" }], total_entries: 3 });
    const viewsOf = async (role: Role) => {
      api.user = { name: "someone", role };
      const { plugins } = (await api.get("/api/v2/plugins?limit=1&offset=2")).json<{
        plugins: { name: string; external_views: { url_route: string }[] }[];
      }>();
      expect(plugins).toMatchObject([{ name: "leoflow" }]);
      return plugins[0]?.external_views.map(({ url_route }) => url_route);
    };
    expect(await viewsOf("VIEWER")).not.toContain("users");
    expect(await viewsOf("ADMIN")).toContain("users");
    expect((await api.get("/api/v2/plugins/importErrors")).json()).toEqual({
      import_errors: [{ source: "s", error: "e" }],
      total_entries: 1,
    });
    python.providers = [{ package_name: "p2" }, { package_name: "p1" }];
    expect((await api.get("/api/v2/providers")).json()).toMatchObject({ providers: [{ package_name: "p1" }, {}] });
    python.airflow_config = { expose_config: "False", sections: [] };
    const hidden = await api.get("/api/v2/config");
    expect(hidden.statusCode).toBe(403);
    expect(hidden.json()).toEqual({
      detail: "Your Airflow administrator chose not to expose the configuration, most likely for security reasons.",
    });
  });
});

describe("the audit log", () => {
  it("is filtered and read", async () => {
    const { db } = database;
    const { dag, run, ti } = await makeRunningTask(db);
    const place = { dag_id: dag.dag_id, run_id: run.run_id, task_id: ti.task_id, owner: "ann" };
    await db
      .insertInto("log")
      .values([
        { ...place, event: "running", map_index: -1 },
        { dag_id: dag.dag_id, event: "trigger_dag_run", owner: "bob", extra: '{"x": 1}' },
      ])
      .execute();
    const list = async (query: string) =>
      (await api.get(`/api/v2/eventLogs?dag_id=${dag.dag_id}&${query}`)).json<{
        event_logs: { event: string; event_log_id: number }[];
      }>().event_logs;
    expect((await list("order_by=-when")).map(({ event }) => event)).toEqual(["trigger_dag_run", "running"]);
    expect((await list("owner_pattern=AN")).map(({ event }) => event)).toEqual(["running"]);
    expect((await list("excluded_events=running")).map(({ event }) => event)).toEqual(["trigger_dag_run"]);
    expect((await list("included_events=running&included_events=x")).map(({ event }) => event)).toEqual(["running"]);
    expect(await list("after=2999-01-01T00:00:00Z")).toEqual([]);
    const [one] = await list("event=running");
    expect(one).toMatchObject({ task_display_name: ti.task_id, dag_display_name: dag.dag_id, map_index: -1 });
    expect((await api.get(`/api/v2/eventLogs/${one?.event_log_id}`)).json()).toEqual(one);
    expect((await api.get("/api/v2/eventLogs/0")).json()).toEqual({
      detail: "The Event Log with id: `0` not found",
    });
  });
});

describe("extra links", () => {
  it("are the URLs the task left behind", async () => {
    const { db } = database;
    const dag = await makeDag(db);
    await makeVersion(
      db,
      { dag_id: dag.dag_id },
      { tasks: [{ id: "a", _operator_extra_links: { Docs: "_link_Docs", Absent: "_link_Absent" } }] },
    );
    const run = await makeRun(db, { dag_id: dag.dag_id });
    await makeTaskInstance(db, { dag_run_id: run.id, task_id: "a", try_number: 2 });
    await db
      .insertInto("xcom")
      .values({
        dag_run_id: run.id,
        dag_id: dag.dag_id,
        run_id: run.run_id,
        task_id: "a",
        key: "_link_Docs",
        value: '"https://example.org"' as JsonText,
      })
      .execute();
    const url = `/api/v2/dags/${dag.dag_id}/dagRuns/${run.run_id}/taskInstances`;
    expect((await api.get(`${url}/a/links`)).json()).toEqual({
      extra_links: { Absent: null, Docs: "https://example.org" },
      total_entries: 2,
    });
    expect((await api.get(`${url}/a/links?try_number=1`)).json()).toEqual({
      detail: "TaskInstanceHistory not found for try_number=1",
    });
    expect((await api.get(`${url}/b/links`)).json()).toEqual({ detail: "TaskInstance not found" });
  });
});

describe("what this version does not have", () => {
  it.each([
    ["/assets", { assets: [], total_entries: 0 }],
    ["/assets/aliases", { asset_aliases: [], total_entries: 0 }],
    ["/assets/events", { asset_events: [], total_entries: 0 }],
    ["/assets/1/queuedEvents", { queued_events: [], total_entries: 0 }],
    ["/backfills?dag_id=x", { backfills: [], total_entries: 0 }],
  ])("answers %s with nothing", async (path, expected) => {
    const response = await api.get(`/api/v2${path}`);
    expect([response.statusCode, response.json()]).toEqual([200, expected]);
  });

  it.each([
    ["GET", "/assets/7", "The Asset with ID: `7` was not found"],
    ["GET", "/assets/aliases/7", "The Asset Alias with ID: `7` was not found"],
    ["GET", "/assets/7/state-store", "Asset with id 7 not found"],
    ["GET", "/assets/7/state-store/a/b", "Asset with id 7 not found"],
    ["DELETE", "/dags/d/assets/queuedEvents", "Queue event with dag_id: `d` was not found"],
    ["GET", "/dags/d/assets/7/queuedEvents", "Queued event with dag_id: `d` and asset_id: `7` was not found"],
  ] as const)("does not find %s %s", async (method, path, detail) => {
    const response = await api.request(method, `/api/v2${path}`);
    expect([response.statusCode, response.json()]).toEqual([404, { detail }]);
  });
});
