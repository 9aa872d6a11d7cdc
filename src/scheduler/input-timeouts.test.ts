import { pino } from "pino";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../test/support/database.ts";
import { makeRunningTask } from "../../test/support/factories.ts";
import { EventBus, type EventOf } from "../domain/events.ts";
import { systemClock } from "../kit/clock.ts";
import { addMicros, type Instant } from "../kit/instant.ts";
import { toJsonText, type JsonText } from "../kit/json-text.ts";
import { InputTimeouts } from "./input-timeouts.ts";

let database: TestDatabase;
let timeouts: InputTimeouts | undefined;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterEach(() => timeouts?.stop());
afterAll(() => database.close());

let ahead = 0;
const clock = { now: (): Instant => addMicros(systemClock.now(), ahead) };
const kit = { logger: pino({ level: "silent" }), clock };

interface Asked {
  seconds?: number;
  defaults?: JsonText;
  answered?: boolean;
}

/** A task that waits for an answer, `seconds` at most. */
async function waiting({ seconds, defaults, answered }: Asked) {
  const at = seconds === undefined ? null : addMicros(clock.now(), seconds * 1_000_000);
  const made = await makeRunningTask(database.db, {
    state: "awaiting_input",
    next_method: "execute_complete",
    next_kwargs: '{"limit": 60.0}' as JsonText,
    trigger_timeout: at,
    wake_at: at,
  });
  await database.db
    .insertInto("hitl_detail")
    .values({
      ti_id: made.ti.id,
      options: toJsonText(["yes", "no"]),
      subject: "Go on?",
      body: null,
      defaults: defaults ?? null,
      assignees: null,
      params: '{"n": {"value": 1.0, "schema": {}, "description": null}, "s": "bare"}' as JsonText,
      responded_at: answered ? clock.now() : null,
      responded_by: answered ? toJsonText({ id: "leo", name: "Leo" }) : null,
      chosen_options: answered ? toJsonText(["no"]) : null,
    })
    .execute();
  return { ...made, at };
}

async function start() {
  const bus = new EventBus();
  const runs: number[] = [];
  bus.on("dag-run", ({ dagRunId }) => runs.push(dagRunId));
  timeouts = new InputTimeouts(kit, { db: database.db, bus });
  await timeouts.start();
  const pass = async (seconds: number): Promise<void> => {
    const before = runs.length;
    ahead += seconds * 1_000_000;
    const woken = new Promise<void>((resolve) => bus.on("dag-run", () => resolve()));
    await timeouts?.runOnce();
    if (runs.length === before) await woken;
  };
  return { bus, runs, pass };
}

const taskOf = async (id: string) => {
  const row = await database.db
    .selectFrom("task_instance")
    .select(["state", "next_kwargs", "trigger_timeout", "wake_at"])
    .where("id", "=", id)
    .executeTakeFirstOrThrow();
  return { ...row, kwargs: JSON.parse(row.next_kwargs ?? "null") as { event?: Record<string, unknown> } };
};
const detailOf = (id: string) =>
  database.db.selectFrom("hitl_detail").selectAll().where("ti_id", "=", id).executeTakeFirstOrThrow();

describe("a task that nobody answered in time", () => {
  it("goes on with its defaults, as if they had been chosen", async () => {
    const { ti, run } = await waiting({ seconds: 60, defaults: toJsonText(["yes"]) });
    const { runs, pass } = await start();
    expect((await taskOf(ti.id)).state).toBe("awaiting_input");
    await pass(61);
    const task = await taskOf(ti.id);
    expect(task).toMatchObject({ state: "scheduled", trigger_timeout: null, wake_at: null });
    expect(task.next_kwargs).toContain('"limit":60.0');
    expect(task.kwargs.event).toMatchObject({ chosen_options: ["yes"], responded_by_user: null, timedout: true });
    expect(task.next_kwargs).toContain('"params_input":{"n":1.0,"s":"bare"}');
    const detail = await detailOf(ti.id);
    expect(detail).toMatchObject({ chosen_options: '["yes"]', responded_by: null });
    expect(detail.responded_at).not.toBeNull();
    expect(runs).toEqual([run.id]);
  });

  it("fails where there are none, in its operator", async () => {
    const { ti } = await waiting({ seconds: 60 });
    const { pass } = await start();
    await pass(61);
    const task = await taskOf(ti.id);
    expect(task.state).toBe("scheduled");
    expect(task.kwargs.event).toEqual({
      error: "The Human-in-the-loop response timeout has passed without a response.",
      error_type: "timeout",
    });
    expect((await detailOf(ti.id)).responded_at).toBeNull();
  });

  it("is left alone when it waits no more", async () => {
    const { ti } = await waiting({ seconds: 60 });
    await database.db.updateTable("task_instance").set({ state: "success" }).where("id", "=", ti.id).execute();
    const other = await waiting({ seconds: 60 });
    const { pass } = await start();
    await pass(61);
    expect((await taskOf(ti.id)).state).toBe("success");
    expect((await taskOf(other.ti.id)).state).toBe("scheduled");
  });
});

describe("a task that was answered before it waited", () => {
  it("goes on with the answer, at once or after a start", async () => {
    const early = await waiting({ answered: true });
    const { bus, runs } = await start();
    const later = await waiting({ answered: true, seconds: 600 });
    const event: EventOf<"task-instance"> = {
      kind: "task-instance",
      dagRunId: later.run.id,
      id: later.ti.id,
      taskId: "a",
      mapIndex: -1,
      state: "awaiting_input",
      wakeAt: later.at,
      newId: null,
      mappedLength: null,
    };
    const gone = new Promise<void>((resolve) => bus.on("dag-run", () => resolve()));
    bus.publish(event);
    await gone;
    expect(runs).toEqual([early.run.id, later.run.id]);
    for (const { ti } of [early, later]) {
      const task = await taskOf(ti.id);
      expect(task.state).toBe("scheduled");
      expect(task.kwargs.event).toMatchObject({
        chosen_options: ["no"],
        responded_by_user: { id: "leo", name: "Leo" },
        timedout: false,
      });
    }
  });
});
