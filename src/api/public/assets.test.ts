import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createTestApi, type TestApi } from "../../../test/support/api.ts";
import { alias, all, anAsset, makeAssetDag, port, waitsFor } from "../../../test/support/assets.ts";
import { createTestDatabase, type TestDatabase } from "../../../test/support/database.ts";
import { makeRun } from "../../../test/support/factories.ts";
import { assetRoutes } from "./assets.ts";
import { dagRunRoutes } from "./dag-runs.ts";

let database: TestDatabase;
let api: TestApi;
let told: (readonly string[])[];
beforeAll(async () => {
  database = await createTestDatabase();
  api = await createTestApi(database.db, [assetRoutes, dagRunRoutes]);
  api.context.bus.on("assets-updated", ({ dagIds }) => told.push(dagIds));
});
afterAll(async () => {
  await api.close();
  await database.close();
});
beforeEach(async () => {
  told = [];
  api.user = { name: "admin", role: "ADMIN" };
  await database.pool.query("truncate dag, asset, asset_alias, asset_event, log restart identity cascade");
  const { db } = database;
  const a = anAsset("a", "s3://a", { extra: { ratio: 1, password: "x" } });
  const outlets = [port(a), port(alias("al"))];
  await makeAssetDag(db, "producer", { tasks: [{ id: "t", outlets }] });
  await makeAssetDag(db, "consumer", { dag: waitsFor(all(a, anAsset("b"))) }, { dag_display_name: "Consumer" });
});

const get = async (path: string) => {
  const response = await api.get(`/api/v2${path}`);
  return { status: response.statusCode, body: response.json<Record<string, unknown>>() };
};
const post = async (path: string, body?: unknown) => {
  const response = await api.request("POST", `/api/v2${path}`, body);
  return { status: response.statusCode, body: response.json<Record<string, unknown>>() };
};
const remove = async (path: string) => (await api.request("DELETE", `/api/v2${path}`)).statusCode;
const names = (list: unknown) => (list as { name: string }[]).map(({ name }) => name);
const audited = async () =>
  (await database.db.selectFrom("log").select("event").orderBy("id").execute()).map(({ event }) => event);

describe("/assets", () => {
  it("shows an asset with all that refers to it", async () => {
    const { body } = await get("/assets/1");
    const times = { created_at: "2026-01-01T12:00:00Z", updated_at: "2026-01-01T12:00:00Z" };
    expect(body).toEqual({
      id: 1,
      name: "a",
      uri: "s3://a",
      group: "asset",
      extra: { ratio: 1, password: "***" },
      ...times,
      scheduled_dags: [{ dag_id: "consumer", ...times }],
      producing_tasks: [{ dag_id: "producer", task_id: "t", ...times }],
      consuming_tasks: [],
      aliases: [],
      watchers: [],
      last_asset_event: { id: null, timestamp: null },
    });
    expect(await get("/assets/9")).toEqual({
      status: 404,
      body: { detail: "The Asset with ID: `9` was not found" },
    });
  });

  it("lists, filters and sorts", async () => {
    await makeAssetDag(database.db, "other", { tasks: [{ id: "t", outlets: [port(anAsset("c", "s3://a"))] }] });
    expect(names((await get("/assets")).body.assets)).toEqual(["a", "b"]);
    expect(names((await get("/assets?only_active=false&order_by=-name")).body.assets)).toEqual(["c", "b", "a"]);
    expect(names((await get("/assets?only_active=false&dag_ids=other,nobody")).body.assets)).toEqual(["c"]);
    expect(names((await get("/assets?name_pattern=B")).body.assets)).toEqual(["b"]);
    expect(names((await get("/assets?uri_prefix_pattern=s3")).body.assets)).toEqual(["a"]);
    expect((await get("/assets?limit=1")).body).toMatchObject({ total_entries: 2 });
    expect((await get("/assets/aliases?name_pattern=al")).body).toEqual({
      asset_aliases: [{ id: 1, name: "al", group: "asset" }],
      total_entries: 1,
    });
    expect((await get("/assets/aliases/1")).body).toEqual({ id: 1, name: "al", group: "asset" });
  });
});

