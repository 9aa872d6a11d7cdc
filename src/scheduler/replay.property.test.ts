import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../test/support/database.ts";
import { makeDag, makeRun, makeVersion, NOON } from "../../test/support/factories.ts";
import type { InstanceSnapshot } from "../domain/decision.ts";
import { randomDag, type RandomDag } from "../../test/support/random-graphs.ts";
import { toJsonText } from "../kit/json-text.ts";
import { VersionCache, type LoadedVersion } from "../store/dag-versions.ts";
import { applyTransitions, insertTaskInstances, loadRuns } from "../store/live-runs.ts";
import { decideRun } from "./decide-run.ts";
import { liveRun, missingTaskInstances, type LiveRun } from "./live-run.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.close());

async function load(runId: number, version: LoadedVersion): Promise<LiveRun> {
  const [loaded] = await loadRuns(database.db, [runId]);
  if (!loaded) throw new Error("the run is gone");
  return await liveRun(database.db, loaded, version);
}

async function newRun({ serialized }: RandomDag): Promise<{ run: LiveRun; version: LoadedVersion }> {
  const { dag_id: dagId } = await makeDag(database.db);
  const { id: versionId } = await makeVersion(database.db, { dag_id: dagId, serialized: toJsonText(serialized) });
  const version = await new VersionCache(database.db).get(versionId);
  const { id } = await makeRun(database.db, { dag_id: dagId });
  const [loaded] = await loadRuns(database.db, [id]);
  if (!loaded) throw new Error("the run was not made");
  await insertTaskInstances(database.db, missingTaskInstances(loaded, version));
  return { run: await load(id, version), version };
}

/** Decides and writes, as the scheduler does, but gives every task a slot at once. */
async function decide(run: LiveRun): Promise<string> {
  const decision = await decideRun(database.db, run, NOON);
  if (!decision) throw new Error("a write did not fit");
  const transitions = decision.transitions.map(({ id, from, to, tryNumber }) => ({
    id,
    expected: from,
    to,
    tryNumber,
  }));
  const applied = await applyTransitions(database.db, transitions, NOON);
  expect(applied.size).toBe(transitions.length);
  return decision.runState;
}

/** The end of a try, in the database and, as the event tells it, in memory. */
async function end(run: LiveRun, row: InstanceSnapshot, { outcome, length }: RandomDag): Promise<void> {
  const { id, taskId, mapIndex, tryNumber } = row;
  const state = outcome(taskId, mapIndex, tryNumber);
  const wakeAt = state === "up_for_retry" ? NOON : null;
  await database.db.updateTable("task_instance").set({ state, wake_at: wakeAt }).where("id", "=", id).execute();
  if (state === "success" && mapIndex < 0) {
    const list = { dag_run_id: run.row.id, task_id: taskId, map_index: -1, length: length(taskId), keys: null };
    await database.db.insertInto("task_map").values(list).execute();
  }
  const mappedLength = state === "success" && mapIndex < 0 ? length(taskId) : null;
  expect(run.memory.apply({ id, taskId, mapIndex, state, wakeAt, newId: null, mappedLength })).toBe(true);
}

const rowsOf = ({ memory }: LiveRun): InstanceSnapshot[] =>
  [...memory.instances()].sort((a, b) => a.taskId.localeCompare(b.taskId) || a.mapIndex - b.mapIndex);

it("replaying from the database gives the same state as memory", async () => {
  let compared = 0;
  await fc.assert(
    fc.asyncProperty(
      randomDag("mixed"),
      fc.array(fc.nat(1000), { minLength: 40, maxLength: 40 }),
      async (dag, picks) => {
        const { run, version } = await newRun(dag);
        for (let step = 0, state = await decide(run); state === "running"; step++, state = await decide(run)) {
          const replayed = await load(run.row.id, version);
          expect(rowsOf(replayed)).toEqual(rowsOf(run));
          // Nothing is left to do that memory has forgotten.
          const again = await decideRun(database.db, replayed, NOON);
          expect(again).toMatchObject({ transitions: [], runState: "running" });
          compared++;
          const active = rowsOf(run).filter((row) => row.state === "scheduled");
          await end(run, active[(picks[step] ?? 0) % active.length] as InstanceSnapshot, dag);
        }
        expect(rowsOf(await load(run.row.id, version))).toEqual(rowsOf(run));
      },
    ),
    { numRuns: 40 },
  );
  expect(compared).toBeGreaterThan(100);
}, 60_000);
