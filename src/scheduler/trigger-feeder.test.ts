import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { pino } from "pino";
import { createTestDatabase, type TestDatabase } from "../../test/support/database.ts";
import { makeDag, makeRunningTask } from "../../test/support/factories.ts";
import { untilTrue } from "../../test/support/python.ts";
import { systemClock } from "../kit/clock.ts";
import { addMicros, type Instant } from "../kit/instant.ts";
import type { JsonText } from "../kit/json-text.ts";
import { EventBus } from "../domain/events.ts";
import type { RunTrigger, TriggerHost } from "../domain/trigger.ts";
import { VersionCache } from "../store/dag-versions.ts";
import { TriggerFeeder } from "./trigger-feeder.ts";

/** Runs nothing, and remembers what it was told. */
class IdleHost implements TriggerHost {
  readonly held = new Map<number, RunTrigger>();
  readonly cancelled: number[] = [];

  run(triggers: readonly RunTrigger[]): void {
    for (const trigger of triggers) this.held.set(trigger.id, trigger);
  }

  cancel(ids: readonly number[]): void {
    for (const id of ids) if (this.held.delete(id)) this.cancelled.push(id);
  }

  running(): ReadonlySet<number> {
    return new Set(this.held.keys());
  }

  isHealthy(): boolean {
    return true;
  }
}

let database: TestDatabase;
const feeders: TriggerFeeder[] = [];
beforeAll(async () => {
  database = await createTestDatabase();
});
afterEach(async () => {
  for (const feeder of feeders.splice(0)) await feeder.stop();
  await database.pool.query("truncate dag, trigger cascade");
});
afterAll(() => database.close());

async function start(startGraceSeconds = 0, others: () => Promise<RunTrigger[]> = async () => []) {
  const bus = new EventBus();
  const host = new IdleHost();
  const timedOut: string[] = [];
  const feeder = new TriggerFeeder(
    { logger: pino({ level: "silent" }), clock: systemClock },
    {
      database,
      bus,
      versions: new VersionCache(database.db),
      host,
      others,
      timeOut: async (ids) => {
        timedOut.push(...ids);
        // As the change of state is told while it is written.
        for (const id of ids) bus.publish(changed(id, "scheduled"));
        return [...ids];
      },
    },
    { jobId: 12, startGraceSeconds },
  );
  feeders.push(feeder);
  await feeder.start();
  return { bus, host, feeder, timedOut };
}

const changed = (id: string, state: "deferred" | "scheduled", wakeAt: string | null = null) =>
  ({
    kind: "task-instance",
    dagRunId: 1,
    id,
    taskId: "a",
    mapIndex: -1,
    state,
    wakeAt,
    newId: null,
    mappedLength: null,
  }) as const;

/** A deferred task with its trigger, and a file in a project of its own. */
async function deferred(timeoutAt: Instant | null = null) {
  const trigger = await database.db
    .insertInto("trigger")
    .values({ classpath: "some.Trigger", kwargs: "{}", queue: null, triggerer_id: null })
    .returning("id")
    .executeTakeFirstOrThrow();
  const { ti, dag, run } = await makeRunningTask(database.db, {
    state: "deferred",
    trigger_id: trigger.id,
    trigger_timeout: timeoutAt,
    wake_at: timeoutAt,
    next_method: "resume",
    next_kwargs: null,
  });
  return { ti, dag, run, triggerId: trigger.id };
}

const inSeconds = (seconds: number): Instant => addMicros(systemClock.now(), seconds * 1_000_000);

it("hands over what waits at the start, and what defers later, with its log and its version", async () => {
  const first = await deferred();
  const { bus, host, feeder } = await start();
  await feeder.settled();
  expect([...host.held.keys()]).toEqual([first.triggerId]);
  const second = await deferred(inSeconds(60));
  bus.publish(changed(second.ti.id, "deferred", second.ti.wake_at));
  await feeder.settled();
  expect(host.held.get(second.triggerId)).toMatchObject({
    classpath: "some.Trigger",
    taskInstance: { id: second.ti.id, timeoutAt: second.ti.trigger_timeout },
    version: { dagRelPath: `${second.dag.dag_id}.py` },
    environment: "default",
    startContext: null,
    logPath: `dag_id=${second.dag.dag_id}/run_id=${second.run.run_id}/task_id=a/attempt=1.log.trigger.12.log`,
  });
  const rows = await database.db.selectFrom("trigger").select("triggerer_id").execute();
  expect(rows).toEqual([{ triggerer_id: 12 }, { triggerer_id: 12 }]);
});

