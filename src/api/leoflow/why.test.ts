import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createTestApi, type TestApi } from "../../../test/support/api.ts";
import { all, anAsset, makeAssetDag, waitsFor } from "../../../test/support/assets.ts";
import { createTestDatabase, type TestDatabase } from "../../../test/support/database.ts";
import {
  makeDag,
  makeRun,
  makeRunningTask,
  makeTaskInstance,
  makeVersion,
  NOON,
} from "../../../test/support/factories.ts";
import { newId } from "../../kit/ids.ts";
import { parseInstant } from "../../kit/instant.ts";
import { toJsonText } from "../../kit/json-text.ts";
import { createAgentToken, deleteAgentToken, openSession } from "../../store/agents.ts";
import { REASONS, type Reason, type Why } from "./why-contract.ts";
import { whyRoutes } from "./why.ts";

const ONE = parseInstant("2026-01-01T13:00:00Z");
const DAY_BEFORE = parseInstant("2025-12-31T12:00:00Z");
const LATER = parseInstant("2126-01-01T00:00:00Z");

let database: TestDatabase;
let api: TestApi;
beforeAll(async () => {
  database = await createTestDatabase();
  api = await createTestApi(database.db, [whyRoutes], { prefix: "/api/leoflow" });
});
afterAll(async () => {
  await api.close();
  await database.close();
});
beforeEach(async () => {
  await database.pool.query(
    "delete from dag_run; delete from dag; delete from import_error; delete from pool where pool <> 'default_pool'",
  );
});

async function ask(...path: string[]): Promise<Why> {
  const answer = await api.get(`/api/leoflow/why/${path.join("/")}`);
  expect(answer.statusCode).toBe(200);
  return answer.json<Why>();
}

const why = async (...path: string[]): Promise<Reason[]> => (await ask(...path)).reasons;
const codes = (reasons: readonly Reason[]): string[] => reasons.map(({ code }) => code);

/** A DAG whose only run is running, with these tasks in these states. */
async function running(
  tasks: { id: string; state?: string | null; [field: string]: unknown }[],
  dag: Record<string, unknown> = {},
) {
  const { dag_id: dagId } = await makeDag(database.db);
  const shape = { tasks: tasks.map(({ state: _, ...task }) => task), dag };
  await makeVersion(database.db, { dag_id: dagId }, shape);
  const run = await makeRun(database.db, { dag_id: dagId, logical_date: NOON, run_id: "r1" });
  for (const { id, state } of tasks)
    await makeTaskInstance(database.db, { dag_run_id: run.id, task_id: id, state: (state ?? null) as never });
  return { dagId, run };
}

it("calls its reasons what docs/why.md calls them", () => {
  const page = readFileSync(join(import.meta.dirname, "../../../docs/why.md"), "utf8");
  const rows = [...page.matchAll(/^\| `(\w+)` \| (.+) \|$/gm)].map(([, code, says]) => [code, says]);
  expect(rows).toEqual(Object.entries(REASONS));
});

