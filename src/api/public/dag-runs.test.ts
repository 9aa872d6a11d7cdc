import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createTestApi, type TestApi } from "../../../test/support/api.ts";
import { createTestDatabase, type TestDatabase } from "../../../test/support/database.ts";
import {
  makeDag,
  makeRun,
  makeTaskInstance,
  makeTaskInstanceHistory,
  makeVersion,
} from "../../../test/support/factories.ts";
import { parseInstant } from "../../kit/instant.ts";
import type { JsonText } from "../../kit/json-text.ts";
import { toJsonText } from "../../kit/json-text.ts";
import { dagRunBulkRoutes } from "./dag-runs-bulk.ts";
import { dagRunRoutes } from "./dag-runs.ts";
import { dagStatsRoutes } from "./dag-stats.ts";

let database: TestDatabase;
let api: TestApi;

beforeAll(async () => {
  database = await createTestDatabase();
  api = await createTestApi(database.db, [dagRunRoutes, dagRunBulkRoutes, dagStatsRoutes]);
});
afterAll(async () => {
  await api.close();
  await database.close();
});
beforeEach(() => {
  api.events.length = 0;
});

interface Runs {
  dag_runs: { dag_run_id: string }[];
  total_entries: number;
  next_cursor: string | null;
  previous_cursor: string | null;
}
const runsOf = (response: { json<T>(): T }) => response.json<Runs>().dag_runs.map((run) => run.dag_run_id);

async function dagWithVersion(tasks?: Parameters<typeof makeVersion>[2]) {
  const dag = await makeDag(database.db);
  const version = await makeVersion(database.db, { dag_id: dag.dag_id }, tasks);
  return { dagId: dag.dag_id, version, url: `/api/v2/dags/${dag.dag_id}/dagRuns` };
}

