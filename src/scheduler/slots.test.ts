import { describe, expect, it } from "vitest";
import type { TaskNode } from "../domain/dag-graph.ts";
import { ReadyQueue } from "./ready-queue.ts";
import { Slots } from "../domain/slots.ts";
import type { Candidate } from "./live-run.ts";

const LIMITS = { maxActiveTasks: 16 };

function candidate(id: string, task: Partial<TaskNode> = {}, run = 1): Candidate {
  return {
    id,
    dagRunId: run,
    dagId: "dag",
    task: {
      taskId: "task",
      pool: "default_pool",
      poolSlots: 1,
      priorityWeightTotal: 1,
      maxActiveTisPerDag: null,
      maxActiveTisPerDagrun: null,
      ...task,
    } as TaskNode,
    mapIndex: -1,
    runOrder: "2026-01-01",
  };
}

function slots(parallelism = 32, pools = [{ pool: "default_pool", slots: 128, includeDeferred: false }]): Slots {
  const made = new Slots(parallelism);
  made.setPools(pools);
  return made;
}

describe("Slots", () => {
  it("stops at the parallelism and goes on when a task ends", () => {
    const two = slots(2);
    expect(["a", "b", "c"].map((id) => two.take(candidate(id), LIMITS))).toEqual([true, true, false]);
    two.record(candidate("a"), "success");
    expect(two.take(candidate("c"), LIMITS)).toBe(true);
  });

  it("counts the slots a task uses of its pool, and deferred ones where the pool says so", () => {
    const pools = [
      { pool: "small", slots: 3, includeDeferred: true },
      { pool: "default_pool", slots: 128, includeDeferred: false },
    ];
    const small = slots(32, pools);
    expect(small.take(candidate("a", { pool: "small", poolSlots: 2 }), LIMITS)).toBe(true);
    expect(small.take(candidate("b", { pool: "small", poolSlots: 2 }), LIMITS)).toBe(false);
    small.record(candidate("a", { pool: "small", poolSlots: 2 }), "deferred");
    expect(small.take(candidate("b", { pool: "small", poolSlots: 2 }), LIMITS)).toBe(false);
    expect(small.take(candidate("c", { pool: "unknown" }), LIMITS)).toBe(false);
  });

  it("keeps a team's pool for the team's DAGs", () => {
    const size = { slots: 2, includeDeferred: false };
    const pools = [
      { pool: "default_pool", ...size },
      { pool: "theirs", ...size, dagsOfTeam: new Set(["another"]) },
    ];
    const owned = new Slots(32);
    owned.setPools(pools);
    const claim = candidate("a", { pool: "theirs" });
    expect([owned.take(claim, LIMITS), owned.whyNot(claim, LIMITS)]).toEqual([false, ["pool_of_team"]]);
    expect(owned.take({ ...claim, dagId: "another" }, LIMITS)).toBe(true);
  });

  it("limits a run, a task over all runs, and a task within a run", () => {
    const all = slots();
    expect(all.take(candidate("a"), { maxActiveTasks: 1 })).toBe(true);
    expect(all.take(candidate("b"), { maxActiveTasks: 1 })).toBe(false);
    expect(all.take(candidate("c", {}, 2), { maxActiveTasks: 1 })).toBe(true);
    const once = slots();
    expect(once.take(candidate("a", { maxActiveTisPerDag: 1 }), LIMITS)).toBe(true);
    expect(once.take(candidate("b", { maxActiveTisPerDag: 1 }, 2), LIMITS)).toBe(false);
    const perRun = slots();
    expect(perRun.take(candidate("a", { maxActiveTisPerDagrun: 1 }), LIMITS)).toBe(true);
    expect(perRun.take(candidate("b", { maxActiveTisPerDagrun: 1 }), LIMITS)).toBe(false);
    expect(perRun.take(candidate("c", { maxActiveTisPerDagrun: 1 }, 2), LIMITS)).toBe(true);
  });

  it("is not confused by hearing a state twice", () => {
    const one = slots(1);
    const a = candidate("a");
    one.record(a, "running");
    one.record(a, "running");
    one.record(a, "success");
    one.record(a, "success");
    expect(one.take(candidate("b"), LIMITS)).toBe(true);
  });
});

describe("ReadyQueue", () => {
  it("serves by priority, then by run, and lets nobody starve behind a full pool", () => {
    const queue = new ReadyQueue();
    const all = slots(32, [
      { pool: "default_pool", slots: 128, includeDeferred: false },
      { pool: "full", slots: 0, includeDeferred: false },
    ]);
    const add = (item: Candidate) => queue.add({ candidate: item, limits: LIMITS, expected: null, tryNumber: 1 });
    add(candidate("late"));
    add({ ...candidate("early"), runOrder: "2025-01-01" });
    add(candidate("important", { priorityWeightTotal: 10 }));
    add(candidate("blocked", { priorityWeightTotal: 100, pool: "full" }));
    expect(queue.takeFitting(all, () => true).map((ready) => ready.candidate.id)).toEqual([
      "important",
      "early",
      "late",
    ]);
    expect(queue.takeUnwritten().map((ready) => ready.candidate.id)).toEqual(["blocked"]);
    expect(queue.size).toBe(1);
  });
});
