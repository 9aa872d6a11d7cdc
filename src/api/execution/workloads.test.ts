import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { FastifyInstance } from "fastify";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { bareContext } from "../../../test/support/api.ts";
import { createTestExecution, type TestExecution } from "../../../test/support/execution.ts";
import { makeDag, makeRun, makeTaskInstance, makeVersion, NOON, unique } from "../../../test/support/factories.ts";
import { AGENT_PATH } from "../../domain/agent-protocol.ts";
import { AgentExecutor } from "../../executors/agents/agent-executor.ts";
import { Reaper } from "../../scheduler/reaper.ts";
import { leaseTries, takeFromAgent } from "../../store/agent-tries.ts";
import { deleteAgentToken, openSession } from "../../store/agents.ts";
import { makeAgentToken, readAgentToken } from "../agent/agent-token.ts";
import { createApp } from "../app.ts";
import type { LeasedWorkloads } from "./workloads.ts";

const SECRET = "a secret of more than 32 characters, for tests";
const LEASE_SECONDS = 600;

let t: TestExecution;
let app: FastifyInstance;
let dir: string;
let queue: string;
let token: string;
beforeAll(async () => {
  t = await createTestExecution({ deferral: "park" });
  dir = mkdtempSync(join(tmpdir(), "leoflow-workloads-"));
  const { database, execution } = t;
  const executor = new AgentExecutor(t.x.kit, database);
  const agents = { pool: database.pool, execution, executor, versionsDir: dir, lostAfterMs: 45_000 };
  app = createApp(
    bareContext(database.db, dir, { kit: t.x.kit, agents, execution: t.x, airflowPackageDir: dir, logsDir: dir }),
    { adminEmail: "admin@leoflow.local", adminPasswordHash: () => "", jwtSecret: SECRET, cacheDir: dir },
  );
  await app.ready();
});
afterAll(async () => {
  await app.close();
  await t.database.close();
  rmSync(dir, { recursive: true });
});
beforeEach(async () => {
  queue = unique("queue");
  token = await agentToken(queue);
});

async function agentToken(name: string): Promise<string> {
  const asked = { name, queues: [name], expiresAt: null, createdBy: "ann" };
  const made = await makeAgentToken(t.database.db, asked, { jwtSecret: SECRET, now: t.clock.now() });
  return made?.token ?? "";
}

async function queued(): Promise<string> {
  const { db } = t.database;
  const { dag_id } = await makeDag(db);
  const version = await makeVersion(db, { dag_id });
  const run = await makeRun(db, { dag_id, dag_version_id: version.id });
  const ti = await makeTaskInstance(db, {
    ...{ dag_run_id: run.id, state: "queued", try_number: 1, max_tries: 1, queue, dag_version_id: version.id },
  });
  return ti.id;
}

async function send(method: "POST" | "PUT" | "PATCH", url: string, bearer: string, body: unknown) {
  const isBytes = Buffer.isBuffer(body);
  const headers = {
    authorization: `Bearer ${bearer}`,
    "content-type": isBytes ? "application/octet-stream" : "application/json",
  };
  const answer = await app.inject({ method, url, headers, payload: isBytes ? body : JSON.stringify(body) });
  return { status: answer.statusCode, body: answer.body === "" ? null : (JSON.parse(answer.body) as unknown) };
}

async function lease(body: unknown = {}): Promise<LeasedWorkloads["workloads"]> {
  const answer = await send("POST", `${AGENT_PATH}/workloads`, token, body);
  expect(answer.status).toBe(200);
  return (answer.body as LeasedWorkloads).workloads;
}

const start = (id: string, bearer: string, pid = 7) =>
  send("PATCH", `/execution/task-instances/${id}/run`, bearer, {
    ...{ state: "running", hostname: "there", unixname: "leo", pid, start_date: NOON },
  });

