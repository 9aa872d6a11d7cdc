import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { setMaxListeners } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { systemClock } from "../src/kit/clock.ts";
import { LeaseLoop } from "../src/worker/lease-loop.ts";
import { ServerClient } from "../src/worker/server-client.ts";
import { openSession } from "../src/worker/session.ts";
import { Agents, agentTokenFile, removeTokenFile } from "../test/support/agent.ts";
import { prepareSharedHome } from "../test/support/home.ts";
import { createLiteHome, taskInstances, triggerDag, until, waitForDag, waitForRun } from "../test/support/lite.ts";
import { sleep } from "./client.ts";
import { printTable } from "./filled-home.ts";
import { cpuSeconds, footprint, memoryMb } from "./processes.ts";

declare const SCRIPT_FOLDER: string;

// Agents: the time between two tasks, what an agent takes beside the tasks it runs, what idle agents cost their server.

const CHAIN = 20;
const CHAINS = 5;
const SLEEPING = 200;
const IDLE = 500;
const WATCH_MS = 20_000;

const DAGS = `
import os, time
from airflow.sdk import DAG, task

with DAG("chain", default_args={"queue": "remote"}):
    @task
    def step(): ...
    before = step()
    for number in range(${CHAIN - 1}):
        after = step()
        before >> after
        before = after

with DAG("sleeping", default_args={"queue": "remote"}, max_active_tasks=1000):
    @task
    def sleeps(number):
        while not os.path.exists(os.environ["BENCH_GO"]):
            time.sleep(1)
    sleeps.expand(number=list(range(${SLEEPING})))
`;

const folder = mkdtempSync(join(tmpdir(), "leoflow-bench-agents-"));
const bin = join(SCRIPT_FOLDER, "../bin");
await prepareSharedHome();
const home = await createLiteHome([process.execPath, join(bin, "leoflow")]);
const agents = new Agents(bin);
const go = join(folder, "go");
let token: string | undefined;
try {
  writeFileSync(join(home.workspace, "dags.py"), DAGS);
  const lite = await home.start({ env: { AIRFLOW__CORE__PARALLELISM: "1000" } });
  const { client } = lite;
  await client.call("PATCH", "/api/v2/pools/default_pool?update_mask=slots", { slots: 1000 });
  token = agentTokenFile(home.home, "bench", "remote", bin);
  const agent = await agents.start("bench", lite.base, token, {
    args: ["--concurrency", String(SLEEPING)],
    env: { BENCH_GO: go },
  });
  const rows: string[][] = [["agents", "measured", "to reach"]];

  const hops: number[] = [];
  for (let run = 0; run <= CHAINS; run++) {
    const runId = await triggerDag(client, "chain");
    await waitForRun(client, "chain", runId);
    // The first one warms the zygote.
    if (run === 0) continue;
    const times = (
      (await taskInstances(client, "chain", runId)) as unknown as { start_date: string; end_date: string }[]
    )
      .map(({ start_date: start, end_date: end }) => ({ start: Date.parse(start), end: Date.parse(end) }))
      .sort((a, b) => a.start - b.start);
    for (let i = 1; i < times.length; i++) hops.push((times[i]?.start ?? 0) - (times[i - 1]?.end ?? 0));
  }
  hops.sort((a, b) => a - b);
  const at = (share: number) => `${hops[Math.floor((hops.length - 1) * share)] ?? 0} ms`;
  rows.push([`end of a task to the start of the next, ${hops.length} times, p50`, at(0.5), "60 ms"]);
  rows.push(["the same, p95", at(0.95), ""]);

  const idleMb = memoryMb(agent.pid, "Pss");
  await waitForDag(client, "sleeping");
  const sleeping = await triggerDag(client, "sleeping");
  await until(
    "all sleep",
    async () => {
      const path = `/api/v2/dags/sleeping/dagRuns/${encodeURIComponent(sleeping)}/taskInstances?state=running&limit=1`;
      return ((await client.call("GET", path)) as { total_entries: number }).total_entries === SLEEPING;
    },
    120,
  );
  await sleep(10_000);
  const before = cpuSeconds(agent.pid);
  await sleep(WATCH_MS);
  const percent = ((cpuSeconds(agent.pid) - before) / (WATCH_MS / 1000)) * 100;
  rows.push(["agent's Node, warm, nothing running (PSS)", `${Math.round(idleMb)} MB`, ""]);
  rows.push([
    `agent's Node with ${SLEEPING} sleeping tasks (PSS)`,
    `${Math.round(memoryMb(agent.pid, "Pss"))} MB`,
    "40 MB",
  ]);
  rows.push(["its processor, of one core", `${percent.toFixed(1)} %`, ""]);
  closeSync(openSync(go, "w"));
  await waitForRun(client, "sleeping", sleeping, 120);
  await agents.remove();

  const quiet = cpuSeconds(lite.pid);
  await sleep(WATCH_MS);
  const base = footprint(lite.pid, home.home);
  const percentOf = (seconds: number) => `${((seconds / WATCH_MS) * 100_000).toFixed(1)} %`;
  rows.push(["the server's Node without agents, of one core", percentOf(cpuSeconds(lite.pid) - quiet), ""]);
  const kit = { logger: pino({ level: "silent" }), clock: systemClock };
  const over = new AbortController();
  setMaxListeners(0, over.signal);
  const secret = readFileSync(token, "utf8");
  const server = new URL(lite.base);
  for (let number = 0; number < IDLE; number++) {
    const one = new ServerClient(kit, { server, token: secret });
    const hello = { hostname: `idle-${number}`, pid: 1, unixname: "x", version: "0", concurrency: 16, queues: null };
    const session = await openSession(one, hello, over.signal, () => undefined);
    over.signal.addEventListener("abort", () => {
      session.end("enough");
      one.close();
    });
    void new LeaseLoop(kit, { client: one, free: () => 16, take: () => undefined, onRefused: () => undefined }).run(
      session,
    );
    const beat = setInterval(() => {
      const question = { method: "POST", path: `${session.path}/heartbeat`, body: { tasks: [] } } as const;
      one.once(question, "own").catch(() => undefined);
    }, 5_000);
    over.signal.addEventListener("abort", () => clearInterval(beat));
  }
  await sleep(10_000);
  const [busy, node] = [footprint(lite.pid, home.home), cpuSeconds(lite.pid)];
  await sleep(WATCH_MS);
  const after = footprint(lite.pid, home.home);
  rows.push([`the server's Node with ${IDLE} idle agents, of one core`, percentOf(cpuSeconds(lite.pid) - node), ""]);
  rows.push([`the same with PostgreSQL`, percentOf(after.cpuSeconds - busy.cpuSeconds), ""]);
  rows.push([
    `memory of the server (PSS), without and with ${IDLE} agents`,
    `${Math.round(base.pssMb)} and ${Math.round(after.pssMb)} MB`,
    "",
  ]);
  const began = performance.now();
  over.abort();
  await agents.start("last", lite.base, token);
  const runId = await triggerDag(client, "chain");
  await waitForRun(client, "chain", runId, 120);
  rows.push([
    "a chain of 20 after all of them went without a word",
    `${((performance.now() - began) / 1000).toFixed(1)} s`,
    "",
  ]);
  printTable(rows);
} finally {
  await agents.remove();
  await home.remove();
  if (token) removeTokenFile(token);
  rmSync(folder, { recursive: true, force: true });
}
process.exit(0);
