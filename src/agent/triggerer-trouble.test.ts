import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { untilTrue } from "../../test/support/python.ts";
import { nextKwargsOf, startTestTriggers, type TestTriggers } from "../../test/support/triggers.ts";

let t: TestTriggers;
beforeAll(async () => {
  t = await startTestTriggers();
});
afterEach(() => t.stopAll());
afterAll(() => t.runtime.stop());

describe("bad days", () => {
  it("goes on after its process was killed", async () => {
    const running = await t.start();
    const waiting = t.does("file", join(t.flags, "after-kill"));
    running.triggerer.run([waiting]);
    await untilTrue(() => t.pidOf(waiting) > 0);
    const first = t.pidOf(waiting);
    process.kill(first, "SIGKILL");
    await untilTrue(() => t.pidOf(waiting) !== first);
    writeFileSync(join(t.flags, "after-kill"), "");
    expect(nextKwargsOf(await running.until(waiting))).toEqual({ event: "there" });
    expect(running.reports).toHaveLength(1);
  });

  it("replaces a process that says nothing", async () => {
    const running = await t.start({ silenceMs: 1_000 });
    const waiting = t.does("file", join(t.flags, "after-stop"));
    running.triggerer.run([waiting]);
    await untilTrue(() => t.pidOf(waiting) > 0);
    const first = t.pidOf(waiting);
    // It beats every five seconds; until then we would take it for dead too early.
    process.kill(first, "SIGSTOP");
    await untilTrue(() => t.pidOf(waiting) !== first);
    writeFileSync(join(t.flags, "after-stop"), "");
    await running.until(waiting);
  });

  it("gives a trigger that blocks the loop a process of its own", async () => {
    const running = await t.start({ silenceMs: 7_000 });
    const blocks = t.does("block", join(t.flags, "unblocked"));
    const innocent = t.does("file", join(t.flags, "innocent"));
    running.triggerer.run([innocent]);
    await untilTrue(() => t.marksOf(innocent).includes("run"));
    running.triggerer.run([blocks]);
    await untilTrue(() => running.triggerer.processes().length === 2, 20_000);
    writeFileSync(join(t.flags, "innocent"), "");
    await running.until(innocent);
    expect(running.of(blocks)).toBeUndefined();
    expect(running.triggerer.isHealthy()).toBe(true);
    expect([...running.triggerer.running()]).toEqual([blocks.id]);
  });

  it("finds the trigger that ends the process, and fails it alone", async () => {
    const running = await t.start();
    const innocents = Array.from({ length: 6 }, () => t.does("file", join(t.flags, "after-crashes")));
    const crashes = t.does("crash");
    running.triggerer.run([...innocents.slice(0, 3), crashes, ...innocents.slice(3)]);
    const report = await running.until(crashes, 60_000);
    expect(report).toMatchObject({ kind: "failure", error: null });
    expect(report.kind === "failure" && report.traceback?.join("")).toContain("exit code 11");
    writeFileSync(join(t.flags, "after-crashes"), "");
    for (const innocent of innocents) expect((await running.until(innocent)).kind).toBe("resume");
  });

  it("reports nothing twice when the process ends while it is stored", async () => {
    let release = (): void => undefined;
    const stored = new Promise<void>((resolve) => (release = resolve));
    // What the process noted is no sign yet: only what it has told us must not come again.
    let told = false;
    const running = await t.start({}, () => ((told = true), stored));
    const waiting = t.does("event", "once");
    const stays = t.does("forever");
    running.triggerer.run([waiting, stays]);
    await untilTrue(() => told && t.marksOf(stays).includes("run"));
    const first = t.pidOf(stays);
    process.kill(first, "SIGKILL");
    await untilTrue(() => t.pidOf(stays) !== first);
    release();
    await running.until(waiting);
    expect(running.reports).toHaveLength(1);
    expect(t.marksOf(waiting).match(/run/g)).toHaveLength(1);
  });
});
