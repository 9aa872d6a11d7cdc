import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createTestApi, type TestApi } from "../../../test/support/api.ts";
import { createTestDatabase, type TestDatabase } from "../../../test/support/database.ts";
import { makeDag, makeRun, makeTaskInstance, makeVersion, unique } from "../../../test/support/factories.ts";
import { toJsonText } from "../../kit/json-text.ts";
import { dagRoutes } from "./dags.ts";

let database: TestDatabase;
let api: TestApi;

beforeAll(async () => {
  database = await createTestDatabase();
  api = await createTestApi(database.db, [dagRoutes]);
});
afterAll(async () => {
  await api.close();
  await database.close();
});
beforeEach(() => {
  api.events.length = 0;
  api.reparsed.length = 0;
  api.user = { name: "admin", role: "ADMIN" };
});

const idsOf = (response: { json(): unknown }) =>
  (response.json() as { dags: { dag_id: string }[] }).dags.map((dag) => dag.dag_id);

describe("GET /dags", () => {
  it("filters, orders and pages", async () => {
    const { db } = database;
    const a = await makeDag(db, { dag_id: "list_a", owners: "ann,bob", dag_display_name: "Zebra" });
    const b = await makeDag(db, { dag_id: "list_b", is_paused: true, asset_expression: toJsonText({ any: ["s3"] }) });
    await makeDag(db, { dag_id: "list_c", is_stale: true });
    await db
      .insertInto("dag_tag")
      .values([
        { dag_id: a.dag_id, name: "etl" },
        { dag_id: a.dag_id, name: "daily" },
        { dag_id: b.dag_id, name: "etl" },
      ])
      .execute();
    await makeRun(db, { dag_id: b.dag_id, state: "failed" });

    const list = (query: string) => api.get(`/api/v2/dags?dag_id_pattern=list_&${query}`);
    expect(idsOf(await list(""))).toEqual(["list_a", "list_b"]);
    expect(idsOf(await list("exclude_stale=False"))).toEqual(["list_a", "list_b", "list_c"]);
    expect(idsOf(await list("order_by=-dag_id"))).toEqual(["list_b", "list_a"]);
    expect(idsOf(await list("order_by=-dag_display_name"))).toEqual(["list_b", "list_a"]);
    expect(idsOf(await list("paused=true"))).toEqual(["list_b"]);
    expect(idsOf(await list("tags=etl&tags=daily"))).toEqual(["list_a", "list_b"]);
    expect(idsOf(await list("tags=etl&tags=daily&tags_match_mode=all"))).toEqual(["list_a"]);
    expect(idsOf(await list("owners=BOB"))).toEqual(["list_a"]);
    expect(idsOf(await list("has_asset_schedule=true"))).toEqual(["list_b"]);
    expect(idsOf(await list("asset_dependency=S3"))).toEqual(["list_b"]);
    expect(idsOf(await list("last_dag_run_state=failed"))).toEqual(["list_b"]);
    expect(idsOf(await list("dag_run_state=none"))).toEqual(["list_a"]);
    expect(idsOf(await list("dag_run_state=failed&dag_run_state=none"))).toEqual(["list_a", "list_b"]);
    expect(idsOf(await list("last_dag_run_state=failed&dag_run_state=none"))).toEqual([]);
    expect(idsOf(await list("dag_display_name_pattern=zeb%7Cnothing"))).toEqual(["list_a"]);
    expect(idsOf(await list("dag_id_prefix_pattern=list_b"))).toEqual(["list_b"]);
    const page = await list("limit=1&offset=1");
    expect(idsOf(page)).toEqual(["list_b"]);
    expect(page.json()).toMatchObject({ total_entries: 2 });
    expect((await list("limit=0")).json()).toEqual({ dags: [], total_entries: 2 });
  });

  it("answers a DAG as Airflow does", async () => {
    const { db } = database;
    const dag = await makeDag(db, { owners: "ann, bob", timetable_summary: "None", timetable_periodic: true });
    await db.insertInto("dag_tag").values({ dag_id: dag.dag_id, name: "x" }).execute();
    const found = (await api.get(`/api/v2/dags?dag_id_pattern=${dag.dag_id}`)).json<{ dags: unknown[] }>();
    expect(found.dags[0]).toEqual({
      dag_id: dag.dag_id,
      dag_display_name: dag.dag_id,
      is_paused: false,
      is_stale: false,
      last_parsed_time: null,
      last_parse_duration: null,
      last_expired: null,
      bundle_name: "dags-folder",
      bundle_version: null,
      relative_fileloc: `${dag.dag_id}.py`,
      fileloc: `/workspace/${dag.dag_id}.py`,
      description: null,
      timetable_summary: null,
      timetable_description: null,
      timetable_partitioned: false,
      timetable_periodic: true,
      tags: [{ name: "x", dag_id: dag.dag_id, dag_display_name: dag.dag_id }],
      max_active_tasks: 16,
      max_active_runs: 16,
      max_consecutive_failed_dag_runs: 0,
      has_task_concurrency_limits: false,
      has_import_errors: false,
      next_dagrun_logical_date: null,
      next_dagrun_data_interval_start: null,
      next_dagrun_data_interval_end: null,
      next_dagrun_run_after: null,
      allowed_run_types: null,
      owners: ["ann", "bob"],
      is_backfillable: true,
      file_token: expect.any(String) as string,
    });
  });

  it.each([
    ["limit=-1", "greater_than_equal", ["query", "limit"]],
    ["limit=x", "int_parsing", ["query", "limit"]],
    ["paused=maybe", "bool_parsing", ["query", "paused"]],
    ["last_dag_run_state=odd", "enum", ["query", "last_dag_run_state"]],
    ["dag_run_start_date_gte=yesterday", "datetime_from_date_parsing", ["query", "dag_run_start_date_gte"]],
    ["dag_run_start_date_gte=2024-02-30", "datetime_from_date_parsing", ["query", "dag_run_start_date_gte"]],
  ])("refuses %s", async (query, type, loc) => {
    const response = await api.get(`/api/v2/dags?${query}`);
    expect(response.statusCode).toBe(422);
    expect(response.json()).toMatchObject({ detail: [{ type, loc }] });
  });

  it("refuses an order it does not know", async () => {
    const response = await api.get("/api/v2/dags?order_by=nope");
    expect(response.statusCode).toBe(400);
    expect(response.json()).toEqual({
      detail: "Ordering with 'nope' is disallowed or the attribute does not exist on the model",
    });
  });
});

