import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createTestApi, type TestApi } from "../../../test/support/api.ts";
import { createTestDatabase, type TestDatabase } from "../../../test/support/database.ts";
import { makeDag, makeVersion } from "../../../test/support/factories.ts";
import { toJsonText } from "../../kit/json-text.ts";
import { triggerRoutes } from "./trigger.ts";

let database: TestDatabase;
let api: TestApi;

beforeAll(async () => {
  database = await createTestDatabase();
  api = await createTestApi(database.db, [triggerRoutes]);
});
afterAll(async () => {
  await api.close();
  await database.close();
});
beforeEach(() => {
  api.events.length = 0;
});

async function dagWith(dag: Record<string, unknown> = {}, columns: Parameters<typeof makeDag>[1] = {}) {
  const { dag_id: dagId } = await makeDag(database.db, columns);
  await makeVersion(database.db, { dag_id: dagId }, { dag });
  const url = `/api/v2/dags/${dagId}/dagRuns`;
  return { dagId, trigger: (body: unknown, headers = {}) => api.request("POST", url, body, headers) };
}

const param = (value: unknown, schema: Record<string, unknown>) => ({
  __class: "airflow.sdk.definitions.param.Param",
  default: value,
  description: null,
  schema: { __type: "dict", __var: schema },
  source: null,
});