describe("workloads", () => {
  it("are handed out to who has the queue's token, each once while its own token holds", async () => {
    const id = await queued();
    const [leased] = await lease();
    expect(leased).toMatchObject({
      workload: {
        ti: { id, queue, try_number: 1, map_index: -1, context_carrier: {} },
        log_path: expect.stringMatching(/^dag_id=.*\/attempt=1\.log$/) as string,
        bundle_info: { version: null },
        type: "ExecuteTask",
      },
      log_size: 0,
    });
    expect(await lease()).toEqual([]);
    t.clock.advanceSeconds(LEASE_SECONDS + 1);
    const [again] = await lease({ count: 5, queues: [queue] });
    expect(again?.workload.ti["id"]).toBe(id);
    const foreign = await send("POST", `${AGENT_PATH}/workloads`, token, { queues: ["another"] });
    expect([foreign.status, foreign.body]).toMatchObject([400, { detail: expect.stringContaining(queue) as string }]);
    expect((await send("POST", `${AGENT_PATH}/workloads`, "nonsense", {})).status).toBe(401);
    expect((await send("POST", `${AGENT_PATH}/workloads`, again?.workload.token ?? "", {})).status).toBe(401);
  });

  it("that are delivered twice run once", async () => {
    const id = await queued();
    const [leased] = await lease();
    const workload = leased?.workload.token ?? "";
    expect((await start(id, workload)).status).toBe(200);
    const second = await start(id, workload, 8);
    expect([second.status, second.body]).toMatchObject([409, { detail: { previous_state: "running" } }]);
    expect((await start(id, workload)).status).toBe(200);
  });

  it("that went to an agent meanwhile are refused to who comes late", async () => {
    const id = await queued();
    const [leased] = await lease();
    // A clock's leeway keeps the token alive a little longer than the lease.
    t.clock.advanceSeconds(LEASE_SECONDS + 1);
    const now = t.clock.now();
    const jti = (await readAgentToken(token, new TextEncoder().encode(SECRET), now)) ?? "";
    const hello = { jti, queues: [queue], hostname: "far", unixname: "leo", pid: 1, version: "1", concurrency: 1, now };
    const session = (await openSession(t.database.pool, hello)) ?? "";
    const got = await leaseTries(t.database.pool, [{ id: session, free: 1 }], [queue], { now, until: now });
    expect(got.map(({ workload }) => workload.id)).toEqual([id]);
    const late = await start(id, leased?.workload.token ?? "");
    expect([late.status, late.body]).toMatchObject([409, { detail: { previous_state: "queued" } }]);
  });

  it("are kept from the reaper by heartbeats, for 300 seconds each, and by their token", async () => {
    const lost: string[] = [];
    const reaper = new Reaper(
      t.x.kit,
      {
        db: t.database.db,
        held: () => new Set(),
        agents: { serves: () => true, take: (id) => takeFromAgent(t.database.pool, id), lostMs: 45_000 },
        settle: async (id) => void lost.push(id),
        logEnd: async () => undefined,
        requeue: () => undefined,
      },
      { heartbeatTimeoutMs: 30_000, queuedTimeoutMs: 10_000 },
    );
    const id = await queued();
    const [leased] = await lease();
    const workload = leased?.workload.token ?? "";
    await start(id, workload);
    await reaper.adoptAfterRestart();
    const after = async (...steps: number[]) => {
      for (const seconds of steps) {
        t.clock.advanceSeconds(seconds);
        await reaper.runOnce();
      }
      return lost.filter((one) => one === id).length;
    };
    // Ticks are close together: a long pause is taken for the machine's sleep.
    expect(await after(...Array<number>(14).fill(20))).toBe(0);
    expect(await after(20)).toBe(0);
    expect(await after(20, 20)).toBeGreaterThan(0);
    const revoked = await queued();
    const [next] = await lease();
    await start(revoked, next?.workload.token ?? "");
    await deleteAgentToken(t.database.db, queue);
    await reaper.runOnce();
    expect(lost).toContain(revoked);
  });

  it("have their logs taken in pieces, from who got them", async () => {
    const id = await queued();
    const [leased] = await lease();
    const log = `${AGENT_PATH}/workloads/${id}/log`;
    const put = (offset: number, text: string, bearer = token) =>
      send("PUT", `${log}?offset=${offset}`, bearer, Buffer.from(text));
    expect((await put(0, "one\n")).body).toEqual({ size: 4 });
    expect((await put(0, "one\ntwo\n")).body).toEqual({ size: 8 });
    const gap = await put(20, "three\n");
    expect([gap.status, gap.body]).toEqual([409, { size: 8 }]);
    expect((await put(8, "three\n", await agentToken(unique("other")))).status).toBe(404);
    expect(readFileSync(join(dir, leased?.workload.log_path ?? ""), "utf8")).toBe("one\ntwo\n");
  });
});
