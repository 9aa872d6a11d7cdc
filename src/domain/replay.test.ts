import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { instancesOfNewRun } from "./decide.ts";
import type { Decision } from "./decision.ts";
import { RunMemory } from "./run-memory.ts";
import { parseSerializedDag } from "./serialized-dag.ts";
import type { TaskInstanceState } from "./states.ts";
import { newIds, NOW } from "./test-support/graphs.ts";

/** A run that Airflow's own scheduler code moved (replay.py). */
interface Recording {
  seed: number;
  serialized: object;
  begin: string[];
  steps: {
    events: [taskId: string, mapIndex: number, state: TaskInstanceState | null, mappedLength: number | null][];
    changed: Record<string, string | null>;
    gone: string[];
    run: string;
    lengths: Record<string, number | null>;
  }[];
}

const target = process.env["REPLAY_FILE"] ?? join(import.meta.dirname, "replay.jsonl");
const recordings = readFileSync(target, "utf8")
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line) as Recording);

const nameOf = (taskId: string, mapIndex: number): string => `${taskId}[${mapIndex}]`;

it.each(recordings.map((recording) => [recording.seed, recording] as const))(
  "moves the run of DAG %i as Airflow does",
  (_seed, { serialized, begin, steps }) => {
    const graph = parseSerializedDag(serialized);
    const begun = instancesOfNewRun(graph, { runType: "manual", logicalDate: NOW });
    expect(begun.map(({ taskId, mapIndex }) => nameOf(taskId, mapIndex)).sort()).toEqual(begin);
    const newId = newIds();
    const instances = begun.map((row) => ({ ...row, id: newId(), state: null, tryNumber: 0, wakeAt: null }));
    const run = new RunMemory(graph, { instances }, newId);
    const expected = new Map<string, string | null>(begin.map((name) => [name, null]));
    for (const [number, step] of steps.entries()) {
      for (const [taskId, mapIndex, state, mappedLength] of step.events) {
        const id = run.instance(taskId, mapIndex)?.id ?? "";
        run.apply({ id, taskId, mapIndex, state, mappedLength, wakeAt: null, newId: null });
      }
      const decision = decide(run, step.lengths);
      for (const name of step.gone) expected.delete(name);
      for (const [name, state] of Object.entries(step.changed)) expected.set(name, state);
      const found = [...run.instances()].map(
        ({ taskId, mapIndex, state }) => [nameOf(taskId, mapIndex), state] as const,
      );
      const what = `step ${number}: ${JSON.stringify(step.events)}`;
      expect(Object.fromEntries(found), what).toEqual(Object.fromEntries(expected));
      expect(decision.runState, what).toBe(step.run);
    }
  },
);

/** Answers what the decision asks for, as the scheduler does. */
function decide(run: RunMemory, lengths: Record<string, number | null>): Decision {
  for (;;) {
    const decision = run.decide(NOW);
    if (decision.lengthsNeeded.length === 0) return decision;
    run.setLengths(new Map(decision.lengthsNeeded.map((taskId) => [taskId, lengths[taskId] ?? null])));
  }
}