describe("/assets/events", () => {
  it("takes what happened outside, tells who waits, and shows it", async () => {
    const { status, body } = await post("/assets/events", { asset_id: 1, extra: { n: 2 } });
    expect(status).toBe(200);
    expect(body).toMatchObject({
      id: 1,
      asset_id: 1,
      uri: "s3://a",
      name: "a",
      extra: { n: 2, from_rest_api: true },
      source_task_id: null,
      source_map_index: -1,
      created_dagruns: [],
      partition_key: null,
    });
    expect(told).toEqual([["consumer"]]);
    expect(await post("/assets/events", { asset_id: 9 })).toEqual({
      status: 404,
      body: { detail: "Asset with ID: `9` was not found" },
    });
    expect((await post("/assets/events", { asset_id: 1, partition_key: "  " })).status).toBe(422);
    await post("/assets/events", { asset_id: 2, partition_key: "k" });
    const ids = async (query: string) =>
      ((await get(`/assets/events?${query}`)).body.asset_events as { id: number }[]).map(({ id }) => id);
    expect(await ids("")).toEqual([1, 2]);
    expect(await ids("order_by=-timestamp&asset_id=2")).toEqual([2]);
    expect(await ids("name_pattern=a")).toEqual([1]);
    expect(await ids("source_dag_id=producer")).toEqual([]);
    expect(await ids("timestamp_lt=2020-01-01T00:00:00Z")).toEqual([]);
    expect((await get("/assets/1")).body.last_asset_event).toMatchObject({ id: 1 });
    expect(new Set(await audited())).toEqual(new Set(["create_asset_event"]));
    api.user = { name: "u", role: "USER" };
    expect((await post("/assets/events", { asset_id: 1 })).status).toBe(403);
  });

  it("names the events of a run, and which of them triggered it", async () => {
    const { db } = database;
    await post("/assets/events", { asset_id: 1 });
    await post("/assets/events", { asset_id: 2 });
    const run = await makeRun(db, { dag_id: "consumer", run_id: "r", run_type: "asset_triggered" });
    await db
      .insertInto("dagrun_asset_event")
      .values([1, 2].map((event_id) => ({ dag_run_id: run.id, event_id })))
      .execute();
    const { body } = await get("/dags/consumer/dagRuns/r/upstreamAssetEvents");
    expect(body.total_entries).toBe(2);
    const events = body.asset_events as { created_dagruns: object[] }[];
    expect(events.map(({ created_dagruns }) => created_dagruns[0])).toMatchObject([
      { run_id: "r", dag_id: "consumer", state: "running", start_date: "2026-01-01T12:00:00Z", triggering: false },
      { run_id: "r", triggering: true },
    ]);
    expect((await get("/dags/~/dagRuns?consuming_asset_pattern=S3")).body.total_entries).toBe(1);
    expect((await get("/dags/~/dagRuns?consuming_asset_pattern=%25")).body.total_entries).toBe(0);
    expect((await get("/dags/consumer/dagRuns/none/upstreamAssetEvents")).status).toBe(404);
  });
});

