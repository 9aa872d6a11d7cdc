import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
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
} from "../../test/support/assets.ts";
import { createTestExecution, raw, type TestExecution } from "../../test/support/execution.ts";
import { makeRun, makeTaskInstance, NOON } from "../../test/support/factories.ts";
import type { DagRunTable } from "../store/schema.ts";
import { VersionCache } from "../store/dag-versions.ts";
import { AssetRunCreator } from "./asset-run-creator.ts";

let t: TestExecution;
let creator: AssetRunCreator;
beforeAll(async () => {
  t = await createTestExecution();
});
afterAll(() => t.database.close());
beforeEach(async () => {
  const { db } = t.database;
  creator = new AssetRunCreator(t.x.kit, { db, bus: t.x.deps.bus, versions: new VersionCache(db) });
  await creator.start();
});
afterEach(async () => {
  await creator.stop();
  await t.database.pool.query("truncate dag, asset, asset_alias, asset_event cascade");
});

const profile = (name: string, uri = name) => ({ name, uri, type: "Asset" });

/** A task of a run of its own succeeds and says this of its outlets. */
async function succeed(
  outlets: object[],
  events: object[] = [],
  run: Partial<Pick<DagRunTable, "partition_key" | "partition_date">> = {},
): Promise<void> {
  const { db } = t.database;
  const made = await makeRun(db, { dag_id: "producer", ...run });
  const ti = await makeTaskInstance(db, { dag_run_id: made.id, state: "running" });
  t.clock.advanceSeconds(1);
  const reply = await t.execution.handle(ti.id, {
    type: "SucceedTask",
    end_date: t.clock.now(),
    task_outlets: outlets,
    outlet_events: raw(JSON.stringify(events)),
  });
  expect(reply).toEqual({ body: null });
  await creator.settled();
}

const producer = (...names: string[]) =>
  makeAssetDag(t.database.db, "producer", { tasks: [{ id: "a", outlets: names.map((name) => port(anAsset(name))) }] });
const consumer = (condition: Encoded, columns = {}, dag = {}) =>
  makeAssetDag(t.database.db, "consumer", { dag: { ...waitsFor(condition), ...dag } }, columns);

interface MadeRun {
  run_id: string;
  run_after: string;
  state: string;
  partition_key: string | null;
  partition_date: string | null;
  events: string[];
}

async function runs(): Promise<MadeRun[]> {
  const { rows } = await t.database.pool.query<MadeRun>(`
    select run_id, run_after, state, partition_key, partition_date, array(
      select a.name || ' ' || e.extra::text from dagrun_asset_event l join asset_event e on e.id = l.event_id
      join asset a on a.id = e.asset_id where l.dag_run_id = r.id order by e.id) as events
    from dag_run r where dag_id = 'consumer' and run_type = 'asset_triggered' order by id`);
  return rows;
}
const eventsOfRuns = async () => (await runs()).map(({ events }) => events);
const finish = async () => {
  await t.database.db
    .updateTable("dag_run")
    .set({ state: "success", end_date: NOON })
    .where("dag_id", "=", "consumer")
    .execute();
  creator.runFinished("consumer");
  await creator.settled();
};

