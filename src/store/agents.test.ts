import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../test/support/database.ts";
import { makeDag, makeRun, makeTaskInstance, makeVersion, NOON, unique } from "../../test/support/factories.ts";
import { addMicros } from "../kit/instant.ts";
import { newId } from "../kit/ids.ts";
import { findHeldTry, leaseTries, recordBeats, releaseLeases } from "./agent-tries.ts";
import {
  agentQueues,
  closeSession,
  createAgentToken,
  deleteAgentToken,
  endSilentSessions,
  findAgentToken,
  listAgentTokens,
  openSession,
} from "./agents.ts";
import { retryTaskInstance } from "./execution-park.ts";
import { startTaskInstance } from "./execution-start.ts";

let t: TestDatabase;
beforeAll(async () => {
  t = await createTestDatabase();
});
afterAll(() => t.close());

const later = (seconds: number) => addMicros(NOON, seconds * 1_000_000);
const LEASE = { now: NOON, until: later(15) };

let queue: string;
let jti: string;
beforeEach(async () => {
  queue = unique("queue");
  jti = newId();
  const token = { jti, name: unique("agent"), queues: [queue], createdBy: null, expiresAt: null };
  expect(await createAgentToken(t.db, token)).toBe(true);
});

async function session(): Promise<string> {
  const about = { hostname: "far", unixname: "leo", pid: 7, version: "1", concurrency: 4 };
  return (await openSession(t.pool, { jti, queues: [queue], ...about, now: NOON })) ?? "";
}

async function queued(...priorities: number[]): Promise<string[]> {
  const { dag_id } = await makeDag(t.db);
  const version = await makeVersion(t.db, { dag_id });
  const run = await makeRun(t.db, { dag_id });
  const made = priorities.map((priority_weight, at) =>
    makeTaskInstance(t.db, {
      ...{ dag_run_id: run.id, task_id: `t${at}`, state: "queued", queue, priority_weight, queued_dttm: NOON },
      dag_version_id: version.id,
    }),
  );
  return (await Promise.all(made)).map(({ id }) => id);
}

const lease = async (id: string, free: number, at = LEASE) =>
  (await leaseTries(t.pool, [{ id, free }], [queue], at)).map(({ workload }) => workload.id);
const start = (id: string, workerId: string) => {
  const worker = { hostname: "far", unixname: "leo", pid: 11, startDate: NOON, now: NOON };
  return startTaskInstance(t.pool, { id, ...worker, workerId });
};

describe("tokens", () => {
  it("are found while they are valid, and name the queues that agents serve", async () => {
    expect(await findAgentToken(t.pool, jti, NOON)).toMatchObject({ queues: [queue] });
    await session();
    expect((await agentQueues(t.db, NOON)).queues).toContainEqual({ queue, sessions: 1 });
    const mine = (await listAgentTokens(t.db)).find(({ queues }) => queues.includes(queue));
    expect(mine).toMatchObject({ sessions: 1, last_seen_at: NOON, expires_at: null });
    const again = { jti: newId(), name: mine?.name ?? "", queues: ["x"], createdBy: null, expiresAt: null };
    expect(await createAgentToken(t.db, again)).toBe(false);

    const brief = { jti: newId(), name: unique("agent"), queues: ["brief"], createdBy: "ann", expiresAt: later(1) };
    await createAgentToken(t.db, brief);
    expect(await findAgentToken(t.pool, brief.jti, NOON)).toBeDefined();
    expect(await findAgentToken(t.pool, brief.jti, later(2))).toBeUndefined();
    expect((await agentQueues(t.db, later(2))).queues.map((row) => row.queue)).not.toContain("brief");
  });

  it("end with all their sessions", async () => {
    const id = await session();
    const mine = (await listAgentTokens(t.db)).find(({ queues }) => queues.includes(queue));
    expect(await deleteAgentToken(t.db, mine?.name ?? "")).toBe(true);
    expect(await deleteAgentToken(t.db, mine?.name ?? "")).toBe(false);
    expect(await findAgentToken(t.pool, jti, NOON)).toBeUndefined();
    await queued(1);
    expect(await lease(id, 1)).toEqual([]);
    expect(await session()).toBe("");
  });
});

