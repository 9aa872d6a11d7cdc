import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createTestApi, type TestApi } from "../../../test/support/api.ts";
import { createTestDatabase, type TestDatabase } from "../../../test/support/database.ts";
import { makeDag, makeRun, makeTaskInstance, makeVersion, NOON } from "../../../test/support/factories.ts";
import type { JsonText } from "../../kit/json-text.ts";
import { VersionCache } from "../../store/dag-versions.ts";
import { xcomRoutes } from "./xcoms.ts";

let test: TestDatabase;
let api: TestApi;
let url: string;
let dagRunId: number;

beforeAll(async () => {
  test = await createTestDatabase();
  const versions = new VersionCache(test.db);
  api = await createTestApi(test.db, [xcomRoutes], { graph: async (id) => (await versions.get(id)).graph });
  await makeDag(test.db, { dag_id: "etl", dag_display_name: "ETL" });
  await makeVersion(test.db, { dag_id: "etl" }, { tasks: [{ id: "a" }, { id: "b" }] });
  const run = await makeRun(test.db, { dag_id: "etl", run_id: "r1", logical_date: NOON });
  dagRunId = run.id;
  await makeTaskInstance(test.db, { dag_run_id: run.id, task_display_name: "Load" });
  url = "/api/v2/dags/etl/dagRuns/r1/taskInstances/a/xcomEntries";
});
afterAll(async () => {
  await api.close();
  await test.close();
});

async function push(key: string, value: string, map_index = -1): Promise<void> {
  const columns = { dag_run_id: dagRunId, task_id: "a", map_index, key, dag_id: "etl", run_id: "r1" };
  await test.db
    .insertInto("xcom")
    .values({ ...columns, value: value as JsonText })
    .execute();
}
const valueOf = (body: string) => /"value":(.*)}$/s.exec(body)?.[1];
const shown = async (key: string, query = "") => valueOf((await api.get(`${url}/${key}${query}`)).body);

describe("one XCom", () => {
  it("is shown as it was stored", async () => {
    await push("return_value", '{"rate": 60.0, "big": 12345678901234567890}');
    const response = await api.get(`${url}/return_value`);
    expect(valueOf(response.body)).toBe('{"rate": 60.0, "big": 12345678901234567890}');
    expect(response.json()).toMatchObject({
      key: "return_value",
      dag_id: "etl",
      dag_display_name: "ETL",
      run_id: "r1",
      task_id: "a",
      task_display_name: "Load",
      map_index: -1,
      logical_date: "2026-01-01T12:00:00Z",
    });
  });

  it("is written as Python's str on demand", async () => {
    await push("mixed", '{"a": [true, null, 1.0], "s": "it\'s"}');
    expect(await shown("mixed", "?stringify=true")).toBe(JSON.stringify(`{'a': [True, None, 1.0], 's': "it's"}`));
    await push("text", '"plain"');
    expect(await shown("text", "?stringify=true")).toBe('"plain"');
    await push("none", "null");
    expect(await shown("none", "?stringify=true")).toBe("null");
  });

  it("shows serialized objects in words", async () => {
    const when =
      '{"__classname__": "datetime.datetime", "__version__": 2, "__data__": {"timestamp": 1.5, "tz": "UTC"}}';
    await push("object", `{"at": ${when}, "n": 1.0}`);
    expect(await shown("object", "?deserialize=true")).toBe(
      '{"at":"datetime.datetime@version=2(timestamp=1.5, tz=\'UTC\')","n":1.0}',
    );
    await push("tuple", '{"__classname__": "builtins.tuple", "__version__": 1, "__data__": [1, "x"]}');
    expect(await shown("tuple", "?deserialize=true")).toBe('"(1,x)"');
    await push("old", '{"__type": "dict", "__var": {"k": {"__type": "set", "__var": [1]}}}');
    expect(await shown("old", "?deserialize=true")).toBe('{"k":"set@version=0(1)"}');
    await push("twice", '"{\\"a\\": 1.0}"');
    expect(await shown("twice", "?deserialize=true")).toBe('{"a":1.0}');
  });

  it("is found by key and map index, or missed", async () => {
    await push("a/b c", "1", 3);
    expect(await shown("a/b%20c", "?map_index=3")).toBe("1");
    expect((await api.get(`${url}/a/b%20c`)).json()).toEqual({ detail: "XCom entry with key: `a/b c` not found" });
    expect((await api.get(`${url}/x?map_index=-2`)).statusCode).toBe(422);
  });

  it("of 20 MB is passed on in one go", async () => {
    await push("huge", JSON.stringify({ text: "x".repeat(20_000_000) }));
    const response = await api.get(`${url}/huge?deserialize=true`);
    expect(response.body.length).toBeGreaterThan(20_000_000);
    await test.db.deleteFrom("xcom").where("key", "=", "huge").execute();
  });
});