describe("runs for updated assets", () => {
  it("makes one when all assets were updated, with the events since the last one", async () => {
    await producer("a", "b");
    await consumer(all(anAsset("a"), anAsset("b")));
    await succeed([profile("a")], [{ dest_asset_key: { name: "a", uri: "a" }, extra: { n: 1.0 } }]);
    await succeed([profile("a")]);
    expect(await runs()).toEqual([]);
    await succeed([profile("b")]);
    const at = t.clock.now();
    expect(await runs()).toMatchObject([
      { run_after: at, state: "queued", partition_key: null, events: ['a {"n":1}', "a {}", "b {}"] },
    ]);
    expect((await runs())[0]?.run_id).toMatch(/^asset_triggered__2026-01-01T12:00:0\d\+00:00_\w{8}$/);
    await succeed([profile("a"), profile("b")]);
    expect((await eventsOfRuns())[1]).toEqual(["a {}", "b {}"]);
  });

  it("makes one for any of them; one task's events make one run", async () => {
    await producer("a", "b");
    await consumer(any(anAsset("a"), anAsset("b")));
    await succeed([profile("a"), profile("b")]);
    await succeed([profile("b")]);
    expect(await eventsOfRuns()).toEqual([["a {}", "b {}"], ["b {}"]]);
  });

  it("waits while the DAG has too many runs; what came after the first event is for the next", async () => {
    await producer("a");
    await consumer(anAsset("a"), { max_active_runs: 1 });
    await succeed([profile("a")]);
    await succeed([profile("a")], [{ dest_asset_key: profile("a"), extra: { second: true } }]);
    await succeed([profile("a")], [{ dest_asset_key: profile("a"), extra: { third: true } }]);
    expect(await eventsOfRuns()).toEqual([["a {}"]]);
    await finish();
    expect(await eventsOfRuns()).toEqual([["a {}"], ['a {"second":true}']]);
    await finish();
    await succeed([profile("a")]);
    expect((await eventsOfRuns())[2]).toEqual(['a {"third":true}', "a {}"]);
  });

  it("tells nothing to a paused DAG, and shows it what happened with the next event", async () => {
    const { db } = t.database;
    await producer("a");
    await consumer(anAsset("a"), { is_paused: true });
    await succeed([profile("a")]);
    await db.updateTable("dag").set({ is_paused: false }).where("dag_id", "=", "consumer").execute();
    creator.refresh("consumer");
    await creator.settled();
    expect(await runs()).toEqual([]);
    await succeed([profile("a")]);
    expect(await eventsOfRuns()).toEqual([["a {}", "a {}"]]);
  });

  it("keeps what was queued before a pause until the DAG goes on", async () => {
    const { db } = t.database;
    await producer("a", "b");
    await consumer(all(anAsset("a"), anAsset("b")));
    await succeed([profile("a")]);
    await db.updateTable("dag").set({ is_paused: true }).where("dag_id", "=", "consumer").execute();
    await succeed([profile("b")]);
    await db.updateTable("dag").set({ is_paused: false }).where("dag_id", "=", "consumer").execute();
    await succeed([profile("b")]);
    expect(await eventsOfRuns()).toEqual([["a {}", "b {}", "b {}"]]);
  });

  it("leaves out events from before the DAG waited for the asset, unless it catches up", async () => {
    const { db } = t.database;
    const early = () => db.updateTable("dag_schedule_asset_reference").set({ created_at: t.clock.now() }).execute();
    await producer("a");
    await succeed([profile("a")]);
    await consumer(anAsset("a"));
    await early();
    await succeed([profile("a")]);
    expect(await eventsOfRuns()).toEqual([["a {}"]]);
    await makeAssetDag(db, "other", { dag: { ...waitsFor(anAsset("a")), catchup: true } });
    await early();
    await succeed([profile("a")]);
    const { rows } = await t.database.pool.query(
      "select 1 from dagrun_asset_event l join dag_run r on r.id = l.dag_run_id where r.dag_id = 'other'",
    );
    expect(rows).toHaveLength(3);
  });

  it("knows what an alias and a reference stand for", async () => {
    const { db } = t.database;
    await makeAssetDag(db, "producer", { tasks: [{ id: "a", outlets: [port(alias("al"))] }] });
    await consumer(any(alias("al"), nameRef("made")));
    const event = (extra: object) => ({
      source_alias_name: "al",
      dest_asset_key: { name: "made", uri: "s3://made" },
      dest_asset_extra: { size: 1.5 },
      extra,
    });
    const outlet = { name: "al", uri: null, type: "AssetAlias" };
    await succeed([outlet], [event({ z: 1, a: 2 }), { ...event({}), source_alias_name: "no outlet" }]);
    expect(await eventsOfRuns()).toEqual([['made {"a":2,"z":1}']]);
    expect(await db.selectFrom("asset").select(["name", "uri", "extra"]).execute()).toEqual([
      { name: "made", uri: "s3://made", extra: '{"size":1.5}' },
    ]);
    expect(await db.selectFrom("asset_active").selectAll().execute()).toHaveLength(1);
    // A reference gives its DAG a run, but as in Airflow no event.
    await succeed([{ name: "made", uri: null, type: "AssetNameRef" }]);
    expect(await eventsOfRuns()).toEqual([['made {"a":2,"z":1}'], []]);
  });

  it("makes nothing of outlets that are not active, and of an alias that stands for nothing", async () => {
    await producer("a");
    await consumer(any(alias("unknown"), nameRef("unknown"), anAsset("a", "other")));
    await succeed([profile("a", "other"), profile("nobody")]);
    expect(await runs()).toEqual([]);
  });

  it("finds what happened while nobody looked", async () => {
    const { db, pool } = t.database;
    await producer("a");
    await consumer(anAsset("a"));
    await creator.stop();
    await succeed([profile("a")]);
    expect(await runs()).toEqual([]);
    // Something is wrong with its file: it has to wait for that too.
    await db.updateTable("dag").set({ has_import_errors: true }).where("dag_id", "=", "consumer").execute();
    await creator.start();
    await creator.settled();
    expect(await runs()).toEqual([]);
    await db.updateTable("dag").set({ has_import_errors: false }).where("dag_id", "=", "consumer").execute();
    t.x.deps.bus.publish({ kind: "dag", dagId: "consumer" });
    await creator.settled();
    expect(await eventsOfRuns()).toEqual([["a {}"]]);
    expect((await pool.query("select from asset_dag_run_queue")).rowCount).toBe(0);
  });

  it("forgets what was queued for a DAG that waits for assets no longer", async () => {
    const { db } = t.database;
    await producer("a", "b");
    await consumer(all(anAsset("a"), anAsset("b")));
    await succeed([profile("a")]);
    await db.updateTable("dag").set({ asset_expression: null }).where("dag_id", "=", "consumer").execute();
    await creator.runOnce();
    await creator.settled();
    expect(await db.selectFrom("asset_dag_run_queue").selectAll().execute()).toEqual([]);
  });
});

