import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createTestApi, type TestApi } from "../../../test/support/api.ts";
import { createTestDatabase, type TestDatabase } from "../../../test/support/database.ts";
import { makeDag, makeRun, makeTaskInstance, makeVersion } from "../../../test/support/factories.ts";
import type { AskTimetable } from "../../domain/timetable/custom.ts";
import { parseInstant, type Instant } from "../../kit/instant.ts";
import { deleteDag } from "../../store/query-dags.ts";
import { backfillRoutes, uiBackfillRoutes } from "./backfills.ts";

let database: TestDatabase;
let api: TestApi;
let now: Instant = parseInstant("2026-03-10T12:00:00Z");
let answerOfTimetable: Awaited<ReturnType<AskTimetable>> | null = null;
beforeAll(async () => {
  database = await createTestDatabase();
  api = await createTestApi(database.db, [backfillRoutes, (app, context) => uiBackfillRoutes(prefixed(app), context)], {
    askTimetable: async () => answerOfTimetable ?? Promise.reject(new Error("nobody's own timetable")),
  });
  const { kit } = api.context;
  Object.assign(kit, { clock: { now: () => now } });
});
afterAll(async () => {
  await api.close();
  await database.close();
});
beforeEach(() => {
  api.events.length = 0;
  now = parseInstant("2026-03-10T12:00:00Z");
});

/** The UI's route has the public one's path below another prefix. */
function prefixed<T extends { get: unknown }>(app: T): T {
  const get = (app.get as (path: string, ...rest: unknown[]) => unknown).bind(app);
  return new Proxy(app, {
    get: (target, name) =>
      name === "get" ? (path: string, ...rest: unknown[]) => get(`/ui${path}`, ...rest) : Reflect.get(target, name),
  });
}

const DAILY = { __type: "airflow.timetables.interval.CronDataIntervalTimetable" };
const cron = (expression: string) => ({ ...DAILY, __var: { expression, timezone: "UTC" } });

async function makeDaily(dag: Record<string, unknown> = {}, columns = {}, tasks?: { id: string }[]): Promise<string> {
  const row = await makeDag(database.db, { timetable_periodic: true, ...columns });
  const shape = { dag: { timetable: cron("0 0 * * *"), ...dag }, ...(tasks ? { tasks } : {}) };
  await makeVersion(database.db, { dag_id: row.dag_id }, shape);
  return row.dag_id;
}

interface Backfill {
  id: number;
  completed_at: string | null;
  is_paused: boolean;
  updated_at: string;
}

async function post(dagId: string, more: Record<string, unknown> = {}, path = "/api/v2/backfills") {
  const body = { dag_id: dagId, from_date: "2026-03-01T00:00:00Z", to_date: "2026-03-03T00:00:00Z", ...more };
  const answer = await api.request("POST", path, body);
  return { status: answer.statusCode, body: answer.json<Backfill & { detail: unknown }>(), text: answer.payload };
}

async function dryRun(dagId: string, more: Record<string, unknown> = {}) {
  const { body } = await post(dagId, more, "/api/v2/backfills/dry_run");
  const { backfills, total_entries } = body as unknown as {
    backfills: { logical_date: string }[];
    total_entries: number;
  };
  expect(backfills).toHaveLength(total_entries);
  return backfills.map(({ logical_date }) => logical_date.slice(0, 10));
}

/** What became of each time, in the backfill's order. */
async function fates(id: number): Promise<string[]> {
  const rows = await database.db
    .selectFrom("backfill_dag_run as b")
    .leftJoin("dag_run as r", "r.id", "b.dag_run_id")
    .select(["b.logical_date", "b.exception_reason", "r.run_id", "r.state"])
    .where("b.backfill_id", "=", id)
    .orderBy("sort_ordinal")
    .execute();
  return rows.map((row) =>
    [row.logical_date?.slice(0, 10), row.exception_reason ?? row.run_id, row.state].filter(Boolean).join(" "),
  );
}

const runOn = (dagId: string, day: string, state: "queued" | "running" | "success" | "failed", columns = {}) =>
  makeRun(database.db, {
    dag_id: dagId,
    run_id: `scheduled__${day}`,
    run_type: "scheduled",
    state,
    logical_date: parseInstant(`${day}T00:00:00Z`),
    ...columns,
  });

