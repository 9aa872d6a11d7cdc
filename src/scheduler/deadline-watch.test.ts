import { pino } from "pino";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../test/support/database.ts";
import { makeDag, makeRun, makeVersion, unique } from "../../test/support/factories.ts";
import type { CallbackOutcome } from "../domain/callback.ts";
import { EventBus } from "../domain/events.ts";
import { addMicros, instantFromMicros, instantMicros, type Instant } from "../kit/instant.ts";
import { systemClock } from "../kit/clock.ts";
import { createDagRun } from "../store/dag-run-creation.ts";
import { callbackTold, openCallbackTriggers } from "../store/callback-triggers.ts";
import { insertDeadlineAlerts } from "../store/deadlines.ts";
import { finishRunWithMore } from "../store/run-end.ts";
import { cleanUnusedTriggers } from "../store/triggers.ts";
import { DeadlineWatch } from "./deadline-watch.ts";

let database: TestDatabase;
let watch: DeadlineWatch | undefined;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterEach(async () => {
  await watch?.stop();
  await database.db.deleteFrom("deadline").execute();
});
afterAll(() => database.close());

/** Runs ahead by as much as a test says; what is due then is found by `runOnce`, as after a stepped clock. */
let ahead = 0;
const clock = { now: (): Instant => addMicros(systemClock.now(), ahead) };
const kit = { logger: pino({ level: "silent" }), clock };

const timedelta = (seconds: number) => ({ __classname__: "datetime.timedelta", __version__: 2, __data__: seconds });
const variable = (key: string) => ({
  __classname__: "airflow.sdk.definitions.deadline.VariableInterval",
  __version__: 0,
  __data__: { key },
});
const callback = (kind: "SyncCallback" | "AsyncCallback", kwargs: object = {}) => ({
  __classname__: `airflow.sdk.definitions.callback.${kind}`,
  __version__: 0,
  __data__: { path: "alerts.late", kwargs },
});
const QUEUED = { reference_type: "DagRunQueuedAtDeadline" };
const alert = (changes: object = {}) => ({
  name: "late",
  reference: QUEUED,
  interval: timedelta(60),
  callback: callback("SyncCallback"),
  ...changes,
});

async function dagWith(...alerts: object[]): Promise<string> {
  const { dag_id } = await makeDag(database.db);
  const { id } = await makeVersion(database.db, { dag_id }, { dag: { deadline: alerts } });
  await insertDeadlineAlerts(database.db, [id]);
  return dag_id;
}

async function trigger(dagId: string, logicalDate: Instant | null = null): Promise<number> {
  const made = await createDagRun(database.db, {
    dagId,
    runId: unique("manual__"),
    runType: "manual",
    logicalDate,
    dataIntervalStart: null,
    dataIntervalEnd: null,
    runAfter: clock.now(),
    conf: '{"a": 1.0}' as never,
    triggeredBy: "rest_api",
    triggeringUserName: "leo",
  });
  if (made.kind !== "created") throw new Error(made.kind);
  return made.id;
}

const GONE: CallbackOutcome = { kind: "lost", reason: "gone" };
/** What Python says of references of the user's own. */
const answers: Record<string, CallbackOutcome> = {
  Mine: { kind: "done", errors: [], value: "2030-01-01T00:00:00+01:00" },
  Nothing: { kind: "done", errors: [] },
  Day: { kind: "done", errors: [], value: "2030-01-01 or so" },
  Wrong: { kind: "done", errors: ["ValueError: no"] },
};

async function start(values: Record<string, string> = {}) {
  const bus = new EventBus();
  const heard = { callbacks: 0, triggers: 0 };
  bus.on("callback", () => heard.callbacks++);
  watch = new DeadlineWatch(kit, {
    db: database.db,
    bus,
    variable: async (key) => values[key] ?? null,
    triggersChanged: () => heard.triggers++,
    reference: async ({ reference }) => {
      const { reference_type } = JSON.parse(reference) as { reference_type: string };
      if (reference_type === "Broken") throw new Error("not now");
      return answers[reference_type] ?? GONE;
    },
  });
  await watch.start();
  await watch.settled();
  return {
    bus,
    heard,
    pass: async (seconds: number) => {
      ahead += seconds * 1_000_000;
      watch?.runOnce();
      await watch?.settled();
    },
  };
}

