import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fernet, newFernetKey } from "../kit/fernet.ts";
import type { Reply } from "../domain/task-execution.ts";
import { createTestExecution, raw, type TestExecution } from "../../test/support/execution.ts";

let t: TestExecution;
beforeAll(async () => {
  t = await createTestExecution();
});
afterAll(() => t.database.close());

const send = (type: string, fields: Record<string, unknown>): Promise<Reply> =>
  t.execution.handle("", { type, ...fields });

describe("variables", () => {
  it("are encrypted at rest and read back", async () => {
    expect(await send("GetVariable", { key: "v" })).toEqual({
      body: { type: "ErrorResponse", error: "VARIABLE_NOT_FOUND", detail: { key: "v" } },
    });
    expect(await send("PutVariable", { key: "v", value: "sécret", description: "d" })).toEqual({ body: null });
    expect(await send("GetVariable", { key: "v" })).toEqual({
      body: { type: "VariableResult", key: "v", value: "sécret" },
    });
    const row = await t.database.db.selectFrom("variable").selectAll().where("key", "=", "v").executeTakeFirstOrThrow();
    expect(row).toMatchObject({ is_encrypted: true, description: "d" });
    expect(t.x.deps.secrets.decrypt(row.val)).toBe("sécret");
    await send("PutVariable", { key: "v", value: null, description: null });
    expect(await send("GetVariable", { key: "v" })).toMatchObject({ body: { value: "None" } });
    expect(await send("DeleteVariable", { key: "v" })).toEqual({ body: { type: "OKResponse", ok: true } });
    expect(await send("DeleteVariable", { key: "v" })).toEqual({ body: { type: "OKResponse", ok: true } });
    expect(await send("GetVariable", { key: "v" })).toMatchObject({ body: { error: "VARIABLE_NOT_FOUND" } });
  });

  it("may be stored in the clear, as by an import", async () => {
    await t.database.db.insertInto("variable").values({ key: "clear", val: "text", is_encrypted: false }).execute();
    expect(await send("GetVariable", { key: "clear" })).toMatchObject({ body: { value: "text" } });
  });

  it("say when they were encrypted with another key", async () => {
    const val = fernet(newFernetKey()).encrypt("x");
    await t.database.db.insertInto("variable").values({ key: "foreign", val }).execute();
    const message = "Variable 'foreign' cannot be read: this value was encrypted with another fernet_key";
    expect(await send("GetVariable", { key: "foreign" })).toMatchObject({ error: { detail: { message } } });
  });

  it("are listed by prefix, taken literally", async () => {
    for (const key of ["p%a", "p%b", "pxa"]) await send("PutVariable", { key, value: "1", description: null });
    const keys = async (fields: Record<string, unknown>) => send("GetVariableKeys", fields);
    expect(await keys({ prefix: "p%" })).toEqual({
      body: { type: "VariableKeysResult", keys: ["p%a", "p%b"], total_entries: 2 },
    });
    expect(await keys({ prefix: "p", limit: 1, offset: 2 })).toMatchObject({
      body: { keys: ["pxa"], total_entries: 3 },
    });
    expect(await keys({ limit: 0 })).toMatchObject({ error: { detail: { status_code: 422 } } });
  });
});

describe("connections", () => {
  it("come with password and extra in the clear", async () => {
    const { secrets } = t.x.deps;
    await t.database.db
      .insertInto("connection")
      .values({
        conn_id: "pg",
        conn_type: "postgres",
        host: "db",
        login: "me",
        password: secrets.encrypt("pw"),
        is_encrypted: true,
        port: 5432,
        extra: secrets.encrypt('{"a": 1}'),
        is_extra_encrypted: true,
      })
      .execute();
    expect(await send("GetConnection", { conn_id: "pg" })).toEqual({
      body: {
        type: "ConnectionResult",
        conn_id: "pg",
        conn_type: "postgres",
        host: "db",
        schema: null,
        login: "me",
        password: "pw",
        port: 5432,
        extra: '{"a": 1}',
      },
    });
    expect(await send("GetConnection", { conn_id: "none" })).toEqual({
      body: { type: "ErrorResponse", error: "CONNECTION_NOT_FOUND", detail: { conn_id: "none" } },
    });
  });

  it("may hold neither", async () => {
    await t.database.db.insertInto("connection").values({ conn_id: "bare", conn_type: "fs" }).execute();
    expect(await send("GetConnection", { conn_id: "bare" })).toMatchObject({ body: { password: null, extra: null } });
  });
});

it("masks nothing here", async () => {
  expect(await send("MaskSecret", { value: raw('"s"'), name: null })).toEqual({ body: null });
});
