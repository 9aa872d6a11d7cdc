import { describe, expect, it } from "vitest";
import type { Instant } from "../kit/instant.ts";
import type { TaskInstanceState } from "./states.ts";
import { EMPTY, graphOf, mappedOver, moves, newRun, NOW, report, statesOf } from "./test-support/graphs.ts";

const LATER = "2026-01-01T00:05:00.000000Z" as Instant;

describe("RunMemory", () => {
  it("runs a chain to its end", () => {
    const run = newRun(graphOf({ a: {}, b: EMPTY, c: {} }, ["a > b > c"]));
    expect(moves(run.decide(NOW))).toEqual({ a: "scheduled" });
    report(run, "a", "running");
    expect(run.decide(NOW).transitions).toEqual([]);
    report(run, "a", "success");
    expect(moves(run.decide(NOW))).toEqual({ b: "success", c: "scheduled" });
    report(run, "c", "success");
    expect(run.decide(NOW)).toMatchObject({ transitions: [], runState: "success", reason: "success" });
  });

  it("skips and fails what is below in one go", () => {
    const graph = graphOf({ a: {}, b: {}, c: {}, d: {}, e: { trigger_rule: "all_done" } }, ["a > b > c", "d > c > e"]);
    const run = newRun(graph);
    run.decide(NOW);
    report(run, "a", "skipped");
    expect(moves(run.decide(NOW))).toEqual({ b: "skipped", c: "skipped", e: "scheduled" });
    report(run, "e", "success");
    expect(run.decide(NOW).runState).toBe("running");
    report(run, "d", "failed");
    expect(run.decide(NOW).runState).toBe("success");
  });

  it("counts tries: a retry is a try more, a reschedule is not", () => {
    const run = newRun(graphOf({ a: {}, b: {} }));
    expect(run.decide(NOW).transitions.map(({ tryNumber }) => tryNumber)).toEqual([1, 1]);
    report(run, "a", "up_for_retry", { wakeAt: LATER, newId: "a2" });
    report(run, "b", "up_for_reschedule", { wakeAt: LATER });
    expect(run.decide(NOW)).toMatchObject({ transitions: [], runState: "running" });
    expect(run.nextWakeAt()).toBe(LATER);
    expect(run.decide(LATER).transitions).toMatchObject([
      { id: "a2", to: "scheduled", from: "up_for_retry", tryNumber: 2 },
      { id: "b[-1]", to: "scheduled", from: "up_for_reschedule", tryNumber: 1 },
    ]);
    expect(run.nextWakeAt()).toBeNull();
  });

  it("expands on what a task returned, and reduces", () => {
    const graph = graphOf({ list: {}, each: mappedOver("list"), sum: {} }, ["list > each > sum"]);
    const run = newRun(graph);
    run.decide(NOW);
    report(run, "list", "success", { mappedLength: 3 });
    const decision = run.decide(NOW);
    expect(decision.expansions).toEqual([
      {
        taskId: "each",
        unexpanded: { id: "each[-1]", becomes: 0 },
        create: [
          { id: "new-1", mapIndex: 1, state: "scheduled", tryNumber: 1 },
          { id: "new-2", mapIndex: 2, state: "scheduled", tryNumber: 1 },
        ],
      },
    ]);
    expect(decision.transitions.map(({ id, isNew }) => [id, isNew])).toEqual([
      ["each[-1]", false],
      ["new-1", true],
      ["new-2", true],
    ]);
    report(run, "each", "success", { mapIndex: 0 });
    report(run, "each", "success", { mapIndex: 1 });
    expect(run.decide(NOW).transitions).toEqual([]);
    report(run, "each", "success", { mapIndex: 2 });
    expect(moves(run.decide(NOW))).toEqual({ sum: "scheduled" });
  });

  it("asks for a length it was not told, and skips a mapping over nothing", () => {
    const graph = graphOf({ list: {}, each: mappedOver("list"), sum: {} }, ["list > each > sum"]);
    const run = newRun(graph);
    run.decide(NOW);
    report(run, "list", "success");
    expect(run.decide(NOW)).toMatchObject({ lengthsNeeded: ["list"], transitions: [], runState: "running" });
    expect(run.decide(NOW).lengthsNeeded).toEqual(["list"]);
    run.setLengths(new Map([["list", 0]]));
    expect(run.decide(NOW)).toMatchObject({ lengthsNeeded: [], expansions: [], runState: "success" });
    expect(statesOf(run)).toEqual({ list: "success", each: "skipped", sum: "skipped" });
  });

  it("fails what cannot be expanded", () => {
    const run = newRun(graphOf({ list: {}, each: mappedOver("list") }, ["list > each"]));
    run.decide(NOW);
    report(run, "list", "success");
    run.setLengths(new Map([["list", null]]));
    expect(run.decide(NOW)).toMatchObject({ runState: "failed", reason: "task_failure" });
  });

  it("follows a source that returns more or less after a clear", () => {
    const run = newRun(graphOf({ list: {}, each: mappedOver("list") }, ["list > each"]));
    run.decide(NOW);
    report(run, "list", "success", { mappedLength: 3 });
    run.decide(NOW);
    for (const mapIndex of [0, 1, 2]) report(run, "each", "success", { mapIndex });
    expect(run.decide(NOW).runState).toBe("success");
    report(run, "list", null);
    for (const mapIndex of [0, 1, 2]) report(run, "each", null, { mapIndex });
    run.decide(NOW);
    report(run, "list", "success", { mappedLength: 2 });
    expect(moves(run.decide(NOW))).toEqual({ "each[0]": "scheduled", "each[1]": "scheduled", "each[2]": "removed" });
    report(run, "list", null);
    for (const mapIndex of [0, 1]) report(run, "each", null, { mapIndex });
    run.decide(NOW);
    report(run, "list", "success", { mappedLength: 4 });
    expect(run.decide(NOW).expansions).toMatchObject([{ unexpanded: null, create: [{ mapIndex: 3 }] }]);
  });

  it("marks tasks that left the DAG, and calls a run nobody can move deadlocked", () => {
    const graph = graphOf({ a: {}, b: {} }, ["a > b"]);
    const gone = { id: "x", taskId: "gone", mapIndex: -1, state: null, tryNumber: 0, wakeAt: null };
    const b = { ...gone, id: "b", taskId: "b" };
    const run = newRun(graph, { instances: [gone, b] });
    const decision = run.decide(NOW);
    expect(moves(decision)).toEqual({ gone: "removed" });
    expect(decision).toMatchObject({ runState: "failed", reason: "all_tasks_deadlocked" });
  });

  it("waits for the previous run where a task depends on it", () => {
    const graph = graphOf({ a: { depends_on_past: true, wait_for_downstream: true }, b: {} }, ["a > b"]);
    const states = new Map<string, TaskInstanceState[]>([
      ["a", ["success"]],
      ["b", ["running"]],
    ]);
    const run = newRun(graph, { previous: { logicalDate: NOW, states, everRan: new Set(["a", "b"]) } });
    expect(run.decide(NOW)).toMatchObject({ transitions: [], runState: "running" });
    run.setPrevious({ logicalDate: NOW, states: new Map(states).set("b", ["skipped"]), everRan: new Set() });
    expect(moves(run.decide(NOW))).toEqual({ a: "scheduled" });
  });

  it("honours an earlier branch after a clear", () => {
    const graph = graphOf({ pick: { _can_skip_downstream: true }, yes: {}, no: {} }, ["pick > yes", "pick > no"]);
    const run = newRun(graph, { skips: new Map([["pick", new Map([[-1, { followed: ["yes"] }]])]]) });
    run.decide(NOW);
    report(run, "pick", "success");
    expect(moves(run.decide(NOW))).toEqual({ no: "skipped", yes: "scheduled" });
  });

  it("stops the others of a fail-fast DAG, teardowns excepted", () => {
    const graph = graphOf({ a: {}, b: {}, c: {}, d: {}, end: { is_teardown: true } }, ["b > c", "a > end"], {
      fail_fast: true,
    });
    const run = newRun(graph);
    run.decide(NOW);
    report(run, "b", "running");
    report(run, "a", "failed");
    expect(moves(run.decide(NOW))).toEqual({ b: "failed", c: "skipped", d: "skipped", end: "upstream_failed" });
  });

  it("refuses a change to a try it does not know", () => {
    const run = newRun(graphOf({ a: {} }));
    const change = {
      taskId: "a",
      mapIndex: -1,
      state: "success" as const,
      wakeAt: null,
      newId: null,
      mappedLength: null,
    };
    expect(run.apply({ ...change, id: "other" })).toBe(false);
    expect(run.apply({ ...change, id: "a[-1]" })).toBe(true);
  });
});