describe("one DAG", () => {
  it("is read with its details", async () => {
    const { db } = database;
    const dag = await makeDag(db);
    const version = await makeVersion(
      db,
      { dag_id: dag.dag_id },
      {
        dag: {
          doc_md: "\n  # Title\n    text\n",
          dagrun_timeout: 5400.0,
          default_args: { __type: "dict", __var: { retries: 2 } },
        },
      },
    );
    await makeRun(db, { dag_id: dag.dag_id });
    const response = await api.get(`/api/v2/dags/${dag.dag_id}/details`);
    expect(response.statusCode).toBe(200);
    expect(response.json()).toMatchObject({
      dag_id: dag.dag_id,
      catchup: false,
      dag_run_timeout: "PT1H30M",
      doc_md: "# Title\n  text",
      start_date: "2025-01-01T00:00:00Z",
      timezone: "UTC",
      default_args: { retries: 2 },
      params: {},
      is_favorite: false,
      active_runs_count: 1,
      concurrency: 16,
      latest_dag_version: { id: version.id, version_number: 1, dag_id: dag.dag_id },
    });
    expect((await api.get(`/api/v2/dags/${dag.dag_id}`)).statusCode).toBe(200);
  });

  it("is not found in Airflow's words", async () => {
    expect((await api.get("/api/v2/dags/none")).json()).toEqual({ detail: "The Dag with ID: `none` was not found" });
    expect((await api.get("/api/v2/dags/none/details")).statusCode).toBe(404);
    expect((await api.request("PATCH", "/api/v2/dags/none", { is_paused: true })).json()).toEqual({
      detail: "Dag with id: none was not found",
    });
  });

  it("is paused, with an event and an audit row", async () => {
    const { db } = database;
    const dag = await makeDag(db);
    const response = await api.request("PATCH", `/api/v2/dags/${dag.dag_id}`, { is_paused: true });
    expect(response.json()).toMatchObject({ dag_id: dag.dag_id, is_paused: true });
    expect(api.events).toEqual([{ kind: "dag", dagId: dag.dag_id }]);
    const log = await db.selectFrom("log").selectAll().where("dag_id", "=", dag.dag_id).executeTakeFirstOrThrow();
    expect(log).toMatchObject({ event: "patch_dag", owner: "admin", owner_display_name: "admin" });
    expect(JSON.parse(log.extra as string)).toEqual({ is_paused: true, method: "PATCH" });
  });

  it("refuses other masks, other fields and other roles", async () => {
    const dag = await makeDag(database.db);
    const url = `/api/v2/dags/${dag.dag_id}`;
    expect((await api.request("PATCH", `${url}?update_mask=owners`, { is_paused: true })).json()).toEqual({
      detail: "Only `is_paused` field can be updated through the REST API",
    });
    expect((await api.request("PATCH", url, { is_paused: true, x: 1 })).json()).toMatchObject({
      detail: [{ type: "extra_forbidden", loc: ["body", "x"] }],
    });
    expect((await api.request("PATCH", url, {})).json()).toMatchObject({
      detail: [{ type: "missing", loc: ["body", "is_paused"], msg: "Field required", input: {} }],
    });
    api.user = { name: "viewer", role: "VIEWER" };
    expect((await api.request("PATCH", url, { is_paused: true })).statusCode).toBe(403);
  });

  it("is deleted with its history, unless something runs", async () => {
    const { db } = database;
    const dag = await makeDag(db);
    await makeVersion(db, { dag_id: dag.dag_id });
    const run = await makeRun(db, { dag_id: dag.dag_id });
    const ti = await makeTaskInstance(db, { dag_run_id: run.id, state: "running" });
    const url = `/api/v2/dags/${dag.dag_id}`;
    const refused = await api.request("DELETE", url);
    expect(refused.statusCode).toBe(409);
    expect(refused.json()).toEqual({
      detail: `Task instances of dag with id: '${dag.dag_id}' are still running`,
    });
    await db.updateTable("task_instance").set({ state: "success" }).where("id", "=", ti.id).execute();
    expect((await api.request("DELETE", url)).statusCode).toBe(204);
    expect(await db.selectFrom("dag_run").select("id").where("dag_id", "=", dag.dag_id).execute()).toEqual([]);
    expect(api.events).toEqual([
      { kind: "dag-run", dagRunId: run.id },
      { kind: "dag", dagId: dag.dag_id },
    ]);
    expect(api.reparsed).toEqual([`${dag.dag_id}.py`]);
    expect((await api.request("DELETE", url)).statusCode).toBe(404);
  });

  it("is a favourite once, of one user", async () => {
    const dag = await makeDag(database.db);
    const url = `/api/v2/dags/${dag.dag_id}`;
    expect((await api.request("POST", `${url}/favorite`)).statusCode).toBe(204);
    const again = await api.request("POST", `${url}/favorite`);
    expect(again.statusCode).toBe(409);
    expect(again.json()).toMatchObject({ detail: { reason: "Unique constraint violation" } });
    const favorites = `/api/v2/dags?dag_id_pattern=${dag.dag_id}&is_favorite=`;
    expect(idsOf(await api.get(`${favorites}true`))).toEqual([dag.dag_id]);
    api.user = { name: "other", role: "VIEWER" };
    expect(idsOf(await api.get(`${favorites}true`))).toEqual([]);
    expect(idsOf(await api.get(`${favorites}false`))).toEqual([dag.dag_id]);
    api.user = { name: "admin", role: "ADMIN" };
    expect((await api.request("POST", `${url}/unfavorite`)).statusCode).toBe(204);
    expect((await api.request("POST", `${url}/unfavorite`)).json()).toEqual({
      detail: "Dag is not marked as favorite",
    });
    expect((await api.request("POST", "/api/v2/dags/none/favorite")).json()).toEqual({
      detail: "Dag with id 'none' not found",
    });
  });
});