describe("queued events", () => {
  it("are seen and taken away from both sides", async () => {
    await post("/assets/events", { asset_id: 1 });
    await post("/assets/events", { asset_id: 2 });
    expect((await get("/dags/consumer/assets/queuedEvents")).body).toMatchObject({
      queued_events: [
        { dag_id: "consumer", asset_id: 1, dag_display_name: "Consumer" },
        { dag_id: "consumer", asset_id: 2 },
      ],
      total_entries: 2,
    });
    expect((await get("/assets/1/queuedEvents")).body.total_entries).toBe(1);
    expect((await get("/assets/1/queuedEvents?before=2020-01-01T00:00:00Z")).body.total_entries).toBe(0);
    expect((await get("/dags/consumer/assets/2/queuedEvents")).body).toMatchObject({ asset_id: 2 });
    expect(await remove("/dags/consumer/assets/2/queuedEvents")).toBe(204);
    expect((await get("/dags/consumer/assets/2/queuedEvents")).body).toEqual({
      detail: "Queued event with dag_id: `consumer` and asset_id: `2` was not found",
    });
    expect(await remove("/assets/1/queuedEvents")).toBe(204);
    expect(await remove("/assets/1/queuedEvents")).toBe(404);
    expect(await remove("/dags/consumer/assets/queuedEvents")).toBe(404);
    expect(await audited()).toContain("delete_dag_asset_queued_event");
    api.user = { name: "u", role: "USER" };
    expect(await remove("/dags/consumer/assets/queuedEvents")).toBe(403);
  });
});

describe("materialize", () => {
  it("runs the one DAG that updates the asset", async () => {
    const { status, body } = await post("/assets/1/materialize");
    expect(status).toBe(200);
    expect(body).toMatchObject({
      dag_id: "producer",
      run_type: "asset_materialization",
      state: "queued",
      triggered_by: "rest_api",
      triggering_user_name: "admin",
      conf: {},
      logical_date: null,
    });
    expect(body.dag_run_id).toMatch(/^asset_materialization__/);
    const given = { dag_run_id: "mine", conf: { a: 1 }, note: "why", logical_date: "2026-01-01T00:00:00Z" };
    expect((await post("/assets/1/materialize", given)).body).toMatchObject({
      dag_run_id: "mine",
      conf: { a: 1 },
      note: "why",
      logical_date: "2026-01-01T00:00:00Z",
    });
    expect((await post("/assets/1/materialize", { dag_run_id: "mine" })).status).toBe(409);
    expect((await post("/assets/1/materialize", { partition_key: "k" })).body).toEqual({
      detail: "Dag 'producer' is not a partitioned Dag and does not accept a partition_key.",
    });
    expect(await post("/assets/2/materialize")).toEqual({
      status: 404,
      body: { detail: "No Dag materializes asset with ID: 2" },
    });
    await makeAssetDag(database.db, "second", { tasks: [{ id: "t", outlets: [port(anAsset("a", "s3://a"))] }] });
    expect(await post("/assets/1/materialize")).toEqual({
      status: 409,
      body: { detail: "More than one Dag materializes asset with ID: 1" },
    });
  });
});

describe("the asset state store", () => {
  it("keeps values by key, with who wrote them", async () => {
    const put = (key: string, body: unknown) => api.request("PUT", `/api/v2/assets/1/state-store/${key}`, body);
    expect((await put("mark/1", { value: { at: 1.5 } })).statusCode).toBe(204);
    expect((await put("other", { value: "x" })).statusCode).toBe(204);
    expect((await put("other", { value: null })).statusCode).toBe(422);
    expect((await get("/assets/1/state-store/mark/1")).body).toMatchObject({
      key: "mark/1",
      value: { at: 1.5 },
      last_updated_by: { kind: "api", dag_id: null, run_id: null, task_id: null, map_index: null },
    });
    expect((await get("/assets/1/state-store?limit=1")).body).toMatchObject({
      asset_state_store: [{ key: "mark/1" }],
      total_entries: 2,
    });
    expect(await remove("/assets/1/state-store/mark/1")).toBe(204);
    expect((await get("/assets/1/state-store/mark/1")).body).toEqual({
      detail: "Asset state store key 'mark/1' not found",
    });
    expect(await remove("/assets/1/state-store")).toBe(204);
    expect((await get("/assets/1/state-store")).body).toMatchObject({ total_entries: 0 });
    expect((await get("/assets/9/state-store")).body).toEqual({ detail: "Asset with id 9 not found" });
  });
});
