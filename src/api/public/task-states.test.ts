import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createTestApi, type TestApi } from "../../../test/support/api.ts";
import { createTestDatabase, type TestDatabase } from "../../../test/support/database.ts";
import { makeRunningTask, makeTaskInstance } from "../../../test/support/factories.ts";
import { taskStateRoutes } from "./task-states.ts";

let test: TestDatabase;
let api: TestApi;
let url: string;

beforeAll(async () => {
  test = await createTestDatabase();
  api = await createTestApi(test.db, [taskStateRoutes]);
  const { dag, run } = await makeRunningTask(test.db);
  for (const map_index of [0, 1]) await makeTaskInstance(test.db, { dag_run_id: run.id, task_id: "m", map_index });
  url = `/api/v2/dags/${dag.dag_id}/dagRuns/${run.run_id}/taskInstances`;
});
afterAll(async () => {
  await api.close();
  await test.close();
});

const put = (path: string, body: unknown) => api.request("PUT", `${url}/${path}`, body);

describe("task state store", () => {
  it("keeps values with their numbers and when they expire", async () => {
    const json = { "content-type": "application/json" };
    const first = await api.request("PUT", `${url}/a/state-store/job/id`, '{"value": {"n": 1.0}}', json);
    expect(first.statusCode).toBe(204);
    const entry = await api.get(`${url}/a/state-store/job/id`);
    expect(entry.body).toContain('"value":{"n":1.0}');
    const { updated_at, expires_at } = entry.json<{ updated_at: string; expires_at: string }>();
    expect(Date.parse(expires_at) - Date.parse(updated_at)).toBe(30 * 86_400_000);
    await put("a/state-store/cursor", { value: 7, expires_at: null });
    await api.request("PATCH", `${url}/a/state-store/cursor`, { value: 8 });
    expect((await api.get(`${url}/a/state-store?limit=1`)).json()).toEqual({
      task_state_store: [{ key: "cursor", value: 8, updated_at: expect.any(String) as string, expires_at: null }],
      total_entries: 2,
    });
  });

  it("refuses what it cannot keep, and misses what is not there", async () => {
    const message = async (value: unknown) =>
      (await put("a/state-store/k", { value })).json<{ detail: { msg: string }[] }>().detail[0]?.msg;
    expect(await message(null)).toBe("Value error, value cannot be null");
    expect(await message("x".repeat(70_000))).toMatch(/^Value error, value exceeds max_value_storage_bytes \(65535\)/);
    expect((await api.get(`${url}/a/state-store/none`)).json()).toEqual({
      detail: "Task state store key 'none' not found",
    });
    expect((await api.request("PATCH", `${url}/a/state-store/none`, { value: 1 })).statusCode).toBe(404);
    expect((await put("x/state-store/k", { value: 1 })).json<{ detail: string }>().detail).toMatch(
      /^Task instance not found for dag_id='.*', task_id='x', map_index=-1$/,
    );
  });

  it("is cleared by key, by instance and by task", async () => {
    for (const index of [0, 1]) await put(`m/state-store/k?map_index=${index}`, { value: index });
    const count = async (index: number) =>
      (await api.get(`${url}/m/state-store?map_index=${index}`)).json<{ total_entries: number }>().total_entries;
    await api.request("DELETE", `${url}/m/state-store/k?map_index=0`);
    expect([await count(0), await count(1)]).toEqual([0, 1]);
    expect((await api.request("DELETE", `${url}/m/state-store`)).statusCode).toBe(404);
    expect((await api.request("DELETE", `${url}/m/state-store?all_map_indices=true`)).statusCode).toBe(204);
    expect(await count(1)).toBe(0);
  });
});