it("takes back what is killed, also while it is being read", async () => {
  const { bus, host, feeder } = await start();
  const known = await deferred();
  bus.publish(changed(known.ti.id, "deferred"));
  await feeder.settled();
  const reading = await deferred();
  bus.publish(changed(reading.ti.id, "deferred"));
  bus.publish({ kind: "kill", ids: [known.ti.id, reading.ti.id], reason: "cleared" });
  await feeder.settled();
  expect(host.cancelled).toEqual([known.triggerId]);
  expect(host.held.size).toBe(0);
});

it("finds with a tick what no event told", async () => {
  const { host, feeder } = await start();
  const missed = await deferred();
  await feeder.runOnce();
  await feeder.settled();
  expect([...host.held.keys()]).toEqual([missed.triggerId]);
  await database.db.deleteFrom("dag_run").where("id", "=", missed.run.id).execute();
  await feeder.runOnce();
  expect(host.cancelled).toEqual([missed.triggerId]);
  expect(await database.db.selectFrom("trigger").selectAll().execute()).toEqual([]);
});

it("fails what took too long at its time, and ends its trigger", async () => {
  const { bus, host, feeder, timedOut } = await start();
  const slow = await deferred(inSeconds(0.3));
  bus.publish(changed(slow.ti.id, "deferred", slow.ti.wake_at));
  await feeder.settled();
  expect(host.held.size).toBe(1);
  await untilTrue(() => timedOut.length > 0);
  expect(timedOut).toEqual([slow.ti.id]);
  await untilTrue(() => host.cancelled.length > 0);
  expect(host.cancelled).toEqual([slow.triggerId]);
});

it("gives what timed out while nothing ran a moment for its event", async () => {
  const late = await deferred(inSeconds(-60));
  const { host, feeder, timedOut } = await start(0.5);
  await feeder.settled();
  expect([...host.held.keys()]).toEqual([late.triggerId]);
  expect(timedOut).toEqual([]);
  await untilTrue(() => timedOut.length > 0);
});

it("runs what no task waits for while it is wanted", async () => {
  const { id } = await database.db
    .insertInto("trigger")
    .values({ classpath: "some.Watcher", kwargs: "{}", queue: null, triggerer_id: null })
    .returning("id")
    .executeTakeFirstOrThrow();
  const watcher: RunTrigger = {
    id,
    classpath: "some.Watcher",
    kwargs: "{}",
    taskInstance: null,
    startContext: null,
    watchedAssets: { an: "asset" },
    environment: "default",
    version: null,
    logPath: null,
  };
  const { db } = database;
  const asset = await db
    .insertInto("asset")
    .values({ name: "an", uri: "asset", group: "asset", extra: "{}" as JsonText })
    .returning("id")
    .executeTakeFirstOrThrow();
  const { dag_id } = await makeDag(db);
  const named = { asset_id: asset.id, dag_id, name: "watcher", classpath: "some.Watcher", kwargs: "{}" };
  await db
    .insertInto("asset_watcher")
    .values({ ...named, trigger_id: id })
    .execute();
  let wanted = [watcher];
  const { host, feeder } = await start(0, async () => wanted);
  expect([...host.held.values()]).toEqual([watcher]);
  await feeder.runOnce();
  expect(await database.db.selectFrom("trigger").select("id").execute()).toEqual([{ id }]);
  wanted = [];
  await db.updateTable("asset_watcher").set({ trigger_id: null }).execute();
  await feeder.refresh();
  expect(host.cancelled).toEqual([id]);
  await feeder.runOnce();
  expect(await database.db.selectFrom("trigger").select("id").execute()).toEqual([]);
});
