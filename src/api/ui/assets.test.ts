import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createTestApi, type TestApi } from "../../../test/support/api.ts";
import {
  alias,
  all,
  anAsset,
  any,
  makeAssetDag,
  nameRef,
  port,
  waitsFor,
  type Encoded,
} from "../../../test/support/assets.ts";
import { createTestDatabase, type TestDatabase } from "../../../test/support/database.ts";
import { makeRun, makeTaskInstance } from "../../../test/support/factories.ts";
import { parseInstant } from "../../kit/instant.ts";
import { toJsonText } from "../../kit/json-text.ts";
import { assetRoutes as publicAssetRoutes } from "../public/assets.ts";
import { dagRunClearRoutes } from "../public/dag-runs-clear.ts";
import { dagRunRoutes } from "../public/dag-runs.ts";
import { triggerRoutes } from "../public/trigger.ts";
import { assetRoutes } from "./assets.ts";
import { dependencyRoutes } from "./dependencies.ts";
import { structureRoutes } from "./structure.ts";

let database: TestDatabase;
let ui: TestApi;
let api: TestApi;

const rollup = {
  __type: "airflow.partition_mappers.base.RollupMapper",
  __var: {
    upstream_mapper: { __type: "airflow.partition_mappers.fixed_key.FixedKeyMapper", __var: { downstream_key: "all" } },
    window: { __type: "airflow.partition_mappers.window.SegmentWindow", __var: { segments: ["eu", "us"] } },
    wait_policy: { __type: "airflow.partition_mappers.wait_policy.WaitForAll", __var: {} },
  },
};
const identity = { __type: "airflow.partition_mappers.identity.IdentityMapper", __var: {} };
const partitioned = (asset_condition: Encoded, config: unknown[]) => ({
  timetable: {
    __type: "airflow.timetables.simple.PartitionedAssetTimetable",
    __var: { asset_condition, default_partition_mapper: identity, partition_mapper_config: config },
  },
});
const CRON = {
  timetable: {
    __type: "airflow.timetables.trigger.CronPartitionTimetable",
    __var: {
      expression: "0 0 * * *",
      timezone: "Europe/Paris",
      run_offset: 0,
      key_format: "%Y-%m-%d",
      run_immediately: false,
    },
  },
};
const expression = (...names: string[]) =>
  toJsonText({ all: names.map((name) => ({ asset: { name, uri: name, group: "asset" } })) });
const dependency = (source: string, target: string, type: string, id: string) => ({
  ...{ source, target, label: id },
  ...{ dependency_type: type, dependency_id: type === "asset" ? JSON.stringify({ name: id, uri: id }) : id },
});

beforeAll(async () => {
  database = await createTestDatabase();
  const { db } = database;
  ui = await createTestApi(db, [assetRoutes, dependencyRoutes, structureRoutes], { prefix: "/ui" });
  api = await createTestApi(db, [publicAssetRoutes, dagRunRoutes, dagRunClearRoutes, triggerRoutes]);
  await makeAssetDag(db, "make", {
    tasks: [{ id: "t", outlets: [port(anAsset("a")), port(alias("al"))] }],
    dag: {
      dag_dependencies: [
        dependency("make", "asset", "asset", "a"),
        dependency("make", "asset-alias", "asset-alias", "al"),
      ],
    },
  });
  await makeAssetDag(
    db,
    "plain",
    {
      tasks: [{ id: "t", inlets: [port(anAsset("a"))], outlets: [port(anAsset("c"))] }],
      dag: {
        ...waitsFor(any(all(anAsset("a"), anAsset("b")), alias("al"), nameRef("a"))),
        dag_dependencies: [
          dependency("asset", "plain", "asset", "a"),
          dependency("asset", "plain", "asset", "b"),
          dependency("asset-alias", "plain", "asset-alias", "al"),
          dependency("asset-name-ref", "plain", "asset-name-ref", "a"),
          dependency("plain", "asset", "asset", "c"),
        ],
      },
    },
    {
      asset_expression: toJsonText({
        any: [JSON.parse(expression("a", "b")), { alias: { name: "al", group: "" } }, { asset_ref: { name: "a" } }],
      }),
    },
  );
  await makeAssetDag(
    db,
    "parts",
    { dag: partitioned(all(anAsset("a"), anAsset("b")), [[anAsset("b"), rollup]]) },
    { asset_expression: expression("a", "b") },
  );
  await makeAssetDag(db, "cron", { dag: CRON }, { timetable_partitioned: true });
});
afterAll(async () => {
  await ui.close();
  await api.close();
  await database.close();
});

