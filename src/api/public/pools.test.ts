import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createTestApi, type TestApi } from "../../../test/support/api.ts";
import { createTestDatabase, type TestDatabase } from "../../../test/support/database.ts";
import { makeDag, makeRun, makeTaskInstance } from "../../../test/support/factories.ts";
import { poolRoutes } from "./pools.ts";

let test: TestDatabase;
let api: TestApi;
const URL = "/api/v2/pools";

beforeAll(async () => {
  test = await createTestDatabase();
  api = await createTestApi(test.db, [poolRoutes]);
});
afterAll(async () => {
  await api.close();
  await test.close();
});
beforeEach(async () => {
  await test.db.deleteFrom("pool").where("pool", "!=", "default_pool").execute();
  api.events.length = 0;
});

const post = (body: object) => api.request("POST", URL, body);
const patch = (path: string, body: object) => api.request("PATCH", `${URL}${path}`, body);

describe("pools", () => {
  it("tell how their slots are used", async () => {
    await post({ name: "etl/big", slots: 10, include_deferred: true });
    const run = await makeRun(test.db, { dag_id: (await makeDag(test.db)).dag_id });
    const states = ["running", "queued", "scheduled", "deferred", "success"] as const;
    for (const [index, state] of states.entries()) {
      await makeTaskInstance(test.db, {
        dag_run_id: run.id,
        task_id: state,
        state,
        pool: "etl/big",
        pool_slots: index + 1,
      });
    }
    expect((await api.get(`${URL}/etl/big`)).json()).toEqual({
      name: "etl/big",
      slots: 10,
      description: null,
      include_deferred: true,
      occupied_slots: 7,
      running_slots: 1,
      queued_slots: 2,
      scheduled_slots: 3,
      deferred_slots: 4,
      open_slots: 3,
      team_name: null,
    });
    expect((await api.get(`${URL}/default_pool`)).json()).toMatchObject({ slots: 128, open_slots: 128 });
  });

  it("are made, listed and deleted, and the scheduler is told", async () => {
    const made = await post({ name: "p", slots: -1, description: "d" });
    expect(made.statusCode).toBe(201);
    expect(made.json()).toMatchObject({ name: "p", open_slots: -1, include_deferred: false });
    expect(api.events).toEqual([{ kind: "pool" }]);
    expect((await post({ name: "p", slots: 1 })).statusCode).toBe(409);
    const list = (await api.get(`${URL}?order_by=-name&limit=1`)).json<object>();
    expect(list).toMatchObject({ total_entries: 2, pools: [{ name: "p" }] });
    expect((await api.get(`${URL}?pool_name_prefix_pattern=def`)).json()).toMatchObject({ total_entries: 1 });
    expect((await api.request("DELETE", `${URL}/p`)).statusCode).toBe(204);
    expect((await api.get(`${URL}/p`)).json()).toEqual({ detail: "The Pool with name: `p` was not found" });
    expect((await api.request("DELETE", `${URL}/default_pool`)).json()).toEqual({
      detail: "Default Pool can't be deleted",
    });
  });

  it("are changed, the default pool only in its size", async () => {
    await post({ name: "p", slots: 1 });
    const whole = { pool: "p", slots: 5, description: "x", include_deferred: true };
    expect((await patch("/p", whole)).json()).toMatchObject({ slots: 5, description: "x", include_deferred: true });
    expect((await patch("/p?update_mask=slots", { ...whole, slots: 6, description: "y" })).json()).toMatchObject({
      slots: 6,
      description: "x",
    });
    expect((await patch("/p", { slots: 3 })).json()).toMatchObject({
      detail: [
        { type: "missing", loc: ["pool"] },
        { type: "missing", loc: ["include_deferred"] },
      ],
    });
    expect((await patch("/p", { ...whole, pool: "q" })).statusCode).toBe(400);
    expect((await patch("/default_pool", { ...whole, pool: "default_pool" })).json()).toEqual({
      detail: "Only slots and included_deferred can be modified on Default Pool",
    });
    const sized = await patch("/default_pool?update_mask=slots&update_mask=include_deferred", { slots: 64 });
    expect(sized.json()).toMatchObject({ slots: 64 });
    expect((await post({ name: "q", slots: -2 })).statusCode).toBe(422);
  });

  it("are handled in bulk", async () => {
    await post({ name: "p", slots: 1, description: "keep" });
    const actions = [
      {
        action: "create",
        entities: [
          { name: "p", slots: 2 },
          { name: "q", slots: 3 },
        ],
        action_on_existence: "overwrite",
      },
      { action: "update", entities: [{ name: "q", slots: 4 }] },
      { action: "delete", entities: ["default_pool"] },
    ];
    expect((await patch("", { actions })).json()).toMatchObject({
      create: { success: ["p", "q"], errors: [] },
      update: { success: ["q"] },
      delete: { success: [], errors: [{ status_code: 400 }] },
    });
    expect((await api.get(`${URL}/p`)).json()).toMatchObject({ slots: 2, description: "keep" });
    expect((await api.get(`${URL}/q`)).json()).toMatchObject({ slots: 4 });
  });

  it("are changed by operators only", async () => {
    api.user = { name: "ann", role: "USER" };
    expect((await api.get(URL)).statusCode).toBe(200);
    expect((await post({ name: "p", slots: 1 })).statusCode).toBe(403);
    api.user = { name: "admin", role: "ADMIN" };
  });
});
