import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createTestApi, type TestApi } from "../../../test/support/api.ts";
import { createTestDatabase, type TestDatabase } from "../../../test/support/database.ts";
import { variableRoutes } from "./variables.ts";

let test: TestDatabase;
let api: TestApi;
const URL = "/api/v2/variables";

beforeAll(async () => {
  test = await createTestDatabase();
  api = await createTestApi(test.db, [variableRoutes]);
});
afterAll(async () => {
  await api.close();
  await test.close();
});
beforeEach(async () => {
  await test.db.deleteFrom("variable").execute();
  api.user = { name: "olga", role: "OP" };
});

const post = (body: unknown) => api.request("POST", URL, body);
const stored = async (key: string) => {
  const row = await test.db.selectFrom("variable").selectAll().where("key", "=", key).executeTakeFirstOrThrow();
  return { ...row, plain: api.context.secrets.decrypt(row.val) };
};

describe("variables", () => {
  it("are encrypted, and shown again", async () => {
    const response = await post({ key: "region", value: "eu", description: "where" });
    expect(response.statusCode).toBe(201);
    const shown = { key: "region", value: "eu", description: "where", is_encrypted: true, team_name: null };
    expect(response.json()).toEqual(shown);
    expect((await stored("region")).val).not.toContain("eu");
    expect((await stored("region")).plain).toBe("eu");
    expect((await api.get(`${URL}/region`)).json()).toEqual(shown);
    expect((await post({ key: "region", value: "us" })).json()).toEqual({
      detail: "The Variable with key: `region` already exists",
    });
  });

  it("store JSON as Python would write it, numbers and all", async () => {
    const body = '{"key":"rates","value":{"a":60.0,"big":12345678901234567890,"list":[1,2]}}';
    await api.request("POST", URL, body, { "content-type": "application/json" });
    const indented = '{\n  "a": 60.0,\n  "big": 12345678901234567890,\n  "list": [\n    1,\n    2\n  ]\n}';
    expect((await stored("rates")).plain).toBe(indented);
    expect((await api.get(`${URL}/rates`)).json()).toMatchObject({
      value: '{"a": 60.0, "big": 12345678901234567890, "list": [1, 2]}',
    });
    await post({ key: "nothing", value: null });
    expect((await stored("nothing")).plain).toBe("null");
  });

  it("hide what sounds secret", async () => {
    await post({ key: "api_key", value: "abc" });
    await post({ key: "conf", value: '{"user":"u","password":"p","deep":[{"token":"t","n":1}]}' });
    expect((await api.get(`${URL}/api_key`)).json()).toMatchObject({ value: "***" });
    expect((await api.get(`${URL}/conf`)).json()).toMatchObject({
      value: '{"user": "u", "password": "***", "deep": [{"token": "***", "n": 1}]}',
    });
  });

  it("may have slashes in their keys", async () => {
    await post({ key: "a/b c", value: "1" });
    expect((await api.get(`${URL}/a/b%20c`)).json()).toMatchObject({ key: "a/b c", value: "1" });
    expect((await api.request("DELETE", `${URL}/a/b%20c`)).statusCode).toBe(204);
    expect((await api.get(`${URL}/a/b%20c`)).json()).toEqual({
      detail: "The Variable with key: `a/b c` was not found",
    });
  });

  it("are listed by pattern, in order, in pages", async () => {
    for (const key of ["x1", "x2", "y1"]) await post({ key, value: key });
    const found = await api.get(`${URL}?variable_key_pattern=X&order_by=-key&limit=1`);
    expect(found.json()).toMatchObject({ variables: [{ key: "x2" }], total_entries: 2 });
    expect((await api.get(`${URL}?order_by=val`)).statusCode).toBe(400);
  });

  it("are changed by what the body and its mask say", async () => {
    await post({ key: "k", value: "v", description: "d" });
    const patch = (query: string, body: unknown) => api.request("PATCH", `${URL}/k${query}`, body);
    expect((await patch("", { key: "k", value: "w" })).json()).toMatchObject({ value: "w", description: "d" });
    const masked = await patch("?update_mask=description", { key: "k", value: "z", description: "e" });
    expect(masked.json()).toMatchObject({ value: "w", description: "e" });
    expect((await patch("", { key: "other", value: "w" })).json()).toEqual({
      detail: "Invalid body, key from request body doesn't match uri parameter",
    });
    expect((await patch("?update_mask=key", { key: "k", value: "w" })).statusCode).toBe(400);
    expect((await api.request("PATCH", `${URL}/none`, { key: "none", value: "w" })).statusCode).toBe(404);
  });

  it("are checked", async () => {
    const missing = (await post({ key: "k" })).json<{ detail: object[] }>();
    expect(missing.detail).toMatchObject([{ type: "missing", loc: ["body", "value"] }]);
    expect((await post({ key: "k".repeat(251), value: "" })).statusCode).toBe(422);
    expect((await post({ key: "k", value: "", team_name: "t" })).statusCode).toBe(422);
    api.user = { name: "ann", role: "USER" };
    expect((await api.get(URL)).statusCode).toBe(403);
  });

  it("are handled in bulk", async () => {
    await post({ key: "old", value: "1" });
    const bulk = async (...actions: object[]) =>
      (await api.request("PATCH", URL, { actions })).json<Record<string, { success: string[]; errors: object[] }>>();
    const entities = [
      { key: "old", value: "2" },
      { key: "new", value: { n: 1 } },
    ];
    expect((await bulk({ action: "create", entities })).create).toEqual({
      success: [],
      errors: [{ error: "The variables with these keys: {'old'} already exist.", status_code: 409 }],
    });
    expect((await bulk({ action: "create", entities, action_on_existence: "skip" })).create?.success).toEqual(["new"]);
    const both = await bulk(
      { action: "create", entities, action_on_existence: "overwrite" },
      { action: "update", entities: [{ key: "old", value: "3" }], update_mask: ["value"] },
      { action: "delete", entities: ["new", "none"], action_on_non_existence: "skip" },
    );
    expect(both).toEqual({
      create: { success: ["old", "new"], errors: [] },
      update: { success: ["old"], errors: [] },
      delete: { success: ["new"], errors: [] },
    });
    expect((await stored("old")).plain).toBe("3");
    expect((await bulk({ action: "update", entities: [{ key: "none", value: "" }] })).update?.errors).toEqual([
      { error: "The variables with these keys: {'none'} were not found.", status_code: 404 },
    ]);
  });

  it("can be seen but not read when the key of the house changed", async () => {
    await test.db.insertInto("variable").values({ key: "lost", val: "gAAAAAB", is_encrypted: true }).execute();
    expect((await api.get(`${URL}/lost`)).json()).toMatchObject({ key: "lost", value: null });
  });
});