describe("reading runs", () => {
  it("answers a run as Airflow does, conf as it was written", async () => {
    const { dagId, version, url } = await dagWithVersion();
    await makeRun(database.db, {
      dag_id: dagId,
      run_id: "one",
      state: "success",
      logical_date: parseInstant("2026-01-01T00:00:00.5Z"),
      start_date: parseInstant("2026-01-01T00:00:01Z"),
      end_date: parseInstant("2026-01-01T00:00:02.25Z"),
      conf: '{"n": 60.0, "big": 12345678901234567890}' as JsonText,
    });
    const response = await api.get(`${url}/one`);
    expect(response.payload).toContain('"conf":{"n": 60.0, "big": 12345678901234567890}');
    expect(response.headers["content-type"]).toContain("application/json");
    expect(response.json()).toMatchObject({
      dag_run_id: "one",
      dag_id: dagId,
      logical_date: "2026-01-01T00:00:00.500000Z",
      start_date: "2026-01-01T00:00:01Z",
      duration: 1.25,
      run_type: "manual",
      state: "success",
      triggered_by: "rest_api",
      note: null,
      bundle_version: null,
      dag_display_name: dagId,
      dag_versions: [
        { id: version.id, version_number: 1, dag_id: dagId, bundle_name: "dags-folder", bundle_url: null },
      ],
    });
    expect((await api.get(`${url}/two`)).json()).toEqual({
      detail: `The DagRun with dag_id: \`${dagId}\` and run_id: \`two\` was not found`,
    });
    expect((await api.get("/api/v2/dags/none/dagRuns")).json()).toEqual({
      detail: "The Dag with ID: `none` was not found",
    });
  });

  it("tells all versions a run's tasks ran on", async () => {
    const { db } = database;
    const { dagId, version, url } = await dagWithVersion();
    const run = await makeRun(db, { dag_id: dagId, run_id: "r" });
    await makeTaskInstanceHistory(db, { dag_run_id: run.id });
    const second = await makeVersion(db, { dag_id: dagId });
    await makeTaskInstance(db, { dag_run_id: run.id, dag_version_id: second.id });
    const found = (await api.get(`${url}/r`)).json<{ dag_versions: { id: string }[] }>();
    expect(found.dag_versions.map(({ id }) => id)).toEqual([version.id, second.id]);
  });

  it("filters and orders", async () => {
    const { db } = database;
    const { dagId, url } = await dagWithVersion();
    const at = (day: number) => parseInstant(`2026-02-0${day}T00:00:00Z`);
    await makeRun(db, { dag_id: dagId, run_id: "a", state: "success", run_after: at(1), conf: toJsonText({ x: 1 }) });
    await makeRun(db, { dag_id: dagId, run_id: "b", state: "queued", run_after: at(2), triggering_user_name: "ann" });
    await makeRun(db, {
      dag_id: dagId,
      run_id: "scheduled__c",
      run_type: "scheduled",
      state: "failed",
      run_after: at(3),
      start_date: at(3),
      end_date: at(4),
    });
    const list = async (query: string) => runsOf(await api.get(`${url}?${query}`));
    expect(await list("")).toEqual(["a", "b", "scheduled__c"]);
    expect(await list("order_by=-run_after")).toEqual(["scheduled__c", "b", "a"]);
    expect(await list("order_by=-dag_run_id&limit=1")).toEqual(["scheduled__c"]);
    expect(await list("state=queued&state=failed")).toEqual(["b", "scheduled__c"]);
    expect(await list("run_type=scheduled")).toEqual(["scheduled__c"]);
    expect(await list("run_after_gt=2026-02-01T00:00:00Z&run_after_lt=2026-02-03")).toEqual(["b"]);
    expect(await list("end_date_gte=2026-02-04T00:00:00%2B00:00")).toEqual(["b", "scheduled__c"]);
    expect(await list("duration_gte=86400")).toEqual(["scheduled__c"]);
    expect(await list("run_id_pattern=SCHED")).toEqual(["scheduled__c"]);
    expect(await list("run_id_prefix_pattern=a%7Cb")).toEqual(["a", "b"]);
    expect(await list("triggering_user_name_pattern=an")).toEqual(["b"]);
    expect(await list('conf_contains="x"')).toEqual(["a"]);
    expect(await list("dag_version=1")).toEqual(["a", "b", "scheduled__c"]);
    expect(await list("dag_version=2")).toEqual([]);
    expect(runsOf(await api.get(`/api/v2/dags/~/dagRuns?dag_id_pattern=${dagId}&state=queued`))).toEqual(["b"]);
    expect((await api.get(`${url}?state=odd`)).json()).toEqual({
      detail: "Invalid value for state. Valid values are queued, running, success, failed",
    });
    expect((await api.get("/api/v2/dags/~/dagRuns?partition_date_gte=2026-01-01")).statusCode).toBe(400);
  });

  it("pages by cursor there and back, over rows without a date", async () => {
    const { db } = database;
    const { dagId, url } = await dagWithVersion();
    for (let index = 0; index < 7; index++) {
      const date = index % 3 === 0 ? null : parseInstant(`2026-03-0${index + 1}T00:00:00Z`);
      await makeRun(db, {
        dag_id: dagId,
        run_id: `r${index}`,
        logical_date: date,
        run_after: parseInstant("2026-03-01T00:00:00Z"),
      });
    }
    for (const order of ["logical_date", "-logical_date", "-duration"]) {
      const all = runsOf(await api.get(`${url}?order_by=${order}`));
      const seen: string[] = [];
      const pages: string[][] = [];
      let cursor: string | null = "";
      let last: Runs | null = null;
      while (cursor !== null) {
        const page: Runs = (await api.get(`${url}?order_by=${order}&limit=3&cursor=${cursor}`)).json<Runs>();
        expect(page.total_entries).toBe(7);
        pages.push(page.dag_runs.map((run) => run.dag_run_id));
        seen.push(...(pages.at(-1) ?? []));
        cursor = page.next_cursor;
        last = page;
      }
      expect(seen).toEqual(all);
      const back = (await api.get(`${url}?order_by=${order}&limit=3&cursor=${last?.previous_cursor}`)).json<Runs>();
      expect(back.dag_runs.map((run) => run.dag_run_id)).toEqual(pages[1]);
      const first = (await api.get(`${url}?order_by=${order}&limit=3&cursor=${back.previous_cursor}`)).json<Runs>();
      expect(first.dag_runs.map((run) => run.dag_run_id)).toEqual(pages[0]);
      expect(first.previous_cursor).toBeNull();
    }
    expect((await api.get(`${url}?cursor=%21%21`)).json()).toEqual({ detail: "Invalid cursor token" });
    const token = Buffer.from('["x"]').toString("base64url");
    expect((await api.get(`${url}?cursor=${token}`)).json()).toEqual({ detail: "Invalid cursor token" });
    expect((await api.get(`${url}?order_by=state&cursor=${token}`)).json()).toEqual({
      detail: "Cursor token does not match current query shape",
    });
  });

  it("lists by a body", async () => {
    const { db } = database;
    const { dagId } = await dagWithVersion();
    await makeRun(db, { dag_id: dagId, run_id: "x", state: "success" });
    await makeRun(db, { dag_id: dagId, run_id: "y", state: "queued" });
    const list = (body: object) => api.request("POST", "/api/v2/dags/~/dagRuns/list", body);
    expect(runsOf(await list({ dag_ids: [dagId], order_by: "-run_id" }))).toEqual(["y", "x"]);
    expect(runsOf(await list({ dag_ids: [dagId], states: ["queued"], start_date_gte: null }))).toEqual(["y"]);
    expect(runsOf(await list({ dag_ids: [dagId], end_date_gte: "2020-01-01T00:00:00Z" }))).toEqual(["x"]);
    expect((await list({ page_limit: -1 })).statusCode).toBe(422);
    expect((await list({ nope: 1 })).json()).toMatchObject({ detail: [{ type: "extra_forbidden" }] });
  });
});