describe("making a backfill", () => {
  it("queues a run for each time whose interval is over, as Airflow does", async () => {
    const dagId = await makeDaily({}, { dag_display_name: "Daily" });
    const { status, body, text } = await post(dagId, {
      to_date: "2026-03-31T00:00:00Z",
      dag_run_conf: { n: 1 },
      max_active_runs: 3,
    });
    expect(status).toBe(200);
    expect(body).toEqual({
      id: body.id,
      dag_id: dagId,
      dag_display_name: "Daily",
      from_date: "2026-03-01T00:00:00Z",
      to_date: "2026-03-31T00:00:00Z",
      dag_run_conf: { n: 1 },
      is_paused: false,
      reprocess_behavior: "none",
      max_active_runs: 3,
      created_at: "2026-03-10T12:00:00Z",
      completed_at: null,
      updated_at: "2026-03-10T12:00:00Z",
    });
    expect(text).toContain('"dag_run_conf":{"n":1}');
    const made = await fates(body.id);
    expect(made).toHaveLength(9);
    expect(made[0]).toBe("2026-03-01 backfill__2026-03-02T00:00:00+00:00 queued");
    expect(made[8]).toBe("2026-03-09 backfill__2026-03-10T00:00:00+00:00 queued");
    const run = await database.db
      .selectFrom("dag_run")
      .where("dag_id", "=", dagId)
      .orderBy("run_after")
      .selectAll()
      .executeTakeFirst();
    expect(run).toMatchObject({
      run_type: "backfill",
      triggered_by: "backfill",
      triggering_user_name: "admin",
      backfill_id: body.id,
      conf: '{"n":1}',
      start_date: now,
      data_interval_end: "2026-03-02T00:00:00.000000Z",
    });
    expect(api.events[0]).toEqual({ kind: "backfill", backfillId: body.id });
    expect(api.events.filter(({ kind }) => kind === "dag-run")).toHaveLength(9);
  });

  it("goes backwards when asked to", async () => {
    const { body } = await post(await makeDaily(), { run_backwards: true });
    expect((await fates(body.id)).map((fate) => fate.slice(0, 10))).toEqual(["2026-03-03", "2026-03-02", "2026-03-01"]);
  });

  it.each([
    ["none", ["2026-03-05"], ["2026-03-05 backfill__2026-03-06T00:00:00+00:00 queued"]],
    [
      "failed",
      ["2026-03-02", "2026-03-05"],
      ["2026-03-02 scheduled__2026-03-02 queued", "2026-03-05 backfill__2026-03-06T00:00:00+00:00 queued"],
    ],
    [
      "completed",
      ["2026-03-01", "2026-03-02", "2026-03-05"],
      [
        "2026-03-01 scheduled__2026-03-01 queued",
        "2026-03-02 scheduled__2026-03-02 queued",
        "2026-03-05 backfill__2026-03-06T00:00:00+00:00 queued",
      ],
    ],
  ])("reprocesses %s", async (reprocess_behavior, planned, again) => {
    const dagId = await makeDaily();
    const states = ["success", "failed", "running", "queued"] as const;
    const runs = [];
    for (const [index, state] of states.entries()) runs.push(await runOn(dagId, `2026-03-0${index + 1}`, state));
    for (const run of runs) {
      const ended = run.state === "success" || run.state === "failed" ? run.state : "running";
      await makeTaskInstance(database.db, { dag_run_id: run.id, state: ended, try_number: 1 });
    }
    const asked = { reprocess_behavior, to_date: "2026-03-05T00:00:00Z" };
    expect(await dryRun(dagId, asked)).toEqual(planned);
    expect(await database.db.selectFrom("backfill").where("dag_id", "=", dagId).selectAll().execute()).toEqual([]);
    const { body } = await post(dagId, asked);
    const found = await fates(body.id);
    expect(found).toHaveLength(5);
    expect(found).toEqual(expect.arrayContaining(again));
    expect(found.slice(2, 4)).toEqual(["2026-03-03 in flight", "2026-03-04 in flight"]);
    if (reprocess_behavior === "none")
      expect(found.slice(0, 2).map((fate) => fate.slice(11))).toEqual(["already exists", "already exists"]);
    const failed = await database.db
      .selectFrom("dag_run")
      .where("id", "=", runs[1]?.id ?? 0)
      .selectAll()
      .executeTakeFirstOrThrow();
    const tries = await database.db
      .selectFrom("task_instance")
      .where("dag_run_id", "=", failed.id)
      .selectAll()
      .execute();
    if (reprocess_behavior === "none") {
      expect(failed).toMatchObject({ state: "failed", run_type: "scheduled", backfill_id: null });
      expect(tries).toMatchObject([{ state: "failed" }]);
    } else {
      expect(failed).toMatchObject({
        state: "queued",
        run_type: "backfill",
        triggered_by: "backfill",
        backfill_id: body.id,
        clear_number: 1,
      });
      expect(tries).toMatchObject([{ state: null, try_number: 1, max_tries: 1 }]);
    }
  });

  it.each([
    [true, undefined, 2],
    [false, undefined, 1],
    [undefined, undefined, 2],
    [undefined, false, 1],
  ])("goes on with the newest version: asked %s, the DAG says %s", async (asked, ofDag, version) => {
    const dagId = await makeDaily({ rerun_with_latest_version: ofDag });
    const run = await runOn(dagId, "2026-03-01", "failed");
    await makeTaskInstance(database.db, { dag_run_id: run.id, state: "failed", try_number: 1 });
    await makeVersion(
      database.db,
      { dag_id: dagId },
      { dag: { timetable: cron("0 0 * * *"), rerun_with_latest_version: ofDag } },
    );
    const { status } = await post(dagId, {
      reprocess_behavior: "failed",
      dag_run_conf: { from: "backfill" },
      ...(asked === undefined ? {} : { run_on_latest_version: asked }),
    });
    expect(status).toBe(200);
    const after = await database.db
      .selectFrom("dag_run as r")
      .innerJoin("dag_version as v", "v.id", "r.dag_version_id")
      .where("r.id", "=", run.id)
      .select(["version_number", "conf"])
      .executeTakeFirst();
    expect(after).toEqual({ version_number: version, conf: '{"from":"backfill"}' });
  });

  it("is about the dates between, by the timetable, whatever the DAG's own dates are", async () => {
    const dagId = await makeDaily({ timetable: cron("0 */6 * * *"), start_date: 1772928000, catchup: false });
    const asked = { from_date: "2026-03-01T01:00:00Z", to_date: "2026-03-01T18:00:00Z" };
    expect(await dryRun(dagId, asked)).toHaveLength(3);
    // The last one's interval has not ended.
    const today = { from_date: "2026-03-10T00:00:00Z", to_date: "2026-03-10T23:00:00Z" };
    expect(await dryRun(dagId, today)).toHaveLength(1);
  });

  it("asks a user's own timetable", async () => {
    const type = "plugin.Own";
    const dagId = await makeDaily({ timetable: { __type: type, __var: {} } });
    const runs = [1, 2].map((day) => {
      const [start, end] = [parseInstant(`2026-03-0${day}T00:00:00Z`), parseInstant(`2026-03-0${day + 1}T00:00:00Z`)];
      return {
        logicalDate: start,
        dataInterval: { start, end },
        runAfter: end,
        partitionKey: null,
        partitionDate: null,
        runId: "its own",
      };
    });
    answerOfTimetable = { runs, dataInterval: null, runId: null, failure: null };
    const { body } = await post(dagId);
    expect(await fates(body.id)).toEqual([
      "2026-03-01 backfill__2026-03-02T00:00:00+00:00 queued",
      "2026-03-02 backfill__2026-03-03T00:00:00+00:00 queued",
    ]);
  });

  it("makes partitions beside earlier ones", async () => {
    const timetable = {
      __type: "airflow.timetables.trigger.CronPartitionTimetable",
      __var: {
        expression: "0 0 * * *",
        timezone: "Asia/Taipei",
        run_immediately: false,
        run_offset: -1,
        key_format: "%Y-%m-%d",
      },
    };
    const dagId = await makeDaily({ timetable });
    await runOn(dagId, "2026-03-01", "failed", {
      logical_date: null,
      partition_key: "2026-03-01",
      partition_date: parseInstant("2026-02-28T16:00:00Z"),
    });
    const { status, body } = await post(dagId, { reprocess_behavior: "failed" });
    expect(status).toBe(200);
    const made = await database.db
      .selectFrom("dag_run")
      .where("backfill_id", "=", body.id)
      .orderBy("run_after")
      .select(["run_id", "partition_key", "partition_date", "logical_date", "data_interval_start"])
      .execute();
    expect(made.map(({ partition_key }) => partition_key)).toEqual(["2026-03-01", "2026-03-02", "2026-03-03"]);
    expect(made[0]).toMatchObject({
      partition_date: "2026-02-28T16:00:00.000000Z",
      logical_date: null,
      data_interval_start: null,
    });
    expect(made[0]?.run_id).toMatch(/^backfill__2026-02-28T16:00:00\+00:00__2026-03-01__\w{8}$/);
  });
});