const deadlines = (dagRunId: number) =>
  database.db.selectFrom("deadline").selectAll().where("dag_run_id", "=", dagRunId).orderBy("deadline_time").execute();
const callbacks = (dagRunId: number) =>
  database.db.selectFrom("callback").selectAll().where("dag_run_id", "=", dagRunId).execute();
const secondsAfter = (from: Instant, at: Instant) => (instantMicros(at) - instantMicros(from)) / 1e6;
const queuedAt = async (id: number) =>
  (await database.db.selectFrom("dag_run").select("queued_at").where("id", "=", id).executeTakeFirstOrThrow())
    .queued_at as Instant;

describe("a run's deadlines", () => {
  it("are its references plus their intervals", async () => {
    const date = instantFromMicros(1_700_000_000_000_000);
    const dagId = await dagWith(
      alert(),
      alert({ interval: timedelta(-1.5) }),
      alert({ interval: 30 }),
      alert({ reference: { reference_type: "DagRunLogicalDateDeadline" } }),
      alert({ reference: { reference_type: "FixedDatetimeDeadline", datetime: 1_800_000_000.25 } }),
    );
    const id = await trigger(dagId, date);
    const queued = await queuedAt(id);
    const times = (await deadlines(id)).map((row) => row.deadline_time);
    expect(times[0]).toBe(addMicros(date, 60_000_000));
    expect(times.slice(1, 4).map((at) => secondsAfter(queued, at))).toEqual([-1.5, 30, 60]);
    expect(times[4]).toBe(instantFromMicros(1_800_000_060_250_000));
    // Without a logical date there is none that refers to it.
    expect(await deadlines(await trigger(dagId))).toHaveLength(4);
  });

  it("may be the average of the last runs that succeeded, where there are enough", async () => {
    const reference = { reference_type: "AverageRuntimeDeadline", max_runs: 2, min_runs: 2 };
    const dagId = await dagWith(alert({ reference, interval: timedelta(1) }));
    const ran = async (day: number, seconds: number, state: "success" | "failed" = "success") => {
      const begun = instantFromMicros((1_700_000_000 + day * 86_400) * 1_000_000);
      const end_date = addMicros(begun, seconds * 1_000_000);
      await makeRun(database.db, { dag_id: dagId, state, logical_date: begun, start_date: begun, end_date });
    };
    await ran(1, 1000);
    await ran(2, 5000, "failed");
    expect(await deadlines(await trigger(dagId))).toEqual([]);
    await ran(3, 10);
    await ran(4, 20);
    const id = await trigger(dagId);
    const [row] = await deadlines(id);
    expect(secondsAfter(await queuedAt(id), row?.deadline_time as Instant)).toBe(16);
  });

  it("are known to the one who looks when a Variable says how long, or Python since when", async () => {
    const dagId = await dagWith(
      alert({ interval: variable("thirty") }),
      alert({ interval: variable("none") }),
      alert({ interval: variable("words") }),
      ...["Mine", "Nothing", "Wrong", "Gone"].map((reference_type) =>
        alert({ reference: { reference_type, __class_path: `mine.${reference_type}` } }),
      ),
    );
    const id = await trigger(dagId);
    await start({ thirty: "30", words: "soon" });
    const [thirty, mine, ...others] = await deadlines(id);
    expect(secondsAfter(await queuedAt(id), thirty?.deadline_time as Instant)).toBe(30);
    expect(mine?.deadline_time).toBe("2029-12-31T23:01:00.000000Z");
    expect(others).toEqual([]);
  });

  it("do not wait for one that cannot be resolved, or that refers to no moment", async () => {
    const own = (reference_type: string) => ({ __class_path: "refs.Mine", reference_type });
    const dagId = await dagWith(
      alert({ interval: timedelta(-60) }),
      alert({ reference: own("Broken") }),
      alert({ reference: own("Day") }),
    );
    const id = await trigger(dagId);
    const { heard } = await start();
    expect(heard.callbacks).toBe(1);
    expect((await deadlines(id)).map(({ missed, unresolved }) => [missed, unresolved])).toEqual([
      [true, false],
      [false, true],
    ]);
  });

  it("go when it succeeds in time, and stay when it fails or is late", async () => {
    const dagId = await dagWith(alert());
    const end = { reason: "", callback: "no-callback", hasDeadlines: true } as const;
    const finish = async (state: "success" | "failed", seconds: number): Promise<number> => {
      const id = await trigger(dagId);
      await database.db.updateTable("dag_run").set({ state: "running" }).where("id", "=", id).execute();
      const now = addMicros(await queuedAt(id), seconds * 1_000_000);
      await finishRunWithMore(database.db, { ...end, id, state, now });
      return (await deadlines(id)).length;
    };
    expect(await finish("success", 59)).toBe(0);
    expect(await finish("failed", 59)).toBe(1);
    expect(await finish("success", 61)).toBe(1);
  });
});