describe("POST /dags/{dag_id}/dagRuns", () => {
  it("queues a run of now, with its id made", async () => {
    const { dagId, trigger } = await dagWith();
    const response = await trigger({ logical_date: null, note: "by hand" });
    expect(response.statusCode).toBe(200);
    const run = response.json<{ dag_run_id: string; run_after: string }>();
    expect(run).toMatchObject({
      dag_id: dagId,
      logical_date: null,
      data_interval_start: null,
      run_type: "manual",
      state: "queued",
      triggered_by: "rest_api",
      triggering_user_name: "admin",
      conf: {},
      note: "by hand",
      dag_versions: [{ version_number: 1 }],
    });
    expect(run.dag_run_id).toBe(`manual__${run.run_after.replace("Z", "+00:00")}`);
    expect(api.events).toEqual([{ kind: "dag-run", dagRunId: expect.any(Number) as number }]);
    const log = await database.db.selectFrom("log").selectAll().where("dag_id", "=", dagId).executeTakeFirstOrThrow();
    expect(log.event).toBe("trigger_dag_run");
    expect(JSON.parse(log.extra as string)).toEqual({ logical_date: null, note: "by hand", method: "POST" });
  });

  it("infers the data interval, and keeps conf as written", async () => {
    const { trigger } = await dagWith({
      timetable: {
        __type: "airflow.timetables.interval.CronDataIntervalTimetable",
        __var: { expression: "0 0 * * *", timezone: "UTC" },
      },
    });
    const body =
      '{"dag_run_id":"mine","logical_date":"2026-01-02T03:00:00+02:00","conf":{"n":1.0,"big":12345678901234567890}}';
    const response = await trigger(body, { "content-type": "application/json", referer: "http://localhost/dags" });
    expect(response.payload).toContain('"conf":{"n":1.0,"big":12345678901234567890}');
    expect(response.json()).toMatchObject({
      dag_run_id: "mine",
      logical_date: "2026-01-02T01:00:00Z",
      data_interval_start: "2026-01-01T00:00:00Z",
      data_interval_end: "2026-01-02T00:00:00Z",
      triggered_by: "ui",
    });
    const again = await trigger({ dag_run_id: "mine", logical_date: null });
    expect(again.statusCode).toBe(409);
    expect(again.json()).toMatchObject({ detail: { reason: "Unique constraint violation" } });
    const sameDate = await trigger({ dag_run_id: "other", logical_date: "2026-01-02T01:00:00Z" });
    expect(sameDate.statusCode).toBe(409);
  });

  it("takes a data interval that is given whole", async () => {
    const { trigger } = await dagWith();
    const given = { data_interval_start: "2026-01-01T00:00:00Z", data_interval_end: "2026-01-05T00:00:00Z" };
    const response = await trigger({ logical_date: "2026-01-01T00:00:00Z", ...given });
    expect(response.json()).toMatchObject(given);
    const half = await trigger({ logical_date: null, data_interval_start: "2026-01-01T00:00:00Z" });
    expect(half.statusCode).toBe(422);
    expect(half.json()).toMatchObject({
      detail: [
        {
          type: "value_error",
          loc: ["body"],
          msg: "Value error, Either both data_interval_start and data_interval_end must be provided or both must be None",
        },
      ],
    });
  });

  it.each([
    [{}, "missing", ["body", "logical_date"]],
    [{ logical_date: "2026-01-01T00:00:00" }, "timezone_aware", ["body", "logical_date"]],
    [{ logical_date: "soon" }, "datetime_from_date_parsing", ["body", "logical_date"]],
    [{ logical_date: null, conf: [] }, "dict_type", ["body", "conf"]],
    [{ logical_date: null, nope: 1 }, "extra_forbidden", ["body", "nope"]],
  ])("refuses %j", async (body, type, loc) => {
    const { trigger } = await dagWith();
    const response = await trigger(body);
    expect(response.statusCode).toBe(422);
    expect(response.json()).toMatchObject({ detail: [{ type, loc }] });
  });

  it.each([
    ["../../etc", "The run_id '../../etc' must not contain '..' to prevent path traversal"],
    [
      "a b",
      String.raw`The run_id provided 'a b' does not match regex pattern '^[A-Za-z0-9_.~:+-]+$' or '^(?:manual|scheduled|asset_triggered)__(?:\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\+00:00)$'`,
    ],
    ["scheduled__x", "A manual DAG run cannot use ID 'scheduled__x' since it is reserved for scheduled runs"],
  ])("refuses the run id %j", async (runId, detail) => {
    const { trigger } = await dagWith();
    const response = await trigger({ dag_run_id: runId, logical_date: null });
    expect(response.statusCode).toBe(400);
    expect(response.json()).toEqual({ detail });
  });

  it("refuses what cannot be triggered", async () => {
    const { dagId, trigger } = await dagWith({}, { has_import_errors: true });
    expect((await trigger({ logical_date: null })).json()).toEqual({
      detail: `Dag with dag_id: '${dagId}' has import errors and cannot be triggered`,
    });
    const scheduledOnly = await dagWith({}, { allowed_run_types: toJsonText(["scheduled"]) });
    expect((await scheduledOnly.trigger({ logical_date: null })).json()).toEqual({
      detail: `Dag with dag_id: '${scheduledOnly.dagId}' does not allow manual runs`,
    });
    const stale = await dagWith({}, { is_stale: true });
    expect((await stale.trigger({ logical_date: null })).json()).toEqual({
      detail: `Dag with dag_id: '${stale.dagId}' not found`,
    });
    const plain = await dagWith();
    expect((await plain.trigger({ logical_date: null, partition_key: "k" })).json()).toEqual({
      detail: `Dag '${plain.dagId}' is not a partitioned Dag and does not accept a partition_key.`,
    });
  });

  it("holds conf against the params", async () => {
    const { trigger } = await dagWith({
      params: [
        ["count", param(3, { type: "integer", minimum: 1 })],
        ["name", param("x", { type: ["null", "string"], maxLength: 3 })],
        ["day", param("2026-01-01", { type: "string", format: "date" })],
      ],
    });
    const detailOf = async (conf: object) =>
      (await trigger({ logical_date: null, conf })).json<{ detail: string }>().detail;
    expect((await trigger({ logical_date: null, conf: { count: 5, name: null, extra: [1] } })).statusCode).toBe(200);
    // Airflow 3.3.2's own words.
    expect(await detailOf({ count: "five" })).toBe(
      "Invalid input for param count: 'five' is not of type 'integer'\n\nFailed validating 'type' in schema:\n" +
        "    {'type': 'integer', 'minimum': 1}\n\nOn instance:\n    'five'",
    );
    expect(await detailOf({ count: 0 })).toContain(
      "Invalid input for param count: 0 is less than the minimum of 1\n\n",
    );
    expect(await detailOf({ name: "long" })).toContain("Invalid input for param name: 'long' is too long\n\n");
    expect(await detailOf({ day: "2026-02-30" })).toContain(
      "Invalid input for param day: '2026-02-30' is not a 'date'\n\n",
    );
  });
});
