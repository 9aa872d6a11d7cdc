import { describe, expect, it } from "vitest";
import { FINISHED_STATES, TASK_INSTANCE_STATES } from "./states.ts";
import { mayMove, statesBefore, TASK_TRANSITIONS, taskStateChart, type StateName } from "./task-state.ts";

const names: StateName[] = ["none", ...TASK_INSTANCE_STATES];

describe("the task state table", () => {
  it("names every state, and reaches every state", () => {
    expect(Object.keys(TASK_TRANSITIONS).sort()).toEqual([...names].sort());
    const reached = new Set(Object.values(TASK_TRANSITIONS).flatMap((targets) => Object.keys(targets)));
    // Restarting is made by users only.
    expect(names.filter((name) => !reached.has(name))).toEqual(["restarting"]);
  });

  it("lets every unfinished state end by itself", () => {
    const ends = (name: StateName, seen: Set<StateName>): boolean => {
      if ((FINISHED_STATES as readonly string[]).includes(name)) return true;
      if (seen.has(name)) return false;
      return Object.keys(TASK_TRANSITIONS[name]).some((next) => ends(next as StateName, new Set([...seen, name])));
    };
    for (const name of names) expect(ends(name, new Set()), name).toBe(true);
  });

  it("keeps finished instances where they are, but for users and shrunk mappings", () => {
    for (const from of FINISHED_STATES) {
      for (const to of TASK_INSTANCE_STATES) {
        expect(mayMove(from, to, "task")).toBe(false);
        expect(mayMove(from, to, "scheduler")).toBe(to === "removed" && from !== "removed");
      }
      expect(mayMove(from, null, "user")).toBe(true);
    }
    expect(mayMove("running", "restarting", "user")).toBe(true);
    expect(mayMove("success", "running", "user")).toBe(false);
  });

  it("says from where a guarded write may come", () => {
    expect(statesBefore("scheduled", "scheduler")).toEqual([
      null,
      "queued",
      "up_for_retry",
      "up_for_reschedule",
      "deferred",
      "awaiting_input",
    ]);
    expect(statesBefore("running", "task")).toEqual(["queued", "restarting"]);
  });

  it("draws itself", () => {
    expect(taskStateChart()).toContain("    queued --> running: task");
  });
});