const get = async <T>(path: string): Promise<T> => {
  const answer = await (path.startsWith("/ui") ? ui : api).get(path);
  expect([path, answer.statusCode]).toEqual([path, 200]);
  return answer.json();
};
const event = (asset_id: number, partition_key?: string) =>
  api.request("POST", "/api/v2/assets/events", { asset_id, ...(partition_key === undefined ? {} : { partition_key }) });

describe("what a DAG waits for", () => {
  it("shows which assets were updated, and their ids in the expression", async () => {
    await event(1);
    const { asset_expression, events, pending_partition_count } =
      await get<Record<string, unknown>>("/ui/next_run_assets/plain");
    expect(asset_expression).toMatchObject({
      any: [
        { all: [{ asset: { name: "a", id: 1 } }, { asset: { name: "b" } }] },
        { alias: { name: "al" } },
        { asset_ref: { name: "a" } },
      ],
    });
    expect(events).toMatchObject([
      {
        name: "a",
        last_update: expect.any(String) as string,
        asset_inactive: false,
        received_count: 0,
        required_count: 1,
      },
      { name: "b", last_update: null },
    ]);
    expect(pending_partition_count).toBeNull();
    expect((await ui.get("/ui/next_run_assets/none")).statusCode).toBe(404);
  });

  it("shows what partitions have and still need", async () => {
    const b = (await get<{ assets: { id: number; name: string }[] }>("/api/v2/assets")).assets.find(
      ({ name }) => name === "b",
    );
    expect(await get("/ui/next_run_assets/parts")).toMatchObject({
      events: [
        { name: "a", is_rollup: false },
        { name: "b", is_rollup: true, required_count: 1 },
      ],
      pending_partition_count: 0,
    });
    await event(b?.id ?? 0, "eu");
    await event(b?.id ?? 0, "odd");
    await event(1, "k");
    expect(await get("/ui/next_run_assets/parts")).toMatchObject({
      events: [
        { name: "a", received_count: 0, required_count: 1, required_keys: ["all"], last_update: null },
        { name: "b", received_count: 2, required_count: 2, received_keys: ["eu", "odd"], required_keys: ["eu", "us"] },
      ],
      pending_partition_count: 2,
    });
    expect(await get("/ui/partitioned_dag_runs?dag_id=parts&has_created_dag_run_id=false")).toMatchObject({
      partitioned_dag_runs: [
        { partition_key: "k", total_received: 1, total_required: 3, state: "pending", created_dag_run_id: null },
        { partition_key: "all", total_received: 1, total_required: 3 },
      ],
      total: 2,
      asset_expressions: null,
    });
    expect(await get("/ui/partitioned_dag_runs")).toMatchObject({ asset_expressions: { parts: { all: [{}, {}] } } });
    expect(await get("/ui/partitioned_dag_runs?dag_id=plain")).toEqual({
      partitioned_dag_runs: [],
      total: 0,
      asset_expressions: null,
    });
    expect(await get("/ui/pending_partitioned_dag_run/parts?partition_key=k")).toMatchObject({
      partition_key: "k",
      assets: [
        { asset_name: "a", received: true, received_count: 1, required_keys: ["k"] },
        { asset_name: "b", received: false, received_count: 0, required_count: 2 },
      ],
      total_required: 3,
      total_received: 1,
    });
    expect((await ui.get("/ui/pending_partitioned_dag_run/parts?partition_key=none")).json()).toEqual({
      detail: "No PartitionedDagRun for dag=parts partition=none",
    });
  });
});

