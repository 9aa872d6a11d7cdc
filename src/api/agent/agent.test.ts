import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import { gunzipSync } from "node:zlib";
import type { FastifyInstance } from "fastify";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { AgentCaller, call, callForJson, HELLO, type Call } from "../../../test/support/agent-caller.ts";
import { bareContext } from "../../../test/support/api.ts";
import { createTestExecution, raw, type TestExecution } from "../../../test/support/execution.ts";
import { makeDag, makeRun, makeTaskInstance, makeVersion, NOON, unique } from "../../../test/support/factories.ts";
import { until } from "../../../test/support/until.ts";
import { appendToTaskLog } from "../../agent/log-end.ts";
import { AGENT_LOST_MS, AGENT_PATH, LEASE_MS, LOG_PIECE_BYTES } from "../../domain/agent-protocol.ts";
import { taskLogPath } from "../../domain/workload.ts";
import { AgentExecutor } from "../../executors/agents/agent-executor.ts";
import { QueueRouter } from "../../executors/agents/queue-router.ts";
import { LocalExecutor } from "../../executors/local/local-executor.ts";
import { newId } from "../../kit/ids.ts";
import { readTar } from "../../kit/tar/tar-reader.ts";
import { Reaper } from "../../scheduler/reaper.ts";
import { takeFromAgent } from "../../store/agent-tries.ts";
import { createApp } from "../app.ts";
import { adminToken } from "../auth/admin-token.ts";
import { readAgentToken } from "./agent-token.ts";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const SECRET = "a secret of more than 32 characters, for tests";
const ADMIN = "admin@leoflow.local";

/** All that a server has for agents, on a port of its own; several of them may share the database. */
interface Server {
  base: string;
  app: FastifyInstance;
  agents: AgentExecutor;
  router: QueueRouter;
  reaper: Reaper;
  /** What its own executor was given. */
  local: string[];
  requeued: string[];
  stop(): Promise<void>;
}

let t: TestExecution;
let dir: string;
let logsDir: string;
let server: Server;
const servers: Server[] = [];

beforeAll(async () => {
  t = await createTestExecution();
  dir = mkdtempSync(join(tmpdir(), "leoflow-agents-"));
  logsDir = join(dir, "logs");
});
afterAll(async () => {
  await t.database.close();
  rmSync(dir, { recursive: true });
});
beforeEach(async () => {
  server = await startServer();
});
afterEach(async () => {
  for (const one of servers.splice(0)) await one.stop();
});

