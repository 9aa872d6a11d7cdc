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
import { isOpen } from "./task-rows.ts";
import { graphOf, mappedOver, newIds, NOW } from "./test-support/graphs.ts";
import { randomDag, type RandomDag } from "../../test/support/random-graphs.ts";

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
  readonly #lengthOf: (taskId: string) => number;
  now = NOW;

  constructor(graph: DagGraph, lengthOf: (taskId: string) => number = () => LENGTH) {
    this.#lengthOf = lengthOf;
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
    for (const taskId of lengthsNeeded) this.told.set(taskId, this.#lengthOf(taskId));
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

/** Plays a run until nothing is left to do; `picks` say which of the tasks under way ends next. */
function endOf(random: RandomDag, picks: readonly number[]): Record<string, string | null> {
  const player = new Player(random.graph, random.length);
  let { runState } = player.decide();
  for (let step = 0; runState === "running"; step++) {
    const active = player.active();
    const row = active[(picks[step % Math.max(1, picks.length)] ?? 0) % Math.max(1, active.length)];
    if (!row) throw new Error(`nothing is under way in a running run: ${JSON.stringify([...player.run.instances()])}`);
    player.report(row, random.outcome(row.taskId, row.mapIndex, row.tryNumber));
    ({ runState } = player.decide());
  }
  const rows = [...player.run.instances()].map(
    ({ taskId, mapIndex, state }) => [`${taskId}[${mapIndex}]`, state] as const,
  );
  return { ...Object.fromEntries(rows.toSorted()), run: runState };
}

it("replaying from the database gives the same state as memory: what was stored decides as what is remembered", () => {
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

it("explains what it decided: what it left where it was is blocked, and what blocks it is there", () => {
  fc.assert(
    fc.property(aRun, ({ graph, choices }) => {
      play(graph, choices, (player) => {
        const before = player.reloaded();
        player.decide();
        const explained = (run: RunMemory, { taskId, mapIndex }: InstanceSnapshot) => {
          run.setLengths(player.told);
          return run.explain(taskId, mapIndex, player.now);
        };
        // What could move at once did; an unexpanded one may be gone.
        const states = new Map([...player.run.instances()].map(({ id, state }) => [id, state]));
        for (const ti of before.instances()) {
          if (!isOpen(ti.state) || explained(before, ti)?.judgement.kind === "blocked") continue;
          expect(isOpen(states.get(ti.id) ?? "removed")).toBe(false);
        }
        const after = player.reloaded();
        for (const ti of after.instances()) {
          if (!isOpen(ti.state)) continue;
          const explanation = explained(after, ti);
          expect(explanation?.judgement.kind).toBe("blocked");
          if (explanation?.judgement.kind !== "blocked" || explanation.judgement.by !== "trigger-rule") continue;
          expect(explanation.upstream.length).toBeGreaterThan(0);
        }
      });
    }),
    { numRuns: 200 },
  );
});

it("no decision leaves a run without a possible next step", () => {
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

it("the order of events does not change the outcome: a batch of changes in any order", () => {
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

it("the order of events does not change the outcome: whichever task ends first, where rules do not race", () => {
  const dag = fc.oneof(randomDag("failing"), randomDag("skipping"));
  let states = 0;
  fc.assert(
    fc.property(dag, fc.array(fc.nat(1000), { minLength: 30, maxLength: 30 }), (random, order) => {
      const [first, ...others] = [order, order.toReversed(), [], [999]].map((picks) => endOf(random, picks));
      for (const other of others) expect(other).toEqual(first);
      states += Object.keys(first ?? {}).length;
    }),
    { numRuns: 400 },
  );
  expect(states).toBeGreaterThan(2000);
});

it("no decision leaves a run without a possible next step: every run comes to an end", () => {
  fc.assert(
    fc.property(randomDag("mixed"), fc.array(fc.nat(1000), { minLength: 30, maxLength: 30 }), (random, order) => {
      expect(Object.values(endOf(random, order)).filter((state) => state === null)).toEqual([]);
    }),
    { numRuns: 400 },
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