describe("a backfill is refused", () => {
  it.each([
    [{ dag_id: "none" }, 404, "Could not find dag none"],
    [
      { from_date: "2026-03-03T00:00:00Z", to_date: "2026-03-01T00:00:00.5Z" },
      422,
      "from_date (2026-03-03T00:00:00+00:00) must not be after to_date (2026-03-01T00:00:00.500000+00:00).",
    ],
    [
      { from_date: "2026-03-11T00:00:00Z", to_date: "2026-03-12T00:00:00Z" },
      422,
      "Backfill cannot be executed for future dates.",
    ],
    [
      { from_date: "2026-03-10T01:00:00Z", to_date: "2026-03-10T02:00:00Z" },
      422,
      /^No runs to create for Dag dag_\d+ in the range \[2026-03-10 01:00:00\+00:00, 2026-03-10 02:00:00\+00:00\]$/,
    ],
    [{ dag_run_conf: { n: "one" } }, 422, /^Invalid input for param n: 'one' is not of type 'integer'/],
  ])("%j", async (more, status, detail) => {
    const params = [["n", { __class: "airflow.sdk.definitions.param.Param", default: 1, schema: { type: "integer" } }]];
    const answer = await post(await makeDaily({ params }), more);
    expect(answer.status).toBe(status);
    if (typeof detail === "string") expect(answer.body.detail).toBe(detail);
    else expect(answer.body.detail).toMatch(detail);
  });

  it("where the schedule has no times, or the DAG allows none", async () => {
    const once = await makeDag(database.db, { timetable_periodic: false });
    await makeVersion(database.db, { dag_id: once.dag_id });
    expect(await post(once.dag_id)).toMatchObject({
      status: 422,
      body: { detail: `${once.dag_id} has a non-periodic schedule that does not support backfills` },
    });
    const manual = await makeDaily({}, { allowed_run_types: '["manual"]' });
    expect(await post(manual)).toMatchObject({
      status: 400,
      body: { detail: `Dag with dag_id: '${manual}' does not allow backfill runs` },
    });
  });

  it("backwards, and without reprocessing, where tasks depend on the past", async () => {
    const dagId = await makeDaily({}, {}, [{ id: "a", depends_on_past: true } as { id: string }]);
    expect((await post(dagId, { run_backwards: true, reprocess_behavior: "failed" })).body.detail).toBe(
      "Backfill cannot be run in reverse when the Dag has tasks where depends_on_past=True.",
    );
    expect((await post(dagId)).body.detail).toBe(
      "Dag has tasks for which depends_on_past=True. You must set reprocess behavior to reprocess completed or reprocess failed.",
    );
    expect((await post(dagId, { reprocess_behavior: "failed" })).status).toBe(200);
  });

  it("while the DAG has another", async () => {
    const dagId = await makeDaily();
    // Both at once: the second sees the first however they fall.
    const answers = await Promise.all([post(dagId), post(dagId)]);
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 409]);
    expect(answers.find(({ status }) => status === 409)?.body.detail).toBe(
      `There is already a running backfill for dag ${dagId}`,
    );
  });

  it("to those who may only look", async () => {
    const dagId = await makeDaily();
    const { body } = await post(dagId);
    api.user = { name: "viewer", role: "VIEWER" };
    expect((await post(dagId)).status).toBe(403);
    expect((await post(dagId, {}, "/api/v2/backfills/dry_run")).status).toBe(403);
    expect((await api.request("PUT", `/api/v2/backfills/${body.id}/cancel`)).statusCode).toBe(403);
    expect((await api.get(`/api/v2/backfills/${body.id}`)).statusCode).toBe(200);
    api.user = { name: "admin", role: "ADMIN" };
  });
});

