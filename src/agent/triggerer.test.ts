import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { processesNow, untilTrue } from "../../test/support/python.ts";
import { nextKwargsOf, startTestTriggers, type TestTriggers } from "../../test/support/triggers.ts";
import type { RunTrigger } from "../domain/trigger.ts";
import { instantFromMs } from "../kit/instant.ts";
import { toJsonText } from "../kit/json-text.ts";

let t: TestTriggers;
beforeAll(async () => {
  t = await startTestTriggers();
});
afterEach(() => t.stopAll());
afterAll(() => t.runtime.stop());

describe("events", () => {
  it("puts the event into the task's next_kwargs, and logs beside the task", async () => {
    const running = await t.start();
    const waiting = t.does("event", { a: [1, 2.5, null] });
    if (waiting.taskInstance) {
      waiting.taskInstance.nextKwargs = toJsonText({ __type: "dict", __var: { kept: 1 } });
    }
    running.triggerer.run([waiting]);
    const report = await running.until(waiting);
    expect(report).toMatchObject({ kind: "resume", triggerId: waiting.id });
    expect(nextKwargsOf(report)).toEqual({ kept: 1, event: { a: [1, 2.5, null] } });
    await untilTrue(() => t.logOf(waiting).includes("trigger completed"));
    const lines = t.logOf(waiting).trim().split("\n");
    expect(lines.map((line) => (JSON.parse(line) as { event: string }).event)).toEqual([
      `trigger d/r/${waiting.taskInstance?.taskId}/-1/1 (ID ${waiting.id}) starting`,
      "Trigger fired event",
      "trigger completed",
    ]);
    expect(lines[0]).not.toContain("trigger_id");
    expect(running.triggerer.running().size).toBe(0);
  });

  it("keeps what Python's serde keeps: times, floats", async () => {
    const running = await t.start();
    const dated = t.does("date");
    running.triggerer.run([dated]);
    const report = await running.until(dated);
    expect(report.kind === "resume" && report.nextKwargs).toContain('"one": 1.0');
    expect(report.kind === "resume" && report.nextKwargs).toContain("datetime");
  });

  it("says why a task cannot be resumed", async () => {
    const running = await t.start();
    const all = {
      raise: t.does("raise", "something"),
      nothing: t.does("nothing"),
      unserializable: t.does("unserializable"),
      unknown: t.does("event", null, { classpath: "deferral_triggers.NoSuchTrigger" }),
      noModule: t.does("event", null, { classpath: "no_such_module.Trigger" }),
      cannotBeMade: t.does("event", null, { classpath: "deferral_triggers.CannotBeMade" }),
      badKwargs: t.does("event"),
      badNextKwargs: t.does("event"),
    };
    all.badKwargs.kwargs = "not what anybody encrypted";
    if (all.badNextKwargs.taskInstance) {
      all.badNextKwargs.taskInstance.nextKwargs = toJsonText({ __classname__: "no.Such", __version__: 1, __data__: 1 });
    }
    running.triggerer.run(Object.values(all));
    for (const trigger of Object.values(all)) await running.until(trigger);
    expect(running.of(all.raise)).toMatchObject({ kind: "failure", error: null });
    const told = (trigger: RunTrigger) => {
      const report = running.of(trigger);
      return report?.kind === "failure" ? `${report.error ?? ""} ${(report.traceback ?? []).join("")}` : "no failure";
    };
    expect(told(all.raise)).toContain("ValueError: the trigger raised something");
    expect(running.of(all.nothing)).toEqual({
      kind: "failure",
      triggerId: all.nothing.id,
      error: null,
      traceback: null,
    });
    expect(told(all.unserializable)).toContain("not supported");
    expect(told(all.unknown)).toContain("NoSuchTrigger");
    expect(told(all.noModule)).toContain("No module named 'no_such_module'");
    expect(told(all.cannotBeMade)).toContain("unexpected keyword argument");
    expect(told(all.badKwargs)).toContain("_decrypt_kwargs");
    expect(told(all.badNextKwargs)).toContain("its stored next_kwargs could not be decoded");
  });

  it("tells of tasks that the trigger ends itself", async () => {
    const running = await t.start();
    const ended = t.does("skipped", { x: [1.0] });
    running.triggerer.run([ended]);
    expect(await running.until(ended)).toEqual({
      kind: "end",
      triggerId: ended.id,
      state: "skipped",
      xcoms: new Map([["x", '"[1]"']]),
    });
  });

  it("hands on events that no task waits for, as often as they come", async () => {
    const running = await t.start();
    const watcher = t.does("twice", null, { taskInstance: null, logPath: null });
    running.triggerer.run([watcher]);
    await untilTrue(() => running.reports.length === 2);
    expect(running.reports).toEqual([
      { kind: "event", triggerId: watcher.id, payload: '"first"' },
      { kind: "event", triggerId: watcher.id, payload: '"second"' },
    ]);
  });

  it("reports once what fires twice", async () => {
    const running = await t.start();
    const twice = t.does("twice");
    running.triggerer.run([twice, twice]);
    await running.until(twice);
    await untilTrue(() => t.logOf(twice).includes("trigger completed"));
    expect(running.reports).toHaveLength(1);
  });

  it("answers what triggers ask for, and masks secrets in their logs", async () => {
    t.execution.answers.set("GetConnection", () => ({
      body: {
        type: "ConnectionResult",
        conn_id: "a_connection",
        conn_type: "x",
        host: "there",
        schema: null,
        login: null,
        password: "s3cret-word",
        port: null,
        extra: null,
      },
    }));
    t.execution.answers.set("GetVariable", () => ({
      body: { type: "VariableResult", key: "a_variable", value: "told" },
    }));
    const running = await t.start();
    const asking = t.does("connection");
    running.triggerer.run([asking]);
    expect(nextKwargsOf(await running.until(asking))).toEqual({ event: ["there", "told"] });
    await untilTrue(() => t.logOf(asking).includes("the password is"));
    expect(t.logOf(asking)).toContain("the password is ***");
  });

  it("tries again until what was reported is stored", async () => {
    let failures = 2;
    const running = await t.start({}, async () => {
      if (failures-- > 0) throw new Error("the database is away");
    });
    const waiting = t.does("event", "kept");
    running.triggerer.run([waiting]);
    await running.until(waiting);
    expect(running.reports).toHaveLength(1);
  });
});