describe("a DAG", () => {
  it("that is held is held by all that applies, and tells its next run", async () => {
    const { db } = database;
    const { dag_id: dagId } = await makeDag(db, {
      is_paused: true,
      is_stale: true,
      has_import_errors: true,
      relative_fileloc: "broken.py",
      next_dagrun_create_after: LATER,
    });
    await makeVersion(db, { dag_id: dagId }, { dag: { max_active_runs: 1, allowed_run_types: ["manual"] } });
    await db
      .updateTable("dag")
      .set({ allowed_run_types: toJsonText(["manual"]) })
      .execute();
    await db
      .insertInto("import_error")
      .values({ filename: "broken.py", stacktrace: "Traceback\nNameError: name 'x'\n", timestamp: NOON })
      .execute();
    await makeRun(db, { dag_id: dagId, run_id: "busy" });
    const reasons = await why(dagId);
    expect(codes(reasons)).toEqual(["stale", "paused", "import_errors", "max_active_runs", "run_type", "next_run"]);
    expect(reasons[2]).toMatchObject({
      file: "broken.py",
      message: "Its file broken.py cannot be imported: NameError: name 'x'",
    });
    expect(reasons[3]).toMatchObject({
      limit: 1,
      message: "max_active_runs=1 is reached: busy (running).",
      dag_runs: [{ dag_id: dagId, run_id: "busy", state: "running" }],
    });
    expect(reasons[5]).toMatchObject({ until: LATER });
  });

  it("has no schedule, or was never read, or is not there", async () => {
    const { db } = database;
    api.user = { name: "viewer", role: "VIEWER" };
    const { dag_id: dagId } = await makeDag(db);
    expect(codes(await why(dagId))).toEqual(["no_version"]);
    await makeVersion(db, { dag_id: dagId });
    expect(codes(await why(dagId))).toEqual(["no_schedule"]);
    expect((await api.get("/api/leoflow/why/nobody")).json()).toEqual({
      detail: "The Dag with ID: `nobody` was not found",
    });
    await db.insertInto("import_error").values({ filename: "broken.py", stacktrace: "", timestamp: NOON }).execute();
    expect((await api.get("/api/leoflow/why/nobody")).json()).toEqual({
      detail: "The Dag with ID: `nobody` was not found. Files that cannot be imported: broken.py",
    });
    expect((await api.get(`/api/leoflow/why/${dagId}/nobody`)).statusCode).toBe(404);
  });

  it("waits for assets: which were updated, which not", async () => {
    const { db } = database;
    await makeAssetDag(db, "waits", { dag: waitsFor(all(anAsset("first"), anAsset("second"))) });
    await database.pool.query(
      `insert into asset_dag_run_queue select id, 'waits', '${NOON}' from asset where name = 'first'`,
    );
    expect(await why("waits")).toEqual([
      {
        code: "assets",
        message: "It waits for updates of second; updated already: first.",
        assets: [
          { name: "first", uri: "first", updated_at: NOON },
          { name: "second", uri: "second" },
        ],
      },
    ]);
  });
});

describe("a queued run", () => {
  it("waits for its DAG, its time, and the runs before it", async () => {
    const { db } = database;
    const { dag_id: dagId } = await makeDag(db, { is_paused: true });
    await makeVersion(db, { dag_id: dagId }, { dag: { max_active_runs: 1 } });
    await makeRun(db, { dag_id: dagId, run_id: "busy" });
    await makeRun(db, { dag_id: dagId, run_id: "first", state: "queued" });
    await makeRun(db, { dag_id: dagId, run_id: "second", state: "queued", run_after: ONE });
    await makeRun(db, { dag_id: dagId, run_id: "future", state: "queued", run_after: LATER });
    expect(codes(await why(dagId, "second"))).toEqual(["paused"]);
    await db.updateTable("dag").set({ is_paused: false }).execute();
    expect(await why(dagId, "second")).toMatchObject([
      { code: "max_active_runs", limit: 1, dag_runs: [{ run_id: "busy" }] },
      { code: "queued_behind", dag_runs: [{ run_id: "first" }] },
    ]);
    expect(await why(dagId, "future")).toMatchObject([{ code: "run_after", until: LATER }]);
    await db.updateTable("dag_run").set({ state: "success", end_date: ONE }).where("run_id", "=", "busy").execute();
    expect(codes(await why(dagId, "second"))).toEqual(["starting"]);
    // Its tasks wait for what the run waits for.
    expect(codes(await why(dagId, "future", "a"))).toEqual(["run_after"]);
  });

  it("of a backfill waits for the backfill", async () => {
    const { db } = database;
    const { dag_id: dagId } = await makeDag(db);
    await makeVersion(db, { dag_id: dagId }, { dag: { max_active_runs: 1 } });
    const { id } = await db
      .insertInto("backfill")
      .values({
        dag_id: dagId,
        from_date: NOON,
        to_date: NOON,
        max_active_runs: 1,
        is_paused: true,
        reprocess_behavior: "none",
      })
      .returning("id")
      .executeTakeFirstOrThrow();
    await makeRun(db, { dag_id: dagId, run_id: "another" });
    const fields = { dag_id: dagId, backfill_id: id, run_type: "backfill" } as const;
    await makeRun(db, { ...fields, run_id: "one" });
    await makeRun(db, { ...fields, run_id: "two", state: "queued" });
    expect(await why(dagId, "two")).toMatchObject([{ code: "backfill_paused", backfill_id: id }]);
    await db.updateTable("backfill").set({ is_paused: false }).execute();
    expect(await why(dagId, "two")).toMatchObject([
      { code: "max_active_runs", limit: 1, backfill_id: id, dag_runs: [{ run_id: "one" }] },
    ]);
  });
});