describe("lists of XComs", () => {
  it("leave out the values", async () => {
    const found = (await api.get(`${url}?xcom_key_pattern=OBJ`)).json<{ xcom_entries: object[] }>();
    expect(found).toMatchObject({ total_entries: 1, xcom_entries: [{ key: "object" }] });
    expect(found.xcom_entries[0]).not.toHaveProperty("value");
    const all = "/api/v2/dags/~/dagRuns/~/taskInstances/~/xcomEntries";
    expect((await api.get(`${all}?map_index=3`)).json()).toMatchObject({ total_entries: 1 });
    expect((await api.get(`${all}?dag_display_name_pattern=etl&order_by=-key&limit=1`)).json()).toMatchObject({
      xcom_entries: [{ key: "twice" }],
    });
    expect((await api.get(`${all}?order_by=value`)).statusCode).toBe(400);
  });
});

describe("writing XComs", () => {
  const json = { "content-type": "application/json" };

  it("creates, changes and deletes", async () => {
    const made = await api.request("POST", url, '{"key": "mine", "value": {"n": 1.0}}', json);
    expect([made.statusCode, valueOf(made.body)]).toEqual([201, '{"n":1.0}']);
    expect((await api.request("POST", url, { key: "mine", value: 2 })).json()).toEqual({
      detail: "The XCom with key: `mine` with mentioned task instance already exists.",
    });
    const changed = await api.request("PATCH", `${url}/mine`, '{"value": [2.50]}', json);
    expect(valueOf(changed.body)).toBe("[2.50]");
    expect((await api.request("DELETE", `${url}/mine`)).statusCode).toBe(204);
    const gone = { detail: "The XCom with key: `mine` with mentioned task instance doesn't exist." };
    expect((await api.request("DELETE", `${url}/mine`)).json()).toEqual(gone);
    expect((await api.request("PATCH", `${url}/mine`, { value: 1 })).json()).toEqual(gone);
  });

  it("refuses what would be taken for a serialized object", async () => {
    const value = { deep: [{ __classname__: "os.system" }] };
    const message =
      "Value error, XCom value.deep[0] contains reserved serialization keys: __classname__. " +
      "These keys are reserved for internal use.";
    for (const hidden of [value, JSON.stringify(value)]) {
      const response = await api.request("POST", url, { key: "bad", value: hidden });
      expect(response.json()).toMatchObject({ detail: [{ loc: ["body", "value"], msg: message }] });
    }
  });

  it("needs the task and the run", async () => {
    const at = (path: string) =>
      api.request("POST", `/api/v2/dags/etl/dagRuns/${path}/xcomEntries`, { key: "k", value: 1 });
    expect((await at("r1/taskInstances/x")).json()).toEqual({ detail: "Task with ID: `x` not found in dag: `etl`" });
    expect((await at("r9/taskInstances/a")).json()).toEqual({
      detail: "Dag Run with ID: `r9` not found for dag: `etl`",
    });
    api.user = { name: "eve", role: "VIEWER" };
    expect((await at("r1/taskInstances/a")).statusCode).toBe(403);
    api.user = { name: "admin", role: "ADMIN" };
  });
});