describe("leaving", () => {
  it("calls on_kill and cleanup of what a user takes away", async () => {
    const running = await t.start();
    const taken = t.does("forever");
    const stays = t.does("forever");
    running.triggerer.run([taken, stays]);
    await untilTrue(() => t.marksOf(taken).includes("run") && t.marksOf(stays).includes("run"));
    running.triggerer.cancel([taken.id]);
    await untilTrue(() => t.marksOf(taken).includes("cleanup"));
    expect(t.marksOf(taken)).toContain("on_kill");
    expect(t.marksOf(stays)).not.toContain("on_kill");
    expect([...running.triggerer.running()]).toEqual([stays.id]);
    expect(running.reports).toEqual([]);
  });

  it("calls no on_kill for what took too long", async () => {
    const running = await t.start();
    const late = t.does("forever");
    if (late.taskInstance) late.taskInstance.timeoutAt = instantFromMs(Date.now() - 1000);
    running.triggerer.run([late]);
    await untilTrue(() => t.marksOf(late).includes("run"));
    running.triggerer.cancel([late.id]);
    // Its last word, said after the cleanup.
    await untilTrue(() => t.logOf(late).includes("Trigger cancelled due to timeout"));
    expect(t.marksOf(late)).toContain("cleanup");
    expect(t.marksOf(late)).not.toContain("on_kill");
  });

  it("does not begin what is cancelled at once", async () => {
    const running = await t.start();
    const taken = t.does("forever");
    running.triggerer.run([taken]);
    running.triggerer.cancel([taken.id]);
    const later = t.does("event");
    running.triggerer.run([later]);
    await running.until(later);
    expect(t.marksOf(taken)).not.toMatch(/run.*run/s);
    expect([...running.triggerer.running()]).toEqual([]);
  });

  it("cleans up when it stops, and kills nobody's work", async () => {
    const running = await t.start();
    const waiting = t.does("forever");
    running.triggerer.run([waiting]);
    await untilTrue(() => t.marksOf(waiting).includes("run"));
    await running.triggerer.stop();
    expect(t.marksOf(waiting)).toContain("cleanup");
    expect(t.marksOf(waiting)).not.toContain("on_kill");
  });

  it("ends a process without triggers after a while, and starts another when there is one", async () => {
    const running = await t.start({ idleMs: 200 });
    const first = t.does("event");
    running.triggerer.run([first]);
    await running.until(first);
    await untilTrue(() => !processesNow(t).some((line) => line.includes("leoflow triggers")));
    const second = t.does("event");
    running.triggerer.run([second]);
    await running.until(second);
  });
});

describe("whose code", () => {
  it("takes a class of the workspace from the DAG's version, others from the environment", async () => {
    const running = await t.start();
    const own = t.does("event", "own");
    const installed: RunTrigger = {
      ...t.does("event"),
      classpath: "airflow.providers.standard.triggers.temporal.TimeDeltaTrigger",
      kwargs: '{"delta": {"__classname__": "datetime.timedelta", "__version__": 2, "__data__": 0.05}}',
    };
    running.triggerer.run([own, installed]);
    await running.until(own);
    await running.until(installed);
    expect(running.triggerer.processes()).toHaveLength(2);
  });
});