describe("graphs", () => {
  it("of what runs what have assets between DAGs, and references as their assets", async () => {
    const { nodes, edges } = await get<{ nodes: { id: string; type: string }[]; edges: object[] }>("/ui/dependencies");
    expect(
      nodes
        .filter(({ type }) => type.startsWith("asset"))
        .map(({ id }) => id)
        .sort(),
    ).toEqual(expect.arrayContaining(["asset-alias:al", "asset:1"]));
    expect(edges).toEqual(
      expect.arrayContaining([
        { source_id: "dag:make", target_id: "asset:1" },
        { source_id: "asset:1", target_id: "dag:plain" },
        { source_id: "asset-alias:al", target_id: "dag:plain" },
      ]),
    );
  });

  it("of data have the tasks that read and update assets", async () => {
    const { nodes, edges } = await get<{ nodes: { id: string }[]; edges: object[] }>(
      "/ui/dependencies?node_id=asset:1&dependency_type=data",
    );
    expect(nodes.map(({ id }) => id)).toEqual([
      "asset:1",
      expect.stringMatching(/^asset:\d+$/),
      "task:make__SEPARATOR__t",
      "task:plain__SEPARATOR__t",
    ]);
    expect(edges).toContainEqual({ source_id: "asset:1", target_id: "task:plain__SEPARATOR__t" });
    expect((await ui.get("/ui/dependencies?node_id=asset:99&dependency_type=data")).statusCode).toBe(404);
  });

  it("of a DAG have its assets as gates before it, and those it updates at their task", async () => {
    const path = "/ui/structure/structure_data?dag_id=plain&external_dependencies=true";
    const { nodes, edges } = await get<{ nodes: { id: string; type: string }[]; edges: object[] }>(path);
    expect(nodes.map(({ id, type }) => `${type} ${id}`)).toEqual(
      expect.arrayContaining([
        "asset-condition or-gate-0",
        "asset-condition and-gate-1",
        "asset 1",
        "asset-alias al",
        "asset-name-ref a",
      ]),
    );
    expect(edges).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ source_id: "or-gate-0", target_id: "t", is_source_asset: true }),
        expect.objectContaining({ source_id: "and-gate-1", target_id: "or-gate-0", is_source_asset: false }),
        expect.objectContaining({ source_id: "t", target_id: expect.stringMatching(/^asset:/) as string }),
      ]),
    );
  });
});

describe("runs of a partition", () => {
  const trigger = (dagId: string, body: object) =>
    api.request("POST", `/api/v2/dags/${dagId}/dagRuns`, { logical_date: null, ...body });

  it("are made by hand with a key that the timetable reads", async () => {
    expect((await trigger("cron", { partition_key: "2026-07-01" })).json()).toMatchObject({
      partition_key: "2026-07-01",
      partition_date: "2026-06-30T22:00:00Z",
    });
    expect((await trigger("cron", { partition_key: "July" })).json()).toEqual({
      detail:
        "Partition key 'July' does not match the timetable's key_format '%Y-%m-%d': time data 'July' does not match format '%Y-%m-%d'",
    });
    expect((await trigger("cron", { partition_key: " " })).statusCode).toBe(400);
    expect((await trigger("plain", { partition_key: "k" })).json()).toEqual({
      detail: "Dag 'plain' is not a partitioned Dag and does not accept a partition_key.",
    });
    expect((await trigger("parts", { partition_key: "k" })).json()).toMatchObject({ partition_date: null });
  });

  it("are found by day, and lose their partition when told to", async () => {
    const { db } = database;
    const partition_date = parseInstant("2026-08-01T22:30:00Z");
    const run = await makeRun(db, { dag_id: "cron", run_id: "aug", partition_key: "k", partition_date });
    await makeTaskInstance(db, { dag_run_id: run.id, state: "success" });
    const found = async (query: string) =>
      (await get<{ total_entries: number }>(`/api/v2/dags/cron/dagRuns?${query}`)).total_entries;
    // In Paris it is the second of August.
    expect(await found("partition_date_gte=2026-08-02&partition_date_lte=2026-08-02")).toBe(1);
    expect(await found("partition_date_gte=2026-08-01&partition_date_lte=2026-08-01")).toBe(0);
    expect((await api.get("/api/v2/dags/plain/dagRuns?partition_date_gte=2026-08-02")).statusCode).toBe(400);
    const clear = async (body: object) => {
      const answer = await api.request("POST", "/api/v2/dags/cron/clearPartitions", body);
      return answer.json<object>();
    };
    const window = { partition_date_start: "2026-08-02T00:00:00", partition_date_end: "2026-08-02T12:00:00Z" };
    expect(await clear({ ...window, clear_task_instances: true })).toEqual({
      dag_runs_cleared: 1,
      task_instances_cleared: 1,
      dry_run: true,
    });
    expect(await clear({ partition_key: "k", dry_run: false })).toMatchObject({ dag_runs_cleared: 1, dry_run: false });
    expect(await clear({ run_id: "aug" })).toMatchObject({ dag_runs_cleared: 0 });
    expect(await get("/api/v2/dags/cron/dagRuns/aug")).toMatchObject({ partition_key: null, partition_date: null });
    expect(
      (await api.request("POST", "/api/v2/dags/cron/clearDagRuns", { partition_key: "2026-07-01" })).json(),
    ).toMatchObject({ total_entries: 0 });
  });
});