describe("a backfill", () => {
  const put = async (id: number, verb: string) => {
    const answer = await api.request("PUT", `/api/v2/backfills/${id}/${verb}`);
    return { status: answer.statusCode, body: answer.json<Backfill & { detail: string }>() };
  };

  it("is paused, unpaused and cancelled", async () => {
    const dagId = await makeDaily();
    const { id } = (await post(dagId)).body;
    api.events.length = 0;
    now = parseInstant("2026-03-10T12:00:01Z");
    expect((await put(id, "pause")).body).toMatchObject({ is_paused: true, updated_at: "2026-03-10T12:00:01Z" });
    now = parseInstant("2026-03-10T12:00:02Z");
    expect((await put(id, "pause")).body).toMatchObject({ is_paused: true, updated_at: "2026-03-10T12:00:01Z" });
    expect((await put(id, "unpause")).body).toMatchObject({ is_paused: false, updated_at: "2026-03-10T12:00:02Z" });
    await database.db
      .updateTable("dag_run")
      .set({ state: "running" })
      .where("run_id", "like", "%03-02T%")
      .where("dag_id", "=", dagId)
      .execute();
    expect((await put(id, "cancel")).body).toMatchObject({ is_paused: true, completed_at: "2026-03-10T12:00:02Z" });
    expect((await fates(id)).map((fate) => fate.split(" ").at(-1))).toEqual(["running", "failed", "failed"]);
    expect(api.events.filter(({ kind }) => kind === "backfill")).toHaveLength(4);
    expect(api.events.filter(({ kind }) => kind === "dag-run")).toHaveLength(2);
    for (const verb of ["pause", "unpause", "cancel"]) {
      expect(await put(id, verb)).toEqual({ status: 409, body: { detail: "Backfill is already completed." } });
      expect(await put(999_999, verb)).toEqual({ status: 404, body: { detail: "Backfill not found" } });
    }
    expect((await post(dagId, { reprocess_behavior: "failed" })).status).toBe(200);
  });

  it("is listed, for the UI with those of all DAGs", async () => {
    const [one, other] = [await makeDaily(), await makeDaily()];
    const first = (await post(one)).body.id;
    await put(first, "cancel");
    const second = (await post(one, { reprocess_behavior: "failed" })).body.id;
    const third = (await post(other)).body.id;
    const ids = async (url: string) => {
      const { backfills, total_entries } = (await api.get(url)).json<{
        backfills: Backfill[];
        total_entries: number;
      }>();
      return [backfills.map(({ id }) => id), total_entries];
    };
    expect(await ids(`/api/v2/backfills?dag_id=${one}`)).toEqual([[first, second], 2]);
    expect(await ids(`/api/v2/backfills?dag_id=${one}&order_by=-id&limit=1`)).toEqual([[second], 2]);
    expect(await ids(`/api/v2/ui/backfills?dag_id=${one}&active=true`)).toEqual([[second], 1]);
    expect(await ids(`/api/v2/ui/backfills?dag_id=${one}&active=false`)).toEqual([[first], 1]);
    const [all] = await ids("/api/v2/ui/backfills?active=true&limit=100");
    expect(all).toEqual(expect.arrayContaining([second, third]));
    expect((await api.get("/api/v2/backfills")).statusCode).toBe(422);
    expect((await api.get("/api/v2/backfills/999999")).json()).toEqual({ detail: "Backfill not found" });
    expect((await api.get(`/api/v2/backfills?dag_id=${one}&order_by=dag_id`)).statusCode).toBe(400);
  });

  it("goes with its DAG", async () => {
    const dagId = await makeDaily();
    const { id } = (await post(dagId)).body;
    await deleteDag(database.db, dagId);
    expect((await api.get(`/api/v2/backfills/${id}`)).statusCode).toBe(404);
    expect(await fates(id)).toEqual([]);
  });

  it("is on record", async () => {
    const dagId = await makeDaily();
    const { id } = (await post(dagId)).body;
    await dryRun(dagId);
    await put(id, "pause");
    const rows = await database.db
      .selectFrom("log")
      .select(["event", "owner", "extra"])
      .where("dag_id", "=", dagId)
      .execute();
    expect(rows.map(({ event }) => event)).toEqual(["create_backfill"]);
    expect(rows[0]?.extra).toContain('"from_date": "2026-03-01T00:00:00Z"');
    const paused = await database.db.selectFrom("log").where("event", "=", "pause_backfill").selectAll().execute();
    expect(paused.some(({ extra }) => extra?.includes(`"backfill_id": "${id}"`))).toBe(true);
  });
});