describe("changing runs", () => {
  it("sets note and state", async () => {
    const { db } = database;
    const { dagId, url } = await dagWithVersion();
    const run = await makeRun(db, { dag_id: dagId, run_id: "p" });
    const ti = await makeTaskInstance(db, { dag_run_id: run.id, state: "running" });
    const noted = await api.request("PATCH", `${url}/p`, { note: "look" });
    expect(noted.json()).toMatchObject({ note: "look", state: "running" });
    expect((await api.request("PATCH", `${url}/p`, { note: "" })).json()).toMatchObject({ note: null });
    const masked = await api.request("PATCH", `${url}/p?update_mask=note`, { note: "n", state: "failed" });
    expect(masked.json()).toMatchObject({ note: "n", state: "running" });
    const failed = await api.request("PATCH", `${url}/p`, { state: "failed" });
    expect(failed.json()).toMatchObject({ state: "failed" });
    expect(api.events).toEqual([
      { kind: "kill", ids: [ti.id], reason: "dag run marked failed" },
      { kind: "dag-run", dagRunId: run.id },
    ]);
    expect((await api.request("PATCH", `${url}/p`, { state: "running" })).json()).toEqual({
      detail: [
        {
          type: "enum",
          loc: ["body", "state"],
          msg: "Input should be 'queued', 'success' or 'failed'",
          input: "running",
          ctx: { expected: "'queued', 'success' or 'failed'" },
        },
      ],
    });
    expect((await api.request("PATCH", `${url}/p`, { note: "x".repeat(1001) })).json()).toMatchObject({
      detail: [{ type: "string_too_long" }],
    });
  });

  it("deletes what does not run", async () => {
    const { db } = database;
    const { dagId, url } = await dagWithVersion();
    await makeRun(db, { dag_id: dagId, run_id: "live" });
    await makeRun(db, { dag_id: dagId, run_id: "done", state: "success" });
    const refused = await api.request("DELETE", `${url}/live`);
    expect(refused.statusCode).toBe(409);
    expect(refused.json()).toEqual({
      detail: `The DagRun with dag_id: \`${dagId}\` and run_id: \`live\` cannot be deleted in running state`,
    });
    expect((await api.request("DELETE", `${url}/done`)).statusCode).toBe(204);
    expect((await api.request("DELETE", `${url}/done`)).statusCode).toBe(404);
  });

  it("does many at once", async () => {
    const { db } = database;
    const { dagId, url } = await dagWithVersion();
    await makeRun(db, { dag_id: dagId, run_id: "m1", state: "success" });
    await makeRun(db, { dag_id: dagId, run_id: "m2", state: "failed" });
    await makeRun(db, { dag_id: dagId, run_id: "m3" });
    const response = await api.request("PATCH", url, {
      actions: [
        { action: "create", entities: [{ dag_run_id: "x" }] },
        {
          action: "update",
          entities: [{ dag_run_id: "m1", note: "seen" }, { dag_run_id: "gone" }],
          action_on_non_existence: "skip",
        },
        { action: "delete", entities: ["m2", { dag_run_id: "m3" }] },
      ],
    });
    expect(response.json()).toEqual({
      create: {
        success: [],
        errors: [
          {
            error: "Dag Runs bulk create is not supported. Use the trigger Dag Run endpoint instead.",
            status_code: 405,
          },
        ],
      },
      update: { success: [`${dagId}.m1`], errors: [] },
      delete: {
        success: [`${dagId}.m2`],
        errors: [
          {
            error: `The DagRun with dag_id: \`${dagId}\` and run_id: \`m3\` cannot be deleted in running state`,
            status_code: 409,
          },
        ],
      },
    });
    const strict = await api.request("PATCH", url, {
      actions: [{ action: "delete", entities: ["m1", "gone"] }],
    });
    expect(strict.json()).toMatchObject({
      create: null,
      delete: {
        success: [],
        errors: [
          {
            error: `The DagRuns with these identifiers: [('${dagId}', 'gone')] were not found`,
            status_code: 404,
          },
        ],
      },
    });
    const wild = await api.request("PATCH", "/api/v2/dags/~/dagRuns", {
      actions: [{ action: "delete", entities: ["m1", { dag_run_id: "m1", dag_id: dagId }] }],
    });
    expect(wild.json()).toMatchObject({
      delete: {
        success: [`${dagId}.m1`],
        errors: [
          {
            error:
              "When using wildcard in path, dag_id must be specified in BulkDAGRunBody object, not as string for dag_run_id: m1",
            status_code: 400,
          },
        ],
      },
    });
  });
});

it("counts runs by state", async () => {
  const { dagId } = await dagWithVersion();
  await makeRun(database.db, { dag_id: dagId, state: "success" });
  await makeRun(database.db, { dag_id: dagId, state: "success" });
  expect((await api.get(`/api/v2/dagStats?dag_ids=${dagId}`)).json()).toEqual({
    dags: [
      {
        dag_id: dagId,
        dag_display_name: dagId,
        stats: [
          { state: "queued", count: 0 },
          { state: "running", count: 0 },
          { state: "success", count: 2 },
          { state: "failed", count: 0 },
        ],
      },
    ],
    total_entries: 1,
  });
});
