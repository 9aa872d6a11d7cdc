import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { toJsonText } from "../kit/json-text.ts";
import { createTestDatabase, type TestDatabase } from "../../test/support/database.ts";
import { makeDag, NOON, serializedDag } from "../../test/support/factories.ts";
import { dropAssetReferences, syncAssets } from "./assets.ts";
import { inTransaction } from "./transaction.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.close());

type Tasks = Parameters<typeof serializedDag>[1];
const asset = (name: string, uri = name, more: object = {}) => ({
  __type: "asset",
  name,
  uri,
  group: "asset",
  extra: {},
  ...more,
});
const port = ({ __type, ...__var }: ReturnType<typeof asset>) => ({ __type, __var });
const schedule = (asset_condition: unknown) => ({
  timetable: { __type: "airflow.timetables.simple.AssetTriggeredTimetable", __var: { asset_condition } },
});

async function parse(dagId: string, tasks: Tasks, dag: Record<string, unknown> = {}): Promise<void> {
  const { db } = database;
  if (!(await db.selectFrom("dag").where("dag_id", "=", dagId).select("dag_id").executeTakeFirst())) {
    await makeDag(db, { dag_id: dagId });
  }
  const serialized = toJsonText(serializedDag(dagId, tasks, dag));
  await inTransaction(db, (trx) => syncAssets(trx, [{ dagId, serialized }], NOON));
}

const drop = (dagId: string) => inTransaction(database.db, (trx) => dropAssetReferences(trx, [dagId], NOON));
const activeNames = async () =>
  (await database.db.selectFrom("asset_active").select(["name", "uri"]).orderBy("name").execute()).map(
    ({ name, uri }) => `${name} ${uri}`,
  );
const warnings = async () =>
  Object.fromEntries(
    (await database.db.selectFrom("dag_warning").selectAll().execute()).map((row) => [row.dag_id, row.message]),
  );

describe("what DAGs say about assets", () => {
  it("keeps assets, aliases and who refers to them", async () => {
    const { db } = database;
    const a = asset("a", "s3://a", { extra: { ratio: 1.5 }, group: "g" });
    await parse("producer", [{ id: "t", outlets: [port(a), { __type: "asset_alias", __var: { name: "al" } }] }]);
    await parse(
      "consumer",
      [{ id: "t", inlets: [port(asset("b"))] }],
      schedule({
        __type: "asset_any",
        objects: [
          { __type: "asset_all", objects: [a, asset("b")] },
          { __type: "asset_alias", name: "al", group: "asset" },
          { __type: "asset_ref", name: "n" },
          { __type: "asset_ref", uri: "u" },
        ],
      }),
    );
    expect(await db.selectFrom("asset").select(["name", "uri", "group", "extra"]).orderBy("id").execute()).toEqual([
      { name: "a", uri: "s3://a", group: "g", extra: '{"ratio":1.5}' },
      { name: "b", uri: "b", group: "asset", extra: "{}" },
    ]);
    expect(await db.selectFrom("asset_alias").select("name").execute()).toEqual([{ name: "al" }]);
    const count = async (table: "dag_schedule_asset_reference" | "task_outlet_asset_reference") =>
      (await db.selectFrom(table).select("dag_id").execute()).map((row) => row.dag_id);
    expect(await count("dag_schedule_asset_reference")).toEqual(["consumer", "consumer"]);
    expect(await count("task_outlet_asset_reference")).toEqual(["producer"]);
    expect(await db.selectFrom("dag_schedule_asset_name_reference").select("name").execute()).toEqual([{ name: "n" }]);
    expect(await db.selectFrom("dag_schedule_asset_uri_reference").select("uri").execute()).toEqual([{ uri: "u" }]);
    expect(await activeNames()).toEqual(["a s3://a", "b b"]);

    await parse("consumer", [{ id: "t" }], schedule(a));
    expect(await activeNames()).toEqual(["a s3://a"]);
    expect(await db.selectFrom("dag_schedule_asset_name_reference").select("name").execute()).toEqual([]);
    await drop("producer");
    await drop("consumer");
    expect(await activeNames()).toEqual([]);
    expect(await db.selectFrom("asset").select("name").execute()).toHaveLength(2);
  });

  it("lets the first of two assets with the same name be active, and warns the DAGs of the other", async () => {
    await parse("first", [{ id: "t", outlets: [port(asset("same", "s3://one"))] }]);
    await parse("second", [
      { id: "t", outlets: [port(asset("same", "s3://two"))], inlets: [port(asset("other", "s3://one"))] },
    ]);
    expect(await activeNames()).toEqual(["same s3://one"]);
    expect(await warnings()).toEqual({
      second:
        `Cannot activate asset Asset(name="other", uri="s3://one", group="asset"); uri is already associated to 'same'\n` +
        `Cannot activate asset Asset(name="same", uri="s3://two", group="asset"); name is already associated to 's3://one'`,
    });
    await drop("first");
    expect(await activeNames()).toEqual(["other s3://one", "same s3://two"]);
    expect(await warnings()).toEqual({});
    await drop("second");
  });

  it("keeps watchers by the DAG that declares them", async () => {
    const watched = (minutes: number) =>
      asset("w", "w", { watchers: [{ name: "sees", trigger: { classpath: "m.T", kwargs: { minutes } } }] });
    const rows = () => database.db.selectFrom("asset_watcher").select(["name", "classpath", "kwargs"]).execute();
    await parse("watching", [], schedule(watched(1)));
    await parse("reading", [{ id: "t", inlets: [port(asset("w"))] }]);
    expect(await rows()).toEqual([{ name: "sees", classpath: "m.T", kwargs: '{"minutes":1}' }]);
    await parse("watching", [], schedule(watched(2)));
    expect(await rows()).toEqual([{ name: "sees", classpath: "m.T", kwargs: '{"minutes":2}' }]);
    await drop("watching");
    expect(await rows()).toEqual([]);
  });
});