async function startServer(config: { waitMs?: number } = {}): Promise<Server> {
  const { kit } = t.x;
  const { database, execution } = t;
  const agents = new AgentExecutor(kit, database, config);
  const local: string[] = [];
  const requeued: string[] = [];
  const runner = { runTask: async ({ id }: { id: string }) => void local.push(id), terminate: () => false };
  const own = new LocalExecutor(kit, { runner }, { parallelism: 8 });
  const router = new QueueRouter(own, agents);
  const off = t.x.deps.bus.on("kill", ({ ids, reason }) => router.terminate(ids, reason));
  const reaper = new Reaper(
    kit,
    {
      db: database.db,
      held: () => own.held(),
      agents: {
        serves: (queue) => agents.serves(queue),
        take: (id) => takeFromAgent(database.pool, id),
        lostMs: AGENT_LOST_MS,
      },
      settle: (id, exit) => execution.exited(id, exit),
      logEnd: (ti, reason) =>
        appendToTaskLog(
          kit,
          logsDir,
          { dagId: ti.dag_id, runId: ti.run_id, taskId: ti.task_id, mapIndex: ti.map_index, tryNumber: ti.try_number },
          reason,
        ),
      requeue: (id) => void requeued.push(id),
    },
    { heartbeatTimeoutMs: 30_000, queuedTimeoutMs: 10_000 },
  );
  const versionsDir = join(dir, "versions");
  const service = { pool: database.pool, execution, executor: agents, versionsDir, lostAfterMs: AGENT_LOST_MS };
  const app = createApp(
    bareContext(database.db, dir, { kit, logsDir, bus: t.x.deps.bus, agents: service, airflowPackageDir: dir }),
    { adminEmail: ADMIN, adminPasswordHash: () => "", jwtSecret: SECRET, cacheDir: join(dir, "cache") },
  );
  await own.start();
  await agents.start();
  await app.listen({ port: 0, host: "127.0.0.1" });
  const base = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`;
  const stop = async (): Promise<void> => {
    off();
    await app.close();
    await agents.stop();
    await own.stop();
  };
  const one = { base, app, agents, router, reaper, local, requeued, stop };
  servers.push(one);
  return one;
}

const admin = () => adminToken(ADMIN, 3_600, { secret: SECRET, nowMs: new Date(t.clock.now()).getTime() });

const ask = (path: string, options?: Call) => call(`${server.base}${path}`, options);
const askForJson = <T>(path: string, options?: Call) => callForJson<T>(`${server.base}${path}`, options);

async function makeToken(name: string, queues: string[], more: object = {}): Promise<string> {
  const made = await askForJson<{ token: string }>("/api/leoflow/agent-tokens", {
    token: admin(),
    body: { name, queues, ...more },
  });
  expect(made.status).toBe(201);
  return made.body.token;
}

const agentWith = (token: string) =>
  new AgentCaller(token, { base: () => server.base, now: () => t.clock.now() }).hello();

/** An agent with a token and a queue of its own, and tries that wait in it. */
async function setUp(tries: { max_tries?: number }[] = [{}]) {
  const queue = unique("queue");
  const agent = await agentWith(await makeToken(unique("agent"), [queue]));
  const { dag_id } = await makeDag(t.database.db);
  const tasks = tries.map((_, at) => ({ id: `t${at}` }));
  await makeVersion(t.database.db, { dag_id }, { tasks });
  const run = await makeRun(t.database.db, { dag_id });
  const ids: string[] = [];
  for (const [at, columns] of tries.entries()) {
    const state = { state: "queued", queue, try_number: 1, queued_dttm: NOON } as const;
    ids.push(
      (await makeTaskInstance(t.database.db, { dag_run_id: run.id, task_id: `t${at}`, ...state, ...columns })).id,
    );
  }
  return { queue, agent, ids, id: ids[0] ?? "", run };
}

const SUCCEED = { type: "SucceedTask", end_date: NOON, task_outlets: [], outlet_events: raw("[]") };

async function rowOf(id: string) {
  const row = await t.database.db.selectFrom("task_instance").selectAll().where("id", "=", id).executeTakeFirst();
  return row;
}

/** The clock moves on, and the slow tick with it; a heartbeat of whoever lives comes before each. */
async function pass(seconds: number, beat: () => Promise<unknown> = async () => undefined): Promise<void> {
  for (let gone = 0; gone < seconds; gone += 15) {
    t.clock.advanceSeconds(15);
    await beat();
    await server.agents.runOnce();
    await server.reaper.runOnce();
  }
}

describe("tokens", () => {
  it("of agents open what agents need and nothing else; users' tokens open none of it", async () => {
    const token = await makeToken("guard", ["guarded"]);
    for (const path of ["/api/v2/dags", "/ui/config", "/api/leoflow/agent-tokens"]) {
      expect((await ask(path, { method: "GET", token })).status).toBe(403);
    }
    expect((await ask(`${AGENT_PATH}/sessions`, { token: admin(), body: HELLO })).status).toBe(401);
    expect((await ask(`${AGENT_PATH}/sessions`, { body: HELLO })).status).toBe(401);
    expect((await ask(`${AGENT_PATH}/sessions`, { token: `${token.slice(0, -6)}AAAAAA`, body: HELLO })).status).toBe(
      401,
    );
    const foreign = await askForJson<{ detail: string }>(`${AGENT_PATH}/sessions`, {
      token,
      body: { ...HELLO, queues: ["guarded", "other"] },
    });
    expect(foreign.status).toBe(400);
    expect(foreign.body.detail).toBe("The token guard is for the queues guarded, not for other");
  });

  it("are told once, listed, and refused from the moment they are revoked", async () => {
    const token = await makeToken("short", ["brief"], { expires_in_seconds: 3_600 });
    const again = { token: admin(), body: { name: "short" } };
    expect((await ask("/api/leoflow/agent-tokens", again)).status).toBe(409);
    for (const body of [{ name: "a b" }, { name: "x", queues: [] }, { name: "x", queues: [" "] }, { name: 1 }]) {
      expect((await ask("/api/leoflow/agent-tokens", { token: admin(), body })).status).toBe(422);
    }
    const agent = await agentWith(token);
    const listed = await askForJson<{ agent_tokens: object[] }>("/api/leoflow/agent-tokens", {
      method: "GET",
      token: admin(),
    });
    expect(listed.body.agent_tokens).toContainEqual(
      expect.objectContaining({ name: "short", queues: ["brief"], sessions: 1, created_by: ADMIN }),
    );
    expect(JSON.stringify(listed.body)).not.toContain(token);
    expect(server.agents.serves("brief")).toBe(true);
    const waiting = agent.ask("/lease", { body: { free: 1 } });
    await until("it waits", () => server.agents.counts().waiting === 1);
    const gone = { method: "DELETE", token: admin() };
    expect((await ask("/api/leoflow/agent-tokens/short", gone)).status).toBe(204);
    expect((await waiting).status).toBe(401);
    expect((await agent.heartbeat()).status).toBe(401);
    expect((await agent.exit(newId())).status).toBe(401);
    expect((await ask(`${AGENT_PATH}/sessions`, { token, body: HELLO })).status).toBe(401);
    expect((await ask("/api/leoflow/agent-tokens/short", gone)).status).toBe(404);
    expect(server.agents.serves("brief")).toBe(false);
  });

  it("end by themselves when their time is up", async () => {
    const agent = await agentWith(await makeToken("minute", ["for_a_minute"], { expires_in_seconds: 60 }));
    expect((await agent.heartbeat()).status).toBe(200);
    t.clock.advanceSeconds(61);
    expect((await agent.heartbeat()).status).toBe(401);
    await server.agents.refresh();
    expect(server.agents.serves("for_a_minute")).toBe(false);
  });
});

describe("a task", () => {
  it("is leased, started, served, and ends", async () => {
    const { agent, id } = await setUp();
    const [workload] = (await agent.lease(4)).workloads;
    expect(workload).toMatchObject({ id, taskId: "t0", tryNumber: 1, bundle: { name: "dags-folder" } });
    expect(await agent.start(id)).toMatchObject({ status: 200, body: { kind: "started" } });
    expect(await agent.start(id)).toMatchObject({ body: { kind: "started" } });
    expect(await rowOf(id)).toMatchObject({ state: "running", hostname: "far", unixname: "leo", pid: 11 });
    const xcom = { key: "k", ...(await placeOf(id)) };
    const pushed = await agent.message(id, 0, { type: "SetXCom", value: raw("1.0"), ...xcom });
    expect(pushed).toMatchObject({ status: 200, reply: { body: null } });
    const got = await agent.message(id, 1, { type: "GetXCom", ...xcom });
    expect(got.reply).toEqual({ body: { type: "XComResult", key: "k", value: raw("1.0") } });
    expect(await agent.heartbeat({ id, pid: 11 })).toEqual({ status: 200, body: { ended: [] } });
    expect(await agent.message(id, 2, SUCCEED)).toMatchObject({ status: 200, reply: { body: null } });
    expect(await agent.exit(id)).toMatchObject({ status: 204 });
    expect(await rowOf(id)).toMatchObject({ state: "success" });
  });

  it("whose answer was lost asks again, and nothing is done twice", async () => {
    const { agent, id, run } = await setUp();
    await agent.leased(1);
    await agent.start(id);
    const { dag_id } = await makeDag(t.database.db);
    await makeVersion(t.database.db, { dag_id });
    const trigger = { type: "TriggerDagRun", dag_id, run_id: "made", conf: raw("{}"), logical_date: null };
    const first = await agent.message(id, 5, { ...trigger, reset_dag_run: false });
    expect(first.reply).toMatchObject({ body: { ok: true } });
    expect(await agent.message(id, 5, { ...trigger, reset_dag_run: false })).toEqual(first);
    const next = await agent.message(id, 6, { ...trigger, reset_dag_run: false });
    expect(next.reply).toMatchObject({ body: { error: "DAGRUN_ALREADY_EXISTS" } });
    expect(await agent.message(id, 7, SUCCEED)).toMatchObject({ reply: { body: null } });
    expect(await agent.message(id, 7, SUCCEED)).toMatchObject({ reply: { body: null } });
    for (let times = 0; times < 2; times++) expect(await agent.exit(id)).toMatchObject({ status: 204 });
    expect(await rowOf(id)).toMatchObject({ state: "success", dag_run_id: run.id });
  });

  it("that is queued is told at once to whoever waits, and goes to no other executor", async () => {
    const { agent, ids, queue } = await setUp([]);
    expect(ids).toEqual([]);
    const waiting = agent.lease(2);
    await until("it waits", () => server.agents.counts().waiting === 1);
    const { dag_id } = await makeDag(t.database.db);
    await makeVersion(t.database.db, { dag_id });
    const run = await makeRun(t.database.db, { dag_id });
    const { id } = await makeTaskInstance(t.database.db, { dag_run_id: run.id, state: "queued", queue, try_number: 1 });
    const handed = { id, queue, priorityWeight: 1 } as never;
    server.router.enqueue([handed, { id: "mine", queue: "nobody's", priorityWeight: 1 } as never]);
    expect((await waiting).workloads.map((workload) => workload.id)).toEqual([id]);
    await until("the other one runs here", () => server.local.length > 0);
    expect(server.local).toEqual(["mine"]);
    expect(server.router.held()).toContain(id);
  });

  it("that was handed over twice runs once", async () => {
    const { agent, id } = await setUp();
    const other = await agentWith(agent.token);
    expect(await agent.leased(1)).toEqual([id]);
    t.clock.advanceSeconds(LEASE_MS / 1_000 + 1);
    expect(await other.leased(1)).toEqual([id]);
    expect(await agent.start(id)).toMatchObject({ status: 404 });
    expect(await other.start(id, 12)).toMatchObject({ body: { kind: "started" } });
    for (const answer of [await agent.start(id), await agent.message(id, 0, SUCCEED), await agent.exit(id)]) {
      expect(answer.status).toBe(404);
    }
    expect((await agent.log(id, 0, "late")).status).toBe(404);
    expect((await agent.heartbeat({ id, pid: 11 })).body).toEqual({ ended: [{ id, answer: "running_elsewhere" }] });
    expect(await rowOf(id)).toMatchObject({ state: "running", pid: 12 });
    // The executor of the server itself is no better: what is running stays with who runs it.
    const own = { hostname: "here", unixname: "leo", pid: 1, startDate: NOON };
    expect(await t.execution.start(id, own)).toMatchObject({ kind: "refused" });
  });

  it("that is to end is told to its agent at once, with the reason; and again by its heartbeat", async () => {
    const { agent, ids } = await setUp([{}, {}]);
    const [one = "", two = ""] = ids;
    await agent.leased(2);
    for (const id of ids) await agent.start(id);
    const waiting = agent.lease(0);
    await until("it waits", () => server.agents.counts().waiting === 1);
    await t.database.db.updateTable("task_instance").set({ state: "failed" }).where("id", "in", ids).execute();
    t.x.deps.bus.publish({ kind: "kill", ids, reason: "marked as failed" });
    expect(await waiting).toEqual({ workloads: [], ended: [{ id: one, reason: "marked as failed" }] });
    expect(await agent.lease(0)).toEqual({ workloads: [], ended: [{ id: two, reason: "marked as failed" }] });
    const beat = await agent.heartbeat({ id: one, pid: 11 }, { id: two, pid: 11 });
    expect(beat.body.ended.map(({ answer }) => answer)).toEqual(["not_running", "not_running"]);
  });

  it("of an agent that is silent for too long runs again, and what that says later is refused", async () => {
    const { agent, id, queue } = await setUp([{ max_tries: 1 }, {}]);
    const other = await agentWith(agent.token);
    const [, unstarted = ""] = await agent.leased(2);
    await agent.start(id);
    expect((await agent.log(id, 0, '{"event": "hello"}\n')).body).toEqual({ size: 19 });
    await pass(AGENT_LOST_MS / 1_000 + 30, () => other.heartbeat());
    const [again] = await t.database.db
      .selectFrom("task_instance")
      .selectAll()
      .where("queue", "=", queue)
      .where("task_id", "=", "t0")
      .execute();
    expect(again).toMatchObject({ state: "up_for_retry", worker_id: null });
    expect(again?.id).not.toBe(id);
    expect(await other.leased(1)).toEqual([unstarted]);
    for (const answer of [
      await agent.heartbeat({ id, pid: 11 }),
      await agent.message(id, 0, SUCCEED),
      await agent.exit(id),
      await agent.log(id, 19, "late\n"),
      await agent.ask("/lease", { body: { free: 1 } }),
      await agent.start(unstarted),
    ]) {
      expect(answer.status).toBe(410);
    }
    const log = { dagId: again?.dag_id ?? "", runId: "", taskId: "t0", mapIndex: -1 };
    const { run_id } = await t.database.db
      .selectFrom("dag_run")
      .select("run_id")
      .where("id", "=", again?.dag_run_id ?? 0)
      .executeTakeFirstOrThrow();
    const text = readFileSync(join(logsDir, taskLogPath({ ...log, runId: run_id }, 1)), "utf8");
    expect(text).toMatch(/^\{"event": "hello"\}\n.*lost: the agent that ran it was not heard any more/);
    expect(text).not.toContain("late");
  });

  it("that its agent knows nothing of any more is lost too, while the agent goes on", async () => {
    const { agent, ids, run } = await setUp([{}, {}]);
    const [kept = "", dropped = ""] = ids;
    await agent.leased(2);
    for (const id of ids) await agent.start(id);
    await pass(AGENT_LOST_MS / 1_000 + 30, () => agent.heartbeat({ id: kept, pid: 11 }));
    expect(await rowOf(kept)).toMatchObject({ state: "running" });
    expect(await rowOf(dropped)).toMatchObject({ state: "failed", dag_run_id: run.id });
    expect((await agent.message(dropped, 0, SUCCEED)).status).toBe(404);
  });

  it("of an agent that leaves is free, or lost, at once", async () => {
    const { agent, ids, queue } = await setUp([{}, {}]);
    const other = await agentWith(agent.token);
    const [runs = "", waits = ""] = await agent.leased(2);
    expect([runs, waits]).toEqual(ids);
    await agent.start(runs);
    const listed = await askForJson<{ agents: object[] }>("/api/leoflow/agents", { method: "GET", token: admin() });
    expect(listed.body.agents).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ id: agent.sessionId, queues: [queue], hostname: "far", concurrency: 4, running: 1 }),
        expect.objectContaining({ id: other.sessionId, running: 0 }),
      ]),
    );
    const waiting = other.leased(1);
    expect((await agent.ask("", { method: "DELETE" })).status).toBe(204);
    expect(await waiting).toEqual([waits]);
    await server.reaper.runOnce();
    expect(await rowOf(runs)).toMatchObject({ state: "failed" });
    expect((await agent.ask("", { method: "DELETE" })).status).toBe(410);
  });

  it("outlives its server: nothing is queued or run twice, and the result is taken", async () => {
    const { agent, ids } = await setUp([{}, {}, {}]);
    const [runs = "", leased = "", queued = ""] = ids;
    expect(await agent.leased(2)).toEqual([runs, leased]);
    await agent.start(runs);
    await agent.message(runs, 0, { type: "SetXCom", key: "a", value: raw("1"), ...(await placeOf(runs)) });
    await server.stop();
    servers.length = 0;
    t.clock.advanceSeconds(10);
    server = await startServer();
    expect(await server.reaper.adoptAfterRestart()).toEqual({ lost: 0, requeued: 0 });
    await pass(30);
    expect(await rowOf(runs)).toMatchObject({ state: "running" });
    expect(server.requeued).toEqual([]);
    expect(await agent.heartbeat({ id: runs, pid: 11 })).toMatchObject({ status: 200, body: { ended: [] } });
    expect((await agent.start(leased)).body).toMatchObject({ kind: "started" });
    expect(await agent.leased(3)).toEqual([queued]);
    await agent.message(runs, 1, SUCCEED);
    await agent.exit(runs);
    expect(await rowOf(runs)).toMatchObject({ state: "success" });
  });

  it("that was leased for somebody who hung up is another's at once", async () => {
    const { agent, id } = await setUp();
    const other = await agentWith(agent.token);
    const gone = new AbortController();
    const session = { sessionId: agent.sessionId, jti: await jtiOf(agent.token) };
    const waiting = server.agents.lease(session, 1, gone.signal);
    // The lease is on its way to the database, has been made, or is not asked for yet: in each case nobody takes it.
    await until(
      "it waits, or has been served",
      async () => server.agents.counts().waiting === 1 || (await rowOf(id))?.worker_id !== null,
    );
    gone.abort();
    const kept = (await waiting)?.workloads.map((workload) => workload.id) ?? [];
    if (kept.length === 0) expect(await other.leased(1)).toEqual([id]);
    else expect(kept).toEqual([id]);
    const hangsUp = new AbortController();
    const request = fetch(`${server.base}${AGENT_PATH}/sessions/${agent.sessionId}/lease`, {
      method: "POST",
      headers: { authorization: `Bearer ${agent.token}` },
      body: JSON.stringify({ free: 1 }),
      signal: hangsUp.signal,
    });
    await until("it waits", () => server.agents.counts().waiting === 1);
    hangsUp.abort();
    await expect(request).rejects.toThrow();
    await until("nobody waits", () => server.agents.counts().waiting === 0);
  });

  it("is leased to the newer of two requests of one session", async () => {
    const { agent, queue, ids } = await setUp();
    await t.database.db.updateTable("task_instance").set({ state: "scheduled" }).where("id", "in", ids).execute();
    const older = agent.leased(1);
    await until("it waits", () => server.agents.counts().waiting === 1);
    const newer = agent.leased(1);
    expect(await older).toEqual([]);
    await t.database.db.updateTable("task_instance").set({ state: "queued" }).where("id", "in", ids).execute();
    await until("the newer one waits", () => server.agents.counts().waiting === 1);
    server.agents.enqueue([{ queue } as never]);
    expect(await newer).toEqual(ids);
  });

  it("is not lost because the server's machine slept", async () => {
    const { agent, id } = await setUp();
    await agent.leased(1);
    await agent.start(id);
    await pass(15, () => agent.heartbeat({ id, pid: 11 }));
    t.clock.advanceSeconds(3_600);
    await server.agents.runOnce();
    await server.reaper.runOnce();
    await pass(30);
    expect(await agent.heartbeat({ id, pid: 11 })).toMatchObject({ status: 200, body: { ended: [] } });
    await pass(30);
    expect(await rowOf(id)).toMatchObject({ state: "running" });
  });

  it("of a queue that no token names any more is the server's own again", async () => {
    const { agent, ids, queue } = await setUp([{}, {}]);
    const [leased = "", queued = ""] = ids;
    expect(await agent.leased(1)).toEqual([leased]);
    await pass(30, () => agent.heartbeat({ id: leased, pid: null }));
    expect(server.requeued).toEqual([]);
    const { rows } = await t.database.pool.query<{ name: string }>(
      "select name from agent_token where $1 = any(queues)",
      [queue],
    );
    const path = `/api/leoflow/agent-tokens/${rows[0]?.name}`;
    expect((await ask(path, { method: "DELETE", token: admin() })).status).toBe(204);
    await pass(30);
    expect(new Set(server.requeued)).toEqual(new Set([leased, queued]));
    expect((await agent.start(leased)).status).toBe(401);
  });
});

async function jtiOf(token: string): Promise<string> {
  return (await readAgentToken(token, new TextEncoder().encode(SECRET), t.clock.now())) ?? "";
}

async function placeOf(id: string) {
  const row = await rowOf(id);
  const { run_id } = await t.database.db
    .selectFrom("dag_run")
    .select("run_id")
    .where("id", "=", row?.dag_run_id ?? 0)
    .executeTakeFirstOrThrow();
  return { dag_id: row?.dag_id, run_id, task_id: row?.task_id, map_index: -1 };
}

describe("logs", () => {
  const pathOf = async (id: string) => {
    const { dag_id = "", run_id, task_id = "" } = await placeOf(id);
    return join(logsDir, taskLogPath({ dagId: dag_id, runId: run_id, taskId: task_id, mapIndex: -1 }, 1));
  };

  it("are written where they belong, each byte once, and no gap is left", async () => {
    const { agent, id } = await setUp();
    await agent.leased(1);
    expect((await agent.log(id, 0, "")).body).toEqual({ size: 0 });
    expect((await agent.log(id, 0, "one\ntwo\n")).body).toEqual({ size: 8 });
    expect((await agent.log(id, 4, "two\nthree\n")).body).toEqual({ size: 14 });
    expect((await agent.log(id, 0, "one\n")).body).toEqual({ size: 14 });
    expect(await agent.log(id, 20, "five\n")).toMatchObject({ status: 409, body: { size: 14 } });
    const pieces = Array.from({ length: 20 }, (_, at) => agent.log(id, 14, `${"x".repeat(at)}`));
    for (const { status } of await Promise.all(pieces)) expect(status).toBe(200);
    expect(readFileSync(await pathOf(id), "utf8")).toBe(`one\ntwo\nthree\n${"x".repeat(19)}`);
    expect((await agent.log(id, 33, "y".repeat(LOG_PIECE_BYTES + 1))).status).toBe(413);
    expect((await agent.log(id, -1, "")).status).toBe(422);
  });

  it("are taken to their end from a try that was retried meanwhile", async () => {
    const { agent, id } = await setUp([{ max_tries: 3 }]);
    await agent.leased(1);
    await agent.start(id);
    const path = await pathOf(id);
    await agent.message(id, 0, { type: "RetryTask", end_date: NOON, rendered_map_index: null, retry_delay_seconds: 0 });
    expect(await rowOf(id)).toBeUndefined();
    expect((await agent.log(id, 0, "the end\n")).body).toEqual({ size: 8 });
    expect((await agent.exit(id)).status).toBe(204);
    expect(readFileSync(path, "utf8")).toBe("the end\n");
  });

  it("are not acknowledged when the disk is full", async () => {
    const { agent, id } = await setUp();
    await agent.leased(1);
    const path = await pathOf(id);
    mkdirSync(dirname(path), { recursive: true });
    symlinkSync("/dev/full", path);
    const full = await agent.ask<{ detail: string }>(`/tasks/${id}/log?offset=0`, {
      method: "PUT",
      bytes: Buffer.from("x"),
    });
    expect(full).toMatchObject({ status: 507, body: { detail: expect.stringContaining("disk is full") as string } });
  });
});

it("the files of a version come as the same archive each time, without what only lies here", async () => {
  const { agent } = await setUp();
  const digest = newId().replaceAll("-", "");
  const folder = join(dir, "versions", digest);
  mkdirSync(join(folder, "sub"), { recursive: true });
  writeFileSync(join(folder, "b.py"), "b".repeat(200_000));
  writeFileSync(join(folder, "sub/a.py"), "");
  symlinkSync("/etc/passwd", join(folder, "data.txt"));
  const manifest = JSON.stringify({
    pinned: [
      ["sub/a.py", ""],
      ["b.py", ""],
    ],
  });
  writeFileSync(join(folder, ".leoflow-version.json"), manifest);
  const get = (name: string) => ask(`${AGENT_PATH}/versions/${name}`, { method: "GET", token: agent.token });
  const [first, second] = [await get(digest), await get(digest)];
  expect(first.status).toBe(200);
  expect(first.bytes.equals(second.bytes)).toBe(true);
  const found: [string, number][] = [];
  for await (const entry of readTar(Readable.from([gunzipSync(first.bytes)]))) {
    let size = 0;
    for await (const piece of entry.content()) size += piece.length;
    found.push([entry.name, size]);
  }
  expect(found).toEqual([
    [".leoflow-version.json", manifest.length],
    ["b.py", 200_000],
    ["sub/a.py", 0],
  ]);
  expect((await get(newId().replaceAll("-", ""))).status).toBe(404);
  expect((await get("..%2f..")).status).toBe(422);
});

it("many agents that wait cost few statements, and each gets its share", async () => {
  const { agent, ids, queue } = await setUp(Array.from({ length: 40 }, () => ({})));
  await t.database.db.updateTable("task_instance").set({ state: "scheduled" }).where("id", "in", ids).execute();
  const agents = await Promise.all(Array.from({ length: 20 }, () => agentWith(agent.token)));
  const waiting = agents.map((one) => one.leased(4));
  await until("all wait", () => server.agents.counts().waiting === agents.length);
  await t.database.db.updateTable("task_instance").set({ state: "queued" }).where("id", "in", ids).execute();
  server.agents.enqueue([{ queue } as never]);
  const leased = await Promise.all(waiting);
  expect(leased.map(({ length }) => length)).toEqual(agents.map(() => 2));
  expect(leased.flat().toSorted()).toEqual(ids.toSorted());
});
