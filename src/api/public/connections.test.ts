import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createTestApi, type TestApi } from "../../../test/support/api.ts";
import { createTestDatabase, type TestDatabase } from "../../../test/support/database.ts";
import { connectionRoutes } from "./connections.ts";

let test: TestDatabase;
let api: TestApi;
const asked: { kind: string; connection?: Record<string, unknown> }[] = [];
const URL = "/api/v2/connections";

beforeAll(async () => {
  test = await createTestDatabase();
  api = await createTestApi(test.db, [connectionRoutes], {
    python: (request) => {
      asked.push(request);
      return Promise.resolve({ status: true, message: "Connection successfully tested" });
    },
  });
});
afterAll(async () => {
  await api.close();
  await test.close();
});
beforeEach(async () => {
  await test.db.deleteFrom("connection").execute();
  asked.length = 0;
  api.user = { name: "olga", role: "OP" };
});

const DB = {
  connection_id: "db",
  conn_type: "postgres",
  host: "h",
  login: "l",
  schema: "s",
  port: 5432,
  password: "hush",
  extra: '{"sslmode":"require","api_key":"k"}',
};
const post = (body: object, path = "") => api.request("POST", `${URL}${path}`, body);
const patch = (body: object, query = "") => api.request("PATCH", `${URL}/db${query}`, body);
const stored = async (connId = "db") => {
  const row = await test.db
    .selectFrom("connection")
    .selectAll()
    .where("conn_id", "=", connId)
    .executeTakeFirstOrThrow();
  const open = (text: string | null) => (text ? api.context.secrets.decrypt(text) : text);
  return { ...row, password: open(row.password), extra: open(row.extra) };
};

describe("connections", () => {
  it("are made and shown without their secrets", async () => {
    const response = await post(DB);
    expect(response.statusCode).toBe(201);
    const shown = {
      ...DB,
      description: null,
      password: "***",
      extra: '{"sslmode": "require", "api_key": "***"}',
      team_name: null,
    };
    expect(response.json()).toEqual(shown);
    expect((await api.get(`${URL}/db`)).json()).toEqual(shown);
    expect(await stored()).toMatchObject({ password: "hush", extra: DB.extra, is_encrypted: true });
    const again = await post(DB);
    expect(again.statusCode).toBe(409);
    expect(again.json()).toMatchObject({ detail: { reason: "Unique constraint violation" } });
  });

  it("keep a secret that comes back masked", async () => {
    await post(DB);
    await patch({ ...DB, host: "h2", password: "***", extra: '{"sslmode":"off","api_key":"***","new":1.0}' });
    expect(await stored()).toMatchObject({
      host: "h2",
      password: "hush",
      extra: '{"sslmode": "off", "api_key": "k", "new": 1.0}',
    });
    await patch({ ...DB, password: "other", extra: null });
    expect(await stored()).toMatchObject({ password: "other", extra: null, is_extra_encrypted: false });
  });

  it("change only what is given, and masked in", async () => {
    await post(DB);
    await patch({ connection_id: "db", conn_type: "mysql" });
    expect(await stored()).toMatchObject({ conn_type: "mysql", host: "h", password: "hush" });
    await patch({ ...DB, host: "h3", login: "l3" }, "?update_mask=login");
    expect(await stored()).toMatchObject({ conn_type: "mysql", host: "h", login: "l3" });
    expect((await patch({ ...DB, connection_id: "x" })).json()).toEqual({
      detail: "The connection_id in the request body does not match the URL parameter",
    });
  });

  it("are checked", async () => {
    const problem = async (change: object) =>
      (await post({ ...DB, ...change })).json<{ detail: { msg: string }[] }>().detail[0]?.msg;
    expect(await problem({ extra: "no" })).toMatch(/encountered non-JSON in `extra` field$/);
    expect(await problem({ extra: "[1]" })).toMatch(/must be a valid JSON object/);
    expect(await problem({ connection_id: "a b" })).toMatch(/^String should match pattern/);
    expect(await problem({ port: "x" })).toMatch(/valid integer/);
    await post({ ...DB, extra: "" });
    expect((await stored()).extra).toBe("{}");
    api.user = { name: "ann", role: "USER" };
    expect((await api.get(URL)).statusCode).toBe(403);
  });

  it("are listed, deleted and missed", async () => {
    await post(DB);
    await post({ connection_id: "aws", conn_type: "aws" });
    const found = await api.get(`${URL}?connection_id_pattern=A&order_by=connection_id`);
    expect(found.json()).toMatchObject({ total_entries: 1, connections: [{ connection_id: "aws", password: null }] });
    expect((await api.request("DELETE", `${URL}/db`)).statusCode).toBe(204);
    expect((await api.get(`${URL}/db`)).json()).toEqual({
      detail: "The Connection with connection_id: `db` was not found",
    });
    expect((await api.request("DELETE", `${URL}/db`)).statusCode).toBe(404);
  });

  it("are handled in bulk", async () => {
    await post(DB);
    const actions = [
      { action: "create", entities: [{ ...DB, host: "o", password: "p2" }], action_on_existence: "overwrite" },
      { action: "update", entities: [{ connection_id: "db", conn_type: "http", password: "***" }] },
      { action: "delete", entities: ["none"] },
    ];
    expect((await api.request("PATCH", URL, { actions })).json()).toEqual({
      create: { success: ["db"], errors: [] },
      update: { success: ["db"], errors: [] },
      delete: {
        success: [],
        errors: [{ error: "The connections with these connection_ids: {'none'} were not found.", status_code: 404 }],
      },
    });
    expect(await stored()).toMatchObject({ conn_type: "http", host: "o", password: "p2" });
  });

  it("come with Airflow's defaults, which never overwrite", async () => {
    await post({ connection_id: "fs_default", conn_type: "mine" });
    expect((await post({}, "/defaults")).statusCode).toBe(204);
    expect((await post({}, "/defaults")).statusCode).toBe(204);
    expect((await api.get(`${URL}?limit=1`)).json()).toMatchObject({ total_entries: 62 });
    expect((await stored("fs_default")).conn_type).toBe("mine");
  });
});

