import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createTestApi, type TestApi } from "../../../test/support/api.ts";
import { createTestDatabase, type TestDatabase } from "../../../test/support/database.ts";
import { makeRunningTask } from "../../../test/support/factories.ts";
import { toJsonText, type JsonText } from "../../kit/json-text.ts";
import { hitlRoutes } from "./hitl.ts";

let test: TestDatabase;
let api: TestApi;

beforeAll(async () => {
  test = await createTestDatabase();
  api = await createTestApi(test.db, [hitlRoutes]);
});
afterAll(async () => {
  await api.close();
  await test.close();
});

async function waiting(columns: { assignees?: JsonText; multiple?: boolean } = {}) {
  const next_kwargs = '{"limit": 60.0}' as JsonText;
  const { run, ti, dag } = await makeRunningTask(test.db, { state: "awaiting_input", next_kwargs });
  await test.db
    .insertInto("hitl_detail")
    .values({
      ti_id: ti.id,
      options: toJsonText(["yes", "no"]),
      subject: "Go on?",
      body: null,
      defaults: null,
      assignees: null,
      params: toJsonText({ why: "x" }),
      responded_at: null,
      responded_by: null,
      chosen_options: null,
      ...columns,
    })
    .execute();
  const base = `/api/v2/dags/${dag.dag_id}/dagRuns/${run.run_id}`;
  return { run, ti, base, url: `${base}/taskInstances/a/-1/hitlDetails` };
}

describe("human in the loop", () => {
  it("has nothing to show where nobody was asked", async () => {
    const { run, ti, dag } = await makeRunningTask(test.db);
    const base = `/api/v2/dags/${dag.dag_id}/dagRuns/${run.run_id}`;
    expect((await api.get(`${base}/hitlDetails`)).json()).toEqual({ hitl_details: [], total_entries: 0 });
    expect((await api.get(`${base}/taskInstances/a/-1/hitlDetails`)).json()).toEqual({
      detail: `Human-in-the-loop detail does not exist for Task Instance with id ${ti.id}`,
    });
    expect((await api.get(`${base}/taskInstances/x/-1/hitlDetails`)).statusCode).toBe(404);
  });

  it("shows what is asked", async () => {
    const { base, url } = await waiting();
    const detail = {
      options: ["yes", "no"],
      subject: "Go on?",
      params: { why: { value: "x", description: null, schema: {} } },
      assigned_users: [],
      response_received: false,
      task_instance: { state: "awaiting_input" },
    };
    expect((await api.get(url)).json()).toMatchObject(detail);
    expect((await api.get(`${base}/hitlDetails?response_received=false&subject_search=go`)).json()).toMatchObject({
      hitl_details: [detail],
      total_entries: 1,
    });
    expect((await api.get(`${url}/tries/1`)).json()).toMatchObject({ subject: "Go on?" });
    const all = "/api/v2/dags/~/dagRuns/~/hitlDetails";
    expect((await api.get(`${all}?state=awaiting_input&order_by=-created_at`)).statusCode).toBe(200);
  });

  it("takes an answer and lets the task go on", async () => {
    const { run, ti, url } = await waiting();
    api.events.length = 0;
    const body = { chosen_options: ["yes"], params_input: { why: "because" } };
    expect((await api.request("PATCH", url, body)).json()).toMatchObject({
      ...body,
      responded_by: { id: "admin", name: "admin" },
    });
    const row = await test.db
      .selectFrom("task_instance")
      .select(["state", "next_kwargs"])
      .where("id", "=", ti.id)
      .executeTakeFirstOrThrow();
    expect(row.state).toBe("scheduled");
    expect(row.next_kwargs).toMatch(/^\{"limit":60\.0,"event":\{"chosen_options":\["yes"\]/);
    expect(api.events).toEqual([{ kind: "dag-run", dagRunId: run.id }]);
    expect((await api.request("PATCH", url, body)).statusCode).toBe(409);
    expect((await api.get(url)).json()).toMatchObject({ response_received: true, chosen_options: ["yes"] });
  });

  it("refuses answers that were not offered, and people who were not asked", async () => {
    const { url } = await waiting({ assignees: toJsonText([{ id: "bob", name: "Bob" }]) });
    const answer = async (chosen_options: string[]) =>
      (await api.request("PATCH", url, { chosen_options })).json<object>();
    expect(await answer(["yes"])).toEqual({ detail: "User=admin (id=admin) is not a respondent for the task." });
    api.user = { name: "bob", role: "USER" };
    expect(await answer(["maybe"])).toEqual({
      detail: "Invalid options ['maybe']; allowed options are ['no', 'yes'].",
    });
    expect(await answer(["yes", "no"])).toEqual({
      detail: "Multiple options chosen but this Human-in-the-loop task accepts only a single option.",
    });
    expect((await api.request("PATCH", url, { chosen_options: [] })).statusCode).toBe(422);
    api.user = { name: "admin", role: "ADMIN" };
  });
});