describe("a deadline that passes", () => {
  it("is missed at its time, once, and an executor calls back with the run and the deadline", async () => {
    const id = await trigger(await dagWith(alert({ callback: callback("SyncCallback", { n: 1 }) })));
    const { heard, pass } = await start();
    expect(await callbacks(id)).toEqual([]);
    await pass(61);
    const [row] = await deadlines(id);
    const [called] = await callbacks(id);
    expect(row).toMatchObject({ missed: true, callback_id: called?.id });
    expect(called).toMatchObject({ type: "executor", state: "pending" });
    const data = JSON.parse(called?.data ?? "") as { path: string; kwargs: { n: number; context: object } };
    expect(data).toMatchObject({
      kind: "path",
      path: "alerts.late",
      kwargs: {
        n: 1,
        context: {
          dag_run: {
            run_type: "manual",
            state: "queued",
            conf: { a: 1 },
            triggering_user_name: "leo",
            logical_date: null,
          },
          deadline: { id: row?.id, deadline_time: { __classname__: "datetime.datetime" } },
        },
      },
    });
    expect(called?.data).toContain('{"a": 1.0}');
    expect(heard).toEqual({ callbacks: 1, triggers: 0 });
    await pass(600);
    expect(await callbacks(id)).toHaveLength(1);
  });

  it("is a trigger when its callback is async", async () => {
    const id = await trigger(await dagWith(alert({ callback: callback("AsyncCallback") })));
    const { heard, pass } = await start();
    await pass(61);
    const [called] = await callbacks(id);
    expect(called).toMatchObject({ type: "triggerer", state: "queued" });
    const made = await database.db
      .selectFrom("trigger")
      .selectAll()
      .where("id", "=", called?.trigger_id as number)
      .executeTakeFirstOrThrow();
    expect(made.classpath).toBe("airflow.triggers.callback.CallbackTrigger");
    expect(JSON.parse(made.kwargs)).toMatchObject({
      callback_path: "alerts.late",
      callback_kwargs: { context: { deadline: {} } },
    });
    expect(heard).toEqual({ callbacks: 0, triggers: 1 });
    await cleanUnusedTriggers(database.db);
    const told = { triggerId: made.id, now: clock.now() };
    expect(await openCallbackTriggers(database.db)).toMatchObject([{ id: called?.id, trigger_id: made.id }]);
    expect(await callbackTold(database.db, { ...told, state: "running", output: null })).toBe(called?.id);
    expect(await callbackTold(database.db, { ...told, state: "success", output: "done" })).toBe(called?.id);
    expect(await callbackTold(database.db, { ...told, state: "failed", output: "late" })).toBeNull();
    expect(await callbacks(id)).toMatchObject([{ state: "success", output: "done", trigger_id: null, attempts: 1 }]);
    expect(await database.db.selectFrom("trigger").selectAll().where("id", "=", made.id).execute()).toEqual([]);
  });

  it("wakes who sleeps until then, also when it comes with a later run", async () => {
    const { bus, heard } = await start();
    const dagId = await dagWith(alert({ interval: timedelta(0.3) }));
    bus.publish({ kind: "dag", dagId });
    const id = await trigger(dagId);
    bus.publish({ kind: "dag-run", dagRunId: id });
    await new Promise<void>((resolve) => bus.on("callback", () => resolve()));
    expect(heard.callbacks).toBe(1);
    expect(await callbacks(id)).toHaveLength(1);
  });

  it("goes with its run", async () => {
    const id = await trigger(await dagWith(alert()));
    const { pass } = await start();
    await pass(61);
    await database.db.deleteFrom("dag_run").where("id", "=", id).execute();
    expect(await deadlines(id)).toEqual([]);
    expect(await callbacks(id)).toEqual([]);
  });
});