describe("connection tests", () => {
  it("use what is stored where the form shows stars", async () => {
    await post(DB);
    const response = await post({ ...DB, password: "***", extra: '{"sslmode":"require","api_key":"***"}' }, "/test");
    expect(response.json()).toEqual({ status: true, message: "Connection successfully tested" });
    expect(asked[0]).toMatchObject({
      kind: "test_connection",
      connection: {
        conn_type: "postgres",
        host: "h",
        password: "hush",
        extra: '{"sslmode": "require", "api_key": "k"}',
      },
    });
  });

  it("take the port 0 of the UI's button for none", async () => {
    const files = { connection_id: "files", conn_type: "fs" };
    await post(files);
    expect((await post({ ...files, host: "", port: 0 }, "/test")).statusCode).toBe(200);
  });

  it("never send a stored secret elsewhere", async () => {
    await post(DB);
    const moved = await post({ ...DB, host: "evil", password: "***" }, "/test");
    expect(moved.statusCode).toBe(400);
    expect(asked).toEqual([]);
    await post({ ...DB, host: "evil", password: "mine" }, "/test");
    expect(asked[0]?.connection).toMatchObject({ host: "evil", password: "mine" });
  });

  it("can run beside the request, and save what works", async () => {
    const queued = await post({ ...DB, commit_on_success: true }, "/enqueue-test");
    expect(queued.statusCode).toBe(202);
    const { token } = queued.json<{ token: string }>();
    const poll = () => api.request("GET", `${URL}/enqueue-test`, undefined, { "airflow-connection-test-token": token });
    await expect
      .poll(async () => (await poll()).json<object>())
      .toMatchObject({ connection_id: "db", state: "success", result_message: "Connection successfully tested" });
    expect((await stored()).password).toBe("hush");
    expect((await api.get(`${URL}/enqueue-test`)).statusCode).toBe(422);
  });
});