describe("runs for partitions", () => {
  const temporal = (name: string, more = {}) => ({
    __type: `airflow.partition_mappers.temporal.${name}`,
    __var: { timezone: "UTC", input_format: "%Y-%m-%dT%H", output_format: "%Y-%m-%d", ...more },
  });
  const rollup = {
    __type: "airflow.partition_mappers.base.RollupMapper",
    __var: {
      upstream_mapper: {
        __type: "airflow.partition_mappers.fixed_key.FixedKeyMapper",
        __var: { downstream_key: "all" },
      },
      window: { __type: "airflow.partition_mappers.window.SegmentWindow", __var: { segments: ["eu", "us"] } },
      wait_policy: { __type: "airflow.partition_mappers.wait_policy.WaitForAll", __var: {} },
    },
  };
  const identity = { __type: "airflow.partition_mappers.identity.IdentityMapper", __var: {} };
  const partitioned = (asset_condition: Encoded, mapper: object, config: unknown[] = []) => ({
    timetable: {
      __type: "airflow.timetables.simple.PartitionedAssetTimetable",
      __var: { asset_condition, default_partition_mapper: mapper, partition_mapper_config: config },
    },
  });
  const waiting = (condition: Encoded, mapper: object, config: unknown[] = []) =>
    makeAssetDag(t.database.db, "consumer", { dag: partitioned(condition, mapper, config) });
  const logged = async () =>
    (
      await t.database.pool.query<{ event: string }>("select event from log where event ~ 'partition' order by id")
    ).rows.map(({ event }) => event);

  it("makes one for each key, once all assets have it", async () => {
    await producer("a", "b");
    await waiting(all(anAsset("a"), anAsset("b")), identity);
    const date = NOON;
    await succeed([profile("a")], [], { partition_key: "k1", partition_date: date });
    await succeed([profile("b")], [], { partition_key: "k2", partition_date: date });
    expect(await runs()).toEqual([]);
    await succeed([profile("b")], [], { partition_key: "k1", partition_date: date });
    expect(await runs()).toMatchObject([{ partition_key: "k1", partition_date: date, events: ["a {}", "b {}"] }]);
    // The partition has its run: the next event begins another.
    await succeed([profile("b")], [], { partition_key: "k1" });
    expect(await runs()).toHaveLength(1);
  });

  it("maps keys to periods, rolls up, and says in the log what cannot be mapped", async () => {
    await producer("a", "b");
    const own = [[anAsset("b"), rollup]];
    await waiting(any(anAsset("a"), anAsset("b")), temporal("StartOfDayMapper"), own);
    await succeed([profile("a")], [], { partition_key: "2026-03-04T05" });
    expect(await runs()).toMatchObject([
      { partition_key: "2026-03-04", partition_date: "2026-03-04T00:00:00.000000Z" },
    ]);
    await succeed([profile("b")], [], { partition_key: "eu" });
    expect(await runs()).toHaveLength(1);
    await succeed([profile("b")], [{ dest_asset_key: { name: "b", uri: "b" }, extra: {}, partition_key: "us" }], {
      partition_key: "run's",
    });
    expect((await runs())[1]).toMatchObject({ partition_key: "all", partition_date: null, events: ["b {}", "b {}"] });
    await succeed([profile("a")], [], { partition_key: "no time" });
    await succeed([profile("a")]);
    expect(await logged()).toEqual(["failed to map partition_key", "missing partition key"]);
    expect(await runs()).toHaveLength(2);
  });

  it("drops what waits under mappers that are no longer the DAG's; ignores keys where none are wanted", async () => {
    const { db } = t.database;
    await producer("a", "b");
    await waiting(all(anAsset("a"), anAsset("b")), identity);
    await makeAssetDag(db, "plain", { dag: waitsFor(anAsset("a")) });
    await succeed([profile("a")], [], { partition_key: "k" });
    await t.database.pool.query("update asset_partition_dag_run set rollup_fingerprint = '{}'");
    creator.refresh("consumer");
    await creator.settled();
    expect(await db.selectFrom("asset_partition_dag_run").selectAll().execute()).toEqual([]);
    expect(await db.selectFrom("partitioned_asset_key_log").selectAll().execute()).toEqual([]);
    expect(await db.selectFrom("asset_dag_run_queue").selectAll().execute()).toEqual([]);
  });
});
