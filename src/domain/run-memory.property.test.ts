import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { expect, it } from "vitest";
import type { Instant } from "../kit/instant.ts";
import type { DagGraph } from "./dag-graph.ts";
import { instancesOfNewRun } from "./decide.ts";
import type { Decision, InstanceSnapshot } from "./decision.ts";
import { RunMemory } from "./run-memory.ts";
import { parseSerializedDag } from "./serialized-dag.ts";
import { isFinished, type TaskInstanceState } from "./states.ts";
import { EMPTY, graphOf, mappedOver, newIds, NOW } from "./test-support/graphs.ts";

/** The random DAGs of replay.jsonl: all trigger rules, mapping, mapped groups, setups and teardowns. */
const graphs = readFileSync(join(import.meta.dirname, "replay.jsonl"), "utf8")
  .trim()
  .split("\n")
  .map((line) => parseSerializedDag((JSON.parse(line) as { serialized: object }).serialized));

const OUTCOMES = ["success", "success", "success", "failed", "skipped", "up_for_retry", "up_for_reschedule"] as const;
const LENGTH = 2;

const aRun = fc.record({
  graph: fc.constantFrom(...graphs),
  choices: fc.array(fc.record({ which: fc.nat(1000), outcome: fc.constantFrom(...OUTCOMES), wait: fc.boolean() }), {
    minLength: 1,
    maxLength: 60,
  }),
});

class Player {
  readonly run: RunMemory;
  readonly told = new Map<string, number>();
  now = NOW;

  constructor(graph: DagGraph) {
    const newId = newIds();
    const rows = instancesOfNewRun(graph, { runType: "manual", logicalDate: NOW });
    const instances = rows.map((row) => ({ ...row, id: newId(), state: null, tryNumber: 0, wakeAt: null }));
    this.run = new RunMemory(graph, { instances }, newId);
  }

  decide(): Decision {
    for (;;) {
      const decision = this.run.decide(this.now);
      if (decision.lengthsNeeded.length === 0) return decision;
      this.answer(this.run, decision);
    }
  }

  answer(run: RunMemory, { lengthsNeeded }: Decision): void {
    for (const taskId of lengthsNeeded) this.told.set(taskId, LENGTH);
    run.setLengths(this.told);
  }

  active(): InstanceSnapshot[] {
    return [...this.run.instances()].filter(({ state }) => state === "scheduled");
  }

  report({ id, taskId, mapIndex }: InstanceSnapshot, state: TaskInstanceState, wait = false): void {
    const waiting = state === "up_for_retry" || state === "up_for_reschedule";
    const wakeAt = waiting ? (wait ? later(this.now) : this.now) : null;
    expect(this.run.apply({ id, taskId, mapIndex, state, wakeAt, newId: null, mappedLength: null })).toBe(true);
  }

  /** What the store would hold. */
  reloaded(): RunMemory {
    const newId = newIds();
    return new RunMemory(
      this.run.graph,
      { instances: [...this.run.instances()], lengths: this.told },
      () => `again-${newId()}`,
    );
  }
}

function later(at: Instant): Instant {
  return new Date(Date.parse(at) + 60_000).toISOString().replace("Z", "000Z") as Instant;
}

function summary(decision: Decision): unknown {
  const moves = decision.transitions.map(({ taskId, mapIndex, from, to, tryNumber }) =>
    [taskId, mapIndex, from, to, tryNumber].join(" "),
  );
  const made = decision.expansions.map(({ taskId, create }) => `${taskId} ${create.length}`);
  return { moves: moves.sort(), made: made.sort(), runState: decision.runState, reason: decision.reason };
}

function play(
  graph: DagGraph,
  choices: { which: number; outcome: TaskInstanceState; wait: boolean }[],
  each: (player: Player) => void,
): Player {
  const player = new Player(graph);
  each(player);
  for (const { which, outcome, wait } of choices) {
    const active = player.active();
    const chosen = active[which % Math.max(1, active.length)];
    if (chosen) player.report(chosen, outcome, wait);
    else if (player.run.nextWakeAt() !== null) player.now = later(player.now);
    else break;
    each(player);
  }
  return player;
}

it("decides the same from what changed as from everything", () => {
  fc.assert(
    fc.property(aRun, ({ graph, choices }) => {
      play(graph, choices, (player) => {
        const fresh = player.reloaded();
        let full = fresh.decideAll(player.now);
        const incremental = player.run.decide(player.now);
        expect(summary(incremental)).toEqual(summary(full));
        expect(new Set(incremental.lengthsNeeded)).toEqual(new Set(full.lengthsNeeded));
        while (full.lengthsNeeded.length > 0) {
          player.answer(fresh, full);
          player.answer(player.run, full);
          full = fresh.decideAll(player.now);
          expect(summary(player.run.decide(player.now))).toEqual(summary(full));
        }
        // And nothing is left to say.
        expect(player.run.decideAll(player.now).transitions).toEqual([]);
      });
    }),
    { numRuns: 300 },
  );
});

