import { cpSync, mkdirSync, mkdtempSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Client } from "../../bench/client.ts";
import {
  createLiteHome,
  logOf,
  runDag,
  runPath,
  until,
  waitForDag,
  waitForRun,
  xcomOf,
  type Lite,
  type LiteHome,
} from "../support/lite.ts";

const folder = join(import.meta.dirname, "assets");
const CONSUMERS = [
  "on_raw",
  "on_both",
  "on_any",
  "on_alias",
  "on_reference",
  "on_raw_or_time",
  "on_keyed",
  "on_all_keys",
];

let home: LiteHome;
let lite: Lite;
let client: Client;
let inbox: string;

beforeAll(async () => {
  home = await createLiteHome();
  inbox = mkdtempSync(join(dirname(home.home), "inbox-"));
  for (const file of ["assets_producers.py", "assets_consumers.py"]) {
    cpSync(join(folder, file), join(home.workspace, file));
  }
  const watched = readFileSync(join(folder, "assets_watched.py"), "utf8").replace("INBOX_FOLDER", inbox);
  writeFileSync(join(home.workspace, "assets_watched.py"), watched);
  lite = await home.start();
  ({ client } = lite);
  for (const dagId of [...CONSUMERS, "make_raw", "on_inbox", "circle", "chained"]) await waitForDag(client, dagId);
  for (const dagId of [...CONSUMERS, "on_unknown_alias", "on_final", "chained"]) await client.unpause(dagId);
}, 120_000);
afterAll(() => home.remove());

interface Run {
  dag_run_id: string;
  state: string;
  run_type: string;
  logical_date: string | null;
  partition_key: string | null;
  triggered_by: string;
}

async function runsOf(dagId: string): Promise<Run[]> {
  const path = `/api/v2/dags/${dagId}/dagRuns?order_by=id&limit=100`;
  return ((await client.call("GET", path)) as { dag_runs: Run[] }).dag_runs;
}

/** Waits until the DAG has so many ended runs; returns them. */
async function ended(dagId: string, count: number): Promise<Run[]> {
  await until(`${dagId} has ${count} runs`, async () => {
    const runs = await runsOf(dagId);
    return runs.length >= count && runs.every(({ state }) => state === "success" || state === "failed");
  });
  return await runsOf(dagId);
}

/** What the task of a run saw. */
const seen = async (dagId: string, run: Run | undefined, taskId = "see") =>
  await xcomOf(client, dagId, run?.dag_run_id ?? "", taskId);

async function assetOf(name: string): Promise<{ id: number; extra: unknown; watchers: unknown[] }> {
  const path = `/api/v2/assets?name_prefix_pattern=${name}&only_active=false`;
  const { assets } = (await client.call("GET", path)) as {
    assets: { id: number; name: string; extra: unknown; watchers: unknown[] }[];
  };
  const found = assets.find((asset) => asset.name === name);
  if (!found) throw new Error(`no asset ${name}`);
  return found;
}

const eventsOf = async (name: string) =>
  (
    (await client.call("GET", `/api/v2/assets/events?asset_id=${(await assetOf(name)).id}&limit=100`)) as {
      asset_events: { extra: unknown; source_map_index: number; partition_key: string | null }[];
    }
  ).asset_events;