describe("a run", () => {
  it("tells of what works and of what nothing above holds, and counts the rest", async () => {
    const { dagId } = await running([
      { id: "a", state: "running", downstream: ["b"] },
      { id: "b", downstream: ["c"] },
      { id: "c" },
      { id: "d", state: "success" },
      { id: "e", state: "up_for_retry" },
    ]);
    const reasons = await why(dagId, "r1");
    expect(codes(reasons)).toEqual(["run_running", "running", "being_decided", "not_finished"]);
    expect(reasons[3]?.message).toBe("To come after that: b, c.");
    expect(await why(dagId)).toMatchObject([
      { code: "no_schedule" },
      { code: "active_runs", dag_runs: [{ run_id: "r1" }] },
    ]);
  });

  it("that ended tells how", async () => {
    const { dagId } = await running([{ id: "a", state: "failed" }]);
    await database.db.updateTable("dag_run").set({ state: "failed", end_date: ONE }).execute();
    expect(await ask(dagId, "r1")).toMatchObject({
      state: "failed",
      reasons: [
        { code: "run_finished", since: ONE, message: "Run r1 ended as failed at 2026-01-01 13:00:00 UTC; failed: a." },
      ],
    });
  });
});

describe("a task", () => {
  it("waits for its trigger rule: which upstreams, in which states", async () => {
    const { dagId } = await running([
      { id: "a", state: "success", downstream: ["c"] },
      { id: "b", state: "running", downstream: ["c"] },
      { id: "c", trigger_rule: "none_failed" },
    ]);
    expect(await ask(dagId, "r1", "c")).toMatchObject({
      dag_id: dagId,
      task_id: "c",
      state: null,
      reasons: [
        {
          code: "trigger_rule",
          message: "c waits for its trigger rule none_failed: b (running).",
          task_instances: [{ task_id: "b", map_index: -1, state: "running" }],
        },
      ],
    });
    await database.db.updateTable("dag").set({ is_paused: true }).execute();
    expect(codes(await why(dagId, "r1", "c"))).toEqual(["paused", "trigger_rule"]);
    expect(codes(await why(dagId, "r1", "b"))).toEqual(["running"]);
  });

  it("did not run because of what failed above it", async () => {
    const { dagId } = await running([
      { id: "a", state: "failed", downstream: ["b"] },
      { id: "b", state: "upstream_failed" },
    ]);
    expect(await why(dagId, "r1", "b")).toMatchObject([
      { code: "finished", message: "b did not run, it is upstream_failed: a (failed)." },
    ]);
  });

  it("depends on its past, and on what came after that", async () => {
    const { dagId, run } = await running([
      { id: "a", downstream: ["b"], depends_on_past: true, wait_for_downstream: true },
      { id: "b" },
    ]);
    const past = await makeRun(database.db, { dag_id: dagId, run_id: "r0", logical_date: DAY_BEFORE });
    const before = await makeTaskInstance(database.db, { dag_run_id: past.id, state: "failed" });
    await makeTaskInstance(database.db, { dag_run_id: past.id, task_id: "b", state: "running" });
    expect(await why(dagId, run.run_id, "a")).toMatchObject([
      {
        code: "depends_on_past",
        message: "a depends on its past (depends_on_past): in run r0 it is a (failed).",
        task_instances: [{ run_id: "r0", task_id: "a", state: "failed" }],
      },
    ]);
    await database.db.updateTable("task_instance").set({ state: "success" }).where("id", "=", before.id).execute();
    expect(await why(dagId, run.run_id, "a")).toMatchObject([
      { code: "wait_for_downstream", task_instances: [{ run_id: "r0", task_id: "b", state: "running" }] },
    ]);
  });

  it("finds its pool full, and by whom, and who goes first", async () => {
    const { db } = database;
    await db.insertInto("pool").values({ pool: "small", slots: 3, description: null }).execute();
    const { dagId, run } = await running([
      { id: "holder", pool: "small", pool_slots: 2, state: "running" },
      { id: "heavy", pool: "small", pool_slots: 2, state: "scheduled", priority_weight: 9 },
      { id: "light", pool: "small", pool_slots: 2, state: "scheduled" },
    ]);
    await db.updateTable("task_instance").set({ pool: "small", pool_slots: 2 }).execute();
    await db.updateTable("task_instance").set({ priority_weight: 9 }).where("task_id", "=", "heavy").execute();
    expect(await why(dagId, run.run_id, "light")).toMatchObject([
      {
        code: "pool",
        message: `light needs 2 slots of pool small, where 2 of 3 are in use, taken by ${dagId}.holder of r1.`,
        pool: { name: "small", slots: 3, occupied: 2 },
        task_instances: [{ dag_id: dagId, task_id: "holder", pool_slots: 2, state: "running" }],
      },
      { code: "goes_first", task_instances: [{ task_id: "heavy" }] },
    ]);
    expect(codes(await why(dagId, run.run_id, "heavy"))).toEqual(["pool"]);
    await db.deleteFrom("pool").where("pool", "=", "small").execute();
    expect(codes(await why(dagId, run.run_id, "light"))).toEqual(["unknown_pool"]);
  });

  it("meets the limits of its DAG, its task and the installation", async () => {
    const { db } = database;
    const limits = { max_active_tis_per_dag: 1, max_active_tis_per_dagrun: 1 };
    const { dagId, run } = await running(
      [
        { id: "a", state: "scheduled", ...limits },
        { id: "b", state: "running" },
      ],
      {
        max_active_tasks: 1,
      },
    );
    expect(await why(dagId, "r1", "a")).toMatchObject([
      { code: "max_active_tasks", limit: 1, task_instances: [{ task_id: "b" }] },
    ]);
    const other = await makeRun(db, { dag_id: dagId, run_id: "r2", logical_date: ONE });
    await makeTaskInstance(db, { dag_run_id: other.id, state: "deferred" });
    await makeTaskInstance(db, { dag_run_id: run.id, map_index: 1, state: "queued" });
    const found = await why(dagId, "r1", "a?map_index=-1");
    expect(found).toMatchObject([
      { code: "max_active_tasks" },
      { code: "max_active_tis_per_dag", limit: 1, task_instances: [{ map_index: 1 }, { run_id: "r2" }] },
      { code: "max_active_tis_per_dagrun", limit: 1, task_instances: [{ map_index: 1 }] },
    ]);
    for (let index = 0; index < 31; index++)
      await makeTaskInstance(db, { dag_run_id: other.id, task_id: "b", map_index: index, state: "running" });
    expect((await why(dagId, "r1", "a?map_index=-1"))[0]).toMatchObject({ code: "parallelism", limit: 32, more: 23 });
  });

  it("waits for its time, its trigger, a person, a worker", async () => {
    const { db } = database;
    const { dagId } = await running([
      { id: "retry", state: "up_for_retry" },
      { id: "sensor", state: "up_for_reschedule" },
      { id: "deferred", state: "deferred" },
      { id: "asks", state: "awaiting_input" },
      { id: "queued", state: "queued" },
      { id: "done", state: "success" },
    ]);
    const set = (id: string, fields: object) =>
      db.updateTable("task_instance").set(fields).where("task_id", "=", id).returning("id").executeTakeFirstOrThrow();
    await set("retry", { wake_at: LATER, try_number: 1, max_tries: 2 });
    await set("sensor", { wake_at: LATER });
    const { id: trigger } = await db
      .insertInto("trigger")
      .values({ classpath: "some.Trigger", kwargs: "{}", created_date: NOON })
      .returning("id")
      .executeTakeFirstOrThrow();
    await set("deferred", { trigger_id: trigger, trigger_timeout: LATER });
    const { id: asks } = await set("asks", { trigger_timeout: LATER });
    await db
      .insertInto("hitl_detail")
      .values({ ti_id: asks, options: toJsonText(["Yes", "No"]), subject: "Ship it?", created_at: NOON })
      .execute();
    await set("queued", { queued_dttm: NOON });
    expect(await why(dagId, "r1", "retry")).toMatchObject([
      {
        code: "up_for_retry",
        until: LATER,
        message: "retry failed try 1 of 3 and is tried again at 2126-01-01 00:00:00 UTC.",
      },
    ]);
    expect(await why(dagId, "r1", "sensor")).toMatchObject([{ code: "up_for_reschedule", until: LATER }]);
    expect(await why(dagId, "r1", "deferred")).toMatchObject([
      { code: "deferred", since: NOON, until: LATER, trigger: { id: trigger, classpath: "some.Trigger" } },
    ]);
    expect(await why(dagId, "r1", "asks")).toMatchObject([
      { code: "awaiting_input", until: LATER, question: { subject: "Ship it?", options: ["Yes", "No"] } },
    ]);
    expect(await why(dagId, "r1", "queued")).toMatchObject([{ code: "queued", since: NOON }]);
    const token = { jti: newId(), name: "box", queues: ["gpu"], createdBy: null, expiresAt: null };
    await createAgentToken(db, token);
    await set("queued", { queue: "gpu" });
    expect(await why(dagId, "r1", "queued")).toMatchObject([
      {
        code: "no_agent",
        message:
          "queued waits for an agent since 2026-01-01 12:00:00 UTC: none is connected that serves the queue gpu.",
      },
    ]);
    const about = { hostname: "far", unixname: "leo", pid: 1, version: "1", concurrency: 1, now: NOON };
    await openSession(database.pool, { ...about, jti: token.jti, queues: ["gpu"] });
    expect(await why(dagId, "r1", "queued")).toMatchObject([{ code: "queued" }]);
    await deleteAgentToken(db, "box");
    expect(codes(await why(dagId, "r1", "done"))).toEqual(["finished"]);
  });

  it("that is mapped tells of its instances; one that is not in the run says so", async () => {
    const { dag, run } = await makeRunningTask(
      database.db,
      { map_index: 0, state: "running" },
      { tasks: [{ id: "a" }, { id: "late" }], run: { run_id: "r1" } },
    );
    await makeTaskInstance(database.db, { dag_run_id: run.id, map_index: 1, state: "queued" });
    const { dag_id: dagId } = dag;
    expect(codes(await why(dagId, "r1", "a"))).toEqual(["running", "queued"]);
    await makeTaskInstance(database.db, { dag_run_id: run.id, map_index: 2, state: "running" });
    expect((await why(dagId, "r1", "a"))[0]).toMatchObject({
      code: "running",
      message: "2 task instances of a are running: a[0], a[2].",
    });
    expect(await ask(dagId, "r1", "a?map_index=1")).toMatchObject({ map_index: 1, reasons: [{ code: "queued" }] });
    expect(codes(await why(dagId, "r1", "late"))).toEqual(["no_task_instance"]);
    expect((await api.get(`/api/leoflow/why/${dagId}/r1/nobody`)).statusCode).toBe(404);
    expect((await api.get(`/api/leoflow/why/${dagId}/r1/a?map_index=7`)).statusCode).toBe(404);
  });
});