it("leaves no run without a next step", () => {
  fc.assert(
    fc.property(aRun, ({ graph, choices }) => {
      const player = play(graph, choices, (player) => {
        const { runState } = player.decide();
        const rows = [...player.run.instances()];
        if (runState !== "running") {
          const open = rows.filter(({ state }) => !isFinished(state));
          expect(open.length === 0 || runState === "failed").toBe(true);
          return;
        }
        const limited = [...graph.tasks.values()].some((task) => task.maxActiveTisPerDagrun !== null);
        expect(player.active().length > 0 || player.run.nextWakeAt() !== null || limited).toBe(true);
      });
      for (let active = player.active(); active.length > 0; active = player.active()) {
        for (const row of active) player.report(row, "success");
        player.decide();
        player.now = later(player.now);
      }
    }),
    { numRuns: 300 },
  );
});

it("takes a batch of changes in any order", () => {
  fc.assert(
    fc.property(aRun, fc.infiniteStream(fc.nat(1000)), ({ graph, choices }, order) => {
      const straight = play(graph, choices, (player) => void player.decide());
      const shuffled = play(graph, choices, (player) => void player.decide());
      const outcomes = straight.active().map((row, index) => ({ row, outcome: OUTCOMES[index % 5] ?? "success" }));
      const keys = new Map(outcomes.map(({ row }) => [row, order.next().value ?? 0]));
      const mixed = outcomes.toSorted((a, b) => (keys.get(a.row) ?? 0) - (keys.get(b.row) ?? 0));
      for (const { row, outcome } of outcomes) straight.report(row, outcome);
      for (const { row, outcome } of mixed) shuffled.report(row, outcome);
      expect(summary(shuffled.decide())).toEqual(summary(straight.decide()));
    }),
    { numRuns: 200 },
  );
});

it("ends the same whichever task finishes first, where rules do not race", () => {
  const rules = fc.constantFrom("all_success", "all_done", "none_failed", "always");
  const dag = fc.array(
    fc.record({ rule: rules, above: fc.array(fc.nat(20), { maxLength: 3 }), fails: fc.boolean(), empty: fc.boolean() }),
    {
      minLength: 2,
      maxLength: 12,
    },
  );
  fc.assert(
    fc.property(dag, fc.array(fc.nat(1000), { minLength: 30, maxLength: 30 }), (tasks, order) => {
      const fields = tasks.map(
        ({ rule, empty }, index) => [`t${index}`, { trigger_rule: rule, ...(empty ? EMPTY : {}) }] as const,
      );
      const edges = tasks.flatMap(({ above }, index) =>
        index === 0 ? [] : [...new Set(above.map((other) => other % index))].map((other) => `t${other} > t${index}`),
      );
      const graph = graphOf(Object.fromEntries(fields), edges);
      const ends = [order, order.toReversed(), []].map((picks) => {
        const player = new Player(graph);
        player.decide();
        for (let step = 0; player.active().length > 0; step++) {
          const active = player.active();
          const row = active[(picks[step] ?? 0) % active.length] as InstanceSnapshot;
          player.report(row, tasks[Number(row.taskId.slice(1))]?.fails ? "failed" : "success");
          player.decide();
        }
        return Object.fromEntries([...player.run.instances()].map(({ taskId, state }) => [taskId, state]));
      });
      expect(ends[1]).toEqual(ends[0]);
      expect(ends[2]).toEqual(ends[0]);
    }),
    { numRuns: 200 },
  );
});

it("is fast: a wide DAG at once, ten thousand instances one by one", () => {
  const ids = Array.from({ length: 3000 }, (_, index) => `t${index}`);
  const wide = graphOf(Object.fromEntries(ids.map((id) => [id, {}])));
  const whole = new Player(wide);
  const started = performance.now();
  expect(whole.run.decide(NOW).transitions).toHaveLength(3000);
  const wideMs = performance.now() - started;

  const mapped = new Player(graphOf({ list: {}, each: mappedOver("list"), sum: {} }, ["list > each > sum"]));
  mapped.decide();
  mapped.report(mapped.active()[0] as InstanceSnapshot, "success");
  mapped.run.setLengths(new Map([["list", 10_000]]));
  const expanding = performance.now();
  expect(mapped.run.decide(NOW).transitions).toHaveLength(10_000);
  const expandMs = performance.now() - expanding;
  const rows = mapped.active();
  const finishing = performance.now();
  for (const row of rows) {
    mapped.report(row, "success");
    mapped.run.decide(NOW);
  }
  const eachUs = ((performance.now() - finishing) / rows.length) * 1000;
  expect(mapped.active().map(({ taskId }) => taskId)).toEqual(["sum"]);
  // Generous: two cores shared with other tests. Alone they take a tenth.
  expect({ wideMs, expandMs, eachUs }).toMatchObject({
    wideMs: expect.toSatisfy((ms: number) => ms < 150) as unknown,
    expandMs: expect.toSatisfy((ms: number) => ms < 300) as unknown,
    eachUs: expect.toSatisfy((us: number) => us < 200) as unknown,
  });
});