describe("leases", () => {
  it("go to whoever has room, in turns, the most important first", async () => {
    const [low, high, middle] = await queued(1, 9, 5);
    const [one, two] = [await session(), await session()];
    const room = [
      { id: one, free: 3 },
      { id: two, free: 3 },
    ];
    const leased = await leaseTries(t.pool, room, [queue], LEASE);
    expect(leased.map(({ sessionId, workload }) => [sessionId, workload.id])).toEqual([
      [one, high],
      [two, middle],
      [one, low],
    ]);
    expect(leased[0]?.workload).toMatchObject({ queue, priorityWeight: 9, taskId: "t1", mapIndex: -1 });
    expect(await leaseTries(t.pool, room, [queue], LEASE)).toEqual([]);
  });

  it("are given to another when their time is up, or when they are given back", async () => {
    const [id = ""] = await queued(1);
    const [one, two] = [await session(), await session()];
    expect(await lease(one, 1)).toEqual([id]);
    expect(await lease(two, 1, { now: later(14), until: later(29) })).toEqual([]);
    expect(await lease(two, 1, { now: later(16), until: later(31) })).toEqual([id]);
    expect(await start(id, one)).toMatchObject({ started: false, previous_state: "queued" });
    await releaseLeases(t.pool, two, [id]);
    expect(await lease(one, 1)).toEqual([id]);
    expect(await start(id, one)).toMatchObject({ started: true });
    expect(await lease(two, 1, { now: later(60), until: later(75) })).toEqual([]);
  });

  it("are renewed while the try is being made ready", async () => {
    const [id = ""] = await queued(1);
    const [one, two] = [await session(), await session()];
    await lease(one, 1);
    const beat = { sessionId: one, jti, tasks: [{ id, pid: null }] };
    expect(await recordBeats(t.pool, [beat], { now: later(10), leaseUntil: later(25) })).toMatchObject([
      { queues: [queue], ended: [] },
    ]);
    expect(await lease(two, 1, { now: later(16), until: later(31) })).toEqual([]);
  });

  it("are free at once when their agent leaves", async () => {
    const [id = ""] = await queued(1);
    const [one, two] = [await session(), await session()];
    await lease(one, 1);
    expect(await closeSession(t.pool, one, "another's")).toBe(false);
    expect(await closeSession(t.pool, one, jti)).toBe(true);
    expect(await closeSession(t.pool, one, jti)).toBe(false);
    expect(await lease(two, 1)).toEqual([id]);
  });

  it("are free at once when their agent is given up", async () => {
    const [id = ""] = await queued(1);
    const silent = await session();
    expect(await lease(silent, 1)).toEqual([id]);
    expect(await endSilentSessions(t.pool, later(1))).toContain(silent);
    expect(await lease(await session(), 1)).toEqual([id]);
  });
});

describe("signs of life", () => {
  it("keep sessions and their tries, and say which of them are over", async () => {
    const [runs = "", taken = "", mine = ""] = await queued(3, 2, 1);
    const [one, two] = [await session(), await session()];
    expect(await lease(one, 3)).toEqual([runs, taken, mine]);
    for (const id of [runs, taken]) await start(id, one);
    await t.db.updateTable("task_instance").set({ worker_id: two }).where("id", "=", taken).execute();
    await t.db.updateTable("task_instance").set({ state: "failed" }).where("id", "=", mine).execute();
    const nobody = newId();
    const tasks = [runs, taken, mine, nobody].map((id) => ({ id, pid: 11 }));
    const over = { sessionId: newId(), jti, tasks };
    const stolen = { sessionId: two, jti: newId(), tasks: [] };
    const at = { now: later(30), leaseUntil: later(45) };
    const [told, ...others] = await recordBeats(t.pool, [{ sessionId: one, jti, tasks }, over, stolen], at);
    expect(others).toEqual([null, null]);
    expect(told?.ended.toSorted((a, b) => (a.answer < b.answer ? -1 : 1))).toEqual([
      { id: nobody, answer: "not_found" },
      { id: mine, answer: "not_running" },
      { id: taken, answer: "running_elsewhere" },
    ]);
    const { last_heartbeat_at } = await t.db
      .selectFrom("task_instance")
      .select("last_heartbeat_at")
      .where("id", "=", runs)
      .executeTakeFirstOrThrow();
    expect(last_heartbeat_at).toBe(later(30));
    expect(await endSilentSessions(t.pool, later(30))).toEqual(expect.arrayContaining([two]));
    expect(await recordBeats(t.pool, [{ sessionId: two, jti, tasks: [] }], at)).toEqual([null]);
  });
});

it("a session's own tries are told from all others, also when they have ended", async () => {
  const [id = ""] = await queued(1);
  const [one, two] = [await session(), await session()];
  await lease(one, 1);
  const held = (sessionId: string, asked = id) => findHeldTry(t.pool, { sessionId, jti, id: asked });
  expect(await held(one)).toMatchObject({ session: { hostname: "far" }, held: "live", taskId: "t0", tryNumber: 0 });
  expect(await held(two)).toMatchObject({ session: { hostname: "far" }, held: null });
  expect(await held(newId())).toMatchObject({ session: null, held: null });
  await start(id, one);
  const fresh = newId();
  const end = { endDate: NOON, wakeAt: NOON, delayOverrideSeconds: null, reason: null, renderedMapIndex: null };
  await retryTaskInstance(t.pool, { id, newId: fresh, ...end, now: NOON, from: ["running"] });
  expect(await held(one)).toMatchObject({ held: "ended", taskId: "t0" });
  expect(await held(one, fresh)).toMatchObject({ held: null });
});