describe("assets", () => {
  it("a task's update runs the DAGs that wait for it, with what it said", async () => {
    await runDag(client, "make_raw");
    const [run] = await ended("on_raw", 1);
    expect(run).toMatchObject({
      run_type: "asset_triggered",
      triggered_by: "asset",
      logical_date: null,
      state: "success",
    });
    expect(await seen("on_raw", run)).toEqual({
      events: [["raw", 1, [{ rows: 3, ratio: 1 }], ["write"]]],
      type: "asset_triggered",
      logical_date: null,
      interval: [null, null],
      partition: null,
    });
    expect(await runsOf("on_both")).toEqual([]);
    // A reference gives the run no event, as in Airflow.
    expect(await seen("on_reference", (await ended("on_reference", 1))[0])).toMatchObject({ events: [] });
    const [timed] = await ended("on_raw_or_time", 1);
    expect(timed).toMatchObject({ run_type: "asset_triggered" });
    const upstream = (await client.call("GET", `${runPath("on_raw", run?.dag_run_id ?? "")}/upstreamAssetEvents`)) as {
      asset_events: object[];
    };
    expect(upstream.asset_events).toMatchObject([
      {
        name: "raw",
        source_dag_id: "make_raw",
        source_task_id: "write",
        created_dagruns: expect.any(Array) as unknown,
      },
    ]);
  });

  it("one task's updates of several assets make one run", async () => {
    await runDag(client, "make_both");
    const both = await ended("on_both", 1);
    expect(await seen("on_both", both[0])).toMatchObject({
      events: [
        ["clean", 1, [{}], ["both"]],
        ["raw", 2, [{ rows: 3, ratio: 1 }, { from: "metadata" }], ["write", "both"]],
      ],
    });
  });

  it("nothing comes of a task that fails; every mapped task makes an event", async () => {
    const before = (await eventsOf("clean")).length;
    expect((await runDag(client, "fail_to_make")).state).toBe("failed");
    expect((await eventsOf("clean")).length).toBe(before);
    // A task that does nothing but update an asset does that.
    await runDag(client, "make_nothing");
    await runDag(client, "make_mapped");
    const events = await eventsOf("clean");
    expect(
      events
        .slice(before + 1)
        .map(({ source_map_index }) => source_map_index)
        .sort(),
    ).toEqual([0, 1, 2]);
  });

  it("an alias makes the asset that a task updates through it", async () => {
    await runDag(client, "make_by_alias");
    const [run] = await ended("on_alias", 1);
    expect(await seen("on_alias", run, "see_alias")).toEqual([["s3://reports/today", { pages: 2 }, ["reports"]]]);
    expect(await client.call("GET", `/api/v2/assets/${(await assetOf("report")).id}`)).toMatchObject({
      uri: "s3://reports/today",
      aliases: [{ name: "reports" }],
    });
    expect(await runsOf("on_unknown_alias")).toEqual([]);
  });

  it("tasks read the events of their inlets, and one DAG's asset runs the next", async () => {
    await ended("chained", 1);
    const before = (await runsOf("on_final")).length;
    await runDag(client, "make_both");
    const chained = (await ended("chained", 2)).at(-1);
    await until("the next DAG ran", async () => (await runsOf("on_final")).length > before);
    expect(await seen("chained", chained, "read")).toEqual([
      expect.any(Number) as number,
      { from: "metadata" },
      expect.any(Number) as number,
    ]);
  });

  it("partitions get their own runs, each when it is whole", async () => {
    await runDag(client, "make_keyed");
    const keyed = await ended("on_keyed", 2);
    expect(keyed.map(({ partition_key }) => partition_key).sort()).toEqual(["eu", "us"]);
    const [whole] = await ended("on_all_keys", 1);
    expect(whole).toMatchObject({ partition_key: "everywhere" });
    expect(await seen("on_all_keys", whole)).toMatchObject({ events: [["keyed", 2, [{}, {}], ["parts", "parts"]]] });
    expect(await client.call("GET", "/ui/partitioned_dag_runs?dag_id=on_all_keys")).toMatchObject({
      partitioned_dag_runs: [{ partition_key: "everywhere", total_received: 2, total_required: 2, state: "success" }],
    });
  });

  it("a task that uses an asset that is not active fails, and the DAG is warned", async () => {
    const { state, runId } = await runDag(client, "conflict");
    expect(state).toBe("failed");
    expect(await logOf(client, "conflict", runId, "inactive")).toContain(
      "AirflowInactiveAssetInInletOrOutletException",
    );
    const { dag_warnings } = (await client.call("GET", "/api/v2/dagWarnings?dag_id=conflict")) as {
      dag_warnings: { message: string }[];
    };
    expect(dag_warnings[0]?.message).toContain(`name is already associated to 'taken'`);
  });

  it("tasks keep a mark for an asset between runs", async () => {
    const first = await runDag(client, "keeper");
    const second = await runDag(client, "keeper");
    expect(await xcomOf(client, "keeper", first.runId, "keep")).toEqual([null]);
    expect(await xcomOf(client, "keeper", second.runId, "keep")).toEqual([1]);
    const { id } = await assetOf("raw");
    expect(await client.call("GET", `/api/v2/assets/${id}/state-store/mark`)).toMatchObject({
      value: 2,
      last_updated_by: { kind: "task", dag_id: "keeper", task_id: "keep" },
    });
  });

  it("a circle of assets turns until it is paused, and harms no other", async () => {
    await client.unpause("circle");
    await client.call("POST", "/api/v2/assets/events", { asset_id: (await assetOf("round")).id });
    await until("it turned three times", async () => (await runsOf("circle")).length >= 3);
    await client.call("PATCH", "/api/v2/dags/circle", { is_paused: true });
    expect((await runDag(client, "make_raw")).state).toBe("success");
  });

  it("events from outside, queued events and materialize", async () => {
    const { id } = await assetOf("raw");
    const { id: clean } = await assetOf("clean");
    await client.call("DELETE", "/api/v2/dags/on_both/assets/queuedEvents").catch(() => undefined);
    const before = (await runsOf("on_both")).length;
    await client.call("POST", "/api/v2/assets/events", { asset_id: id, extra: { by: "hand" } });
    expect(await client.call("GET", "/api/v2/dags/on_both/assets/queuedEvents")).toMatchObject({
      queued_events: [{ asset_id: id }],
    });
    expect(await client.call("GET", "/ui/next_run_assets/on_both")).toMatchObject({
      events: [
        { name: "clean", last_update: null },
        { name: "raw", last_update: expect.any(String) as string },
      ],
    });
    await client.call("DELETE", `/api/v2/dags/on_both/assets/${id}/queuedEvents`);
    await client.call("POST", "/api/v2/assets/events", { asset_id: clean });
    expect((await runsOf("on_both")).length).toBe(before);
    const made = (await client.call("POST", `/api/v2/assets/${(await assetOf("decorated")).id}/materialize`)) as Run;
    expect(made).toMatchObject({ run_type: "asset_materialization" });
    await client.unpause("decorated");
    expect((await waitForRun(client, "decorated", made.dag_run_id)).state).toBe("success");
    expect(await eventsOf("decorated")).toHaveLength(1);
  });

  it("a watcher's event runs the DAG, while one that waits for it is not paused", async () => {
    writeFileSync(join(inbox, "early"), "");
    expect((await assetOf("inbox")).watchers).toEqual([]);
    await client.unpause("on_inbox");
    const [first] = await ended("on_inbox", 1);
    expect(await seen("on_inbox", first)).toEqual([{ from_trigger: true, payload: { name: "early" } }]);
    expect((await assetOf("inbox")).watchers).toMatchObject([{ name: "folder" }]);
    writeFileSync(join(inbox, "later"), "");
    expect(await seen("on_inbox", (await ended("on_inbox", 2))[1])).toEqual([
      { from_trigger: true, payload: { name: "later" } },
    ]);
    await client.call("PATCH", "/api/v2/dags/on_inbox", { is_paused: true });
    await until("it is not watched", async () => (await assetOf("inbox")).watchers.length === 0);
  });

  it("an asset that no DAG names any more is not active", async () => {
    const aside = join(home.workspace, "assets_watched.py");
    mkdirSync(join(dirname(home.home), "aside"), { recursive: true });
    renameSync(aside, join(dirname(home.home), "aside/assets_watched.py"));
    const active = async () =>
      (await client.call("GET", "/api/v2/assets?name_pattern=inbox")) as { total_entries: number };
    await until("it is gone", async () => (await active()).total_entries === 0);
    expect((await assetOf("inbox")).id).toBeGreaterThan(0);
  });
});