describe("PATCH /dags", () => {
  it("pauses what the pattern means, and nothing without one", async () => {
    const { db } = database;
    const prefix = unique("bulk");
    const first = await makeDag(db, { dag_id: `${prefix}_one` });
    const second = await makeDag(db, { dag_id: `${prefix}_two` });
    expect((await api.request("PATCH", "/api/v2/dags", { is_paused: true })).json()).toEqual({
      dags: [],
      total_entries: 0,
    });
    const response = await api.request("PATCH", `/api/v2/dags?dag_id_pattern=${prefix}`, { is_paused: true });
    expect(response.json()).toMatchObject({
      dags: [
        { dag_id: first.dag_id, is_paused: true },
        { dag_id: second.dag_id, is_paused: true },
      ],
      total_entries: 2,
    });
    expect(api.events).toHaveLength(2);
  });
});

it("lists tags of DAGs that are not stale", async () => {
  const { db } = database;
  const live = await makeDag(db);
  const stale = await makeDag(db, { is_stale: true });
  await db
    .insertInto("dag_tag")
    .values([
      { dag_id: live.dag_id, name: "tag_b" },
      { dag_id: live.dag_id, name: "tag_a" },
      { dag_id: stale.dag_id, name: "tag_c" },
    ])
    .execute();
  expect((await api.get("/api/v2/dagTags?tag_name_pattern=tag_")).json()).toEqual({
    tags: ["tag_a", "tag_b"],
    total_entries: 2,
  });
});
