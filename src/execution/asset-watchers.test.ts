import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { anAsset, makeAssetDag, waitsFor } from "../../test/support/assets.ts";
import { createTestExecution, type TestExecution } from "../../test/support/execution.ts";
import type { JsonText } from "../kit/json-text.ts";
import { AssetWatchers } from "./asset-watchers.ts";

let t: TestExecution;
beforeAll(async () => {
  t = await createTestExecution();
});
afterAll(() => t.database.close());

const watched = (name: string, path: string) =>
  anAsset(name, name, { watchers: [{ name: "w", trigger: { classpath: "m.Saw", kwargs: { path } } }] });

describe("asset watchers", () => {
  it("run while a DAG that is not paused waits for the asset; the same one serves several assets", async () => {
    const { db } = t.database;
    const watchers = new AssetWatchers(t.x);
    expect(await watchers.triggers()).toEqual([]);
    await makeAssetDag(db, "one", { dag: waitsFor(watched("a", "/tmp/x")) }, { is_paused: true });
    await makeAssetDag(db, "two", { dag: waitsFor(watched("b", "/tmp/x")) });
    await makeAssetDag(db, "reader", { dag: {} });
    const trigger = async () => (await watchers.triggers()).map(({ id, watchedAssets }) => ({ id, watchedAssets }));
    const [first] = await watchers.triggers();
    expect(first).toMatchObject({
      classpath: "m.Saw",
      kwargs: '{"path":"/tmp/x"}',
      taskInstance: null,
      watchedAssets: { b: "b" },
      version: { dagRelPath: "two.py" },
    });
    const id = first?.id as number;
    await db.updateTable("dag").set({ is_paused: false }).where("dag_id", "=", "one").execute();
    expect(await trigger()).toEqual([{ id, watchedAssets: { a: "a", b: "b" } }]);
    await db.updateTable("dag").set({ is_paused: true }).where("dag_id", "=", "two").execute();
    expect(await trigger()).toEqual([{ id, watchedAssets: { a: "a" } }]);

    const told: unknown[] = [];
    t.x.deps.bus.on("assets-updated", ({ dagIds }) => told.push(dagIds));
    expect(await watchers.onEvent(id, '{"n":1.0}' as JsonText)).toBe(true);
    expect(await watchers.onEvent(id + 1, "null" as JsonText)).toBe(false);
    expect(told).toEqual([["one"]]);
    expect(await db.selectFrom("asset_event").select(["extra", "source_task_id"]).execute()).toEqual([
      { extra: '{"from_trigger":true,"payload":{"n":1.0}}', source_task_id: null },
    ]);
    await db.updateTable("dag").set({ is_stale: true }).where("dag_id", "=", "one").execute();
    expect(await trigger()).toEqual([]);
  });
});
