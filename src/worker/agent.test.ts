import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { AgentServer } from "../../test/support/agent-server.ts";
import { createHome } from "../../test/support/home.ts";
import { testKit } from "../../test/support/python.ts";
import { until } from "../../test/support/until.ts";
import type { UserError } from "../kit/user-error.ts";
import type { Workload } from "../domain/workload.ts";
import { RawJson } from "../domain/task-execution.ts";
import { newId } from "../kit/ids.ts";
import type { JsonText } from "../kit/json-text.ts";
import { isAlive } from "../lite/postgres/stale-server.ts";
import { silentProgress } from "../lite/progress.ts";
import { startAgent, type RunningAgent } from "./agent.ts";

const DAG = `
import os, time
from airflow.sdk import DAG, Variable, task

NAME = Variable.get("name", default="nobody")
FLAGS = os.environ["TEST_FLAGS"]

with DAG("d"):
    @task
    def says(text="hello"):
        print(f"{text} {NAME}")
        return {"float": 1.0, "int": 1}

    @task
    def waits(map_index=None):
        from airflow.sdk import get_current_context
        ti = get_current_context()["ti"]
        with open(os.path.join(FLAGS, f"{ti.id}"), "a") as file:
            file.write("started\\n")
        while not os.path.exists(os.path.join(FLAGS, "go")):
            time.sleep(0.05)
        print("end of", ti.map_index)
        with open(os.path.join(FLAGS, f"{ti.id}"), "a") as file:
            file.write("ended\\n")

    @task
    def fails():
        raise ValueError("as it should")

    says(), waits(), fails()
`;

let server: AgentServer;
let agent: RunningAgent;
let home: ReturnType<typeof createHome>;
let flags: string;
let digest: string;
const failures: UserError[] = [];

beforeAll(async () => {
  server = await new AgentServer().start();
  server.lostAfterMs = 12_000;
  home = createHome();
  flags = join(home.paths.home, "flags");
  mkdirSync(flags, { recursive: true });
  process.env["TEST_FLAGS"] = flags;
  server.execution.answers.set("GetVariable", () => ({ body: { type: "VariableResult", key: "name", value: "you" } }));
  digest = server.keep({ "d.py": DAG });
  agent = await begin((error) => failures.push(error));
});
afterAll(async () => {
  delete process.env["TEST_FLAGS"];
  await agent.stop();
  await server.stop();
  home.remove();
  expect(failures).toEqual([]);
});
afterEach(() => {
  server.refuse = () => null;
  server.done = () => undefined;
  rmSync(join(flags, "go"), { force: true });
});

const begin = (onFailure: (error: UserError) => void) =>
  startAgent({
    kit: testKit,
    paths: home.paths,
    progress: silentProgress,
    server: server.url,
    token: "secret",
    hostname: "worker-1",
    concurrency: 64,
    queues: null,
    signal: new AbortController().signal,
    onFailure,
  });

function workload(changes: Partial<Workload> = {}): Workload {
  return {
    id: newId(),
    dagId: "d",
    taskId: "says",
    runId: newId(),
    mapIndex: -1,
    tryNumber: 1,
    dagVersionId: newId(),
    queue: "remote",
    poolSlots: 1,
    priorityWeight: 1,
    executorConfig: null,
    dagRelPath: "d.py",
    bundle: { name: "dags-folder", version: null },
    archiveDigest: digest,
    environment: "default",
    ...changes,
  };
}

const go = () => writeFileSync(join(flags, "go"), "");
const lives = (id: string) => readFileSync(join(flags, id), "utf8").trim().split("\n");
const runs = (id: string) => existsSync(join(flags, id));
const logOf = (id: string) => server.logs.get(id)?.toString() ?? "";
const ended = (...ids: string[]) =>
  until("the tasks have ended", () => ids.every((id) => server.execution.exits.has(id)), 90);
const logFiles = () => readdirSync(join(home.paths.logs, "tasks"), { recursive: true });

async function waiting(): Promise<string> {
  const one = workload({ taskId: "waits" });
  server.lease(one);
  await until("the task runs", () => runs(one.id));
  return one.id;
}

describe("an agent", () => {
  it("runs a task with its files, its variables, its log and its end", async () => {
    const one = workload();
    server.lease(one);
    await ended(one.id);
    expect(server.execution.exits.get(one.id)).toMatchObject({ code: 0, taskState: null, reason: null });
    expect(server.execution.exits.get(one.id)?.process).toMatchObject({ hostname: "worker-1" });
    expect(logOf(one.id)).toContain('"event": "hello you"');
    const [xcom] = server.execution.sent("SetXCom", one.id);
    expect(xcom?.["value"]).toEqual(new RawJson('{"float": 1.0, "int": 1}' as JsonText));
    expect(server.hellos[0]).toMatchObject({ hostname: "worker-1", concurrency: 64, queues: null });
    await until("the local log is gone", () => logFiles().length === 0);
  });

  it("goes on while the server is away, and delivers what happened meanwhile", async () => {
    const all = Array.from({ length: 8 }, (_, mapIndex) => workload({ taskId: "waits", mapIndex }));
    server.lease(...all);
    await until("all run", () => all.every(({ id }) => runs(id)), 90);
    await server.stop();
    go();
    await until("all have ended while nobody heard", () => all.every(({ id }) => lives(id).length === 2));
    await server.start();
    const ids = all.map(({ id }) => id);
    await ended(...ids);
    expect(ids.map((id) => lives(id))).toEqual(ids.map(() => ["started", "ended"]));
    expect(ids.map((id) => server.execution.exits.get(id)?.code)).toEqual(ids.map(() => 0));
    expect(ids.map((id) => server.execution.sent("SucceedTask", id).length)).toEqual(ids.map(() => 1));
    for (const { id, mapIndex } of all) expect(logOf(id)).toContain(`"end of ${mapIndex}"`);
    expect(server.hellos.length).toBe(1);
  });

  it("runs once what is delivered twice, and sends again what was not answered", async () => {
    const one = workload();
    const seen = new Set<string>();
    // The first of each request is done, and its answer lost.
    server.done = (request) => {
      if (!request.includes("/tasks/") || seen.has(request)) return;
      seen.add(request);
      throw new Error("lost");
    };
    server.lease(one, one);
    await ended(one.id);
    server.lease(one);
    server.execution.onStart = (id) =>
      id === one.id ? { kind: "refused", reason: "invalid_state", previousState: "success" } : null;
    const other = workload();
    server.lease(other);
    await ended(other.id);
    expect(server.execution.pids.size).toBeGreaterThan(0);
    expect(logOf(one.id).match(/"hello you"/g)).toHaveLength(1);
    const numbers = server.requests.filter((request) => request.includes(`${one.id}/messages/`));
    expect(numbers.length).toBe(2 * new Set(numbers).size);
    server.execution.onStart = () => null;
  });

  it("ends what is not to go on, with the reason in its log", async () => {
    const [told, seen] = [await waiting(), await waiting()];
    server.ended.push({ id: told, reason: "it was cleared" });
    server.lease();
    server.verdicts.set(seen, "not_running");
    await ended(told);
    expect(server.execution.exits.get(told)?.reason).toBe("killed: it was cleared");
    expect(logOf(told)).toContain("Task is being terminated: it was cleared");
    await until("the other one is gone, too", () => !server.heartbeat.tasks.some(({ id }) => id === seen));
    expect(server.execution.exits.has(seen)).toBe(false);
  });

  it("fetches files once for all that ask, and says of those that cannot be had why", async () => {
    const version = server.keep({ "d.py": DAG, "proj/__init__.py": "" });
    const many = Array.from({ length: 10 }, () => workload({ archiveDigest: version }));
    server.lease(...many);
    await ended(...many.map(({ id }) => id));
    expect(server.requests.filter((request) => request === `GET /versions/${version}`)).toHaveLength(1);

    const gone = workload({ archiveDigest: "0".repeat(64) });
    const damaged = workload({ archiveDigest: "1".repeat(64) });
    const packages = workload({ environment: "0123456789abcdef" });
    server.versions.set("1".repeat(64), server.versions.get(version) ?? Buffer.alloc(0));
    server.lease(gone, damaged, packages);
    await ended(gone.id, damaged.id, packages.id);
    for (const [{ id }, text] of [
      [gone, "the server does not have the DAG's files any more"],
      [damaged, "the DAG's files came from the server damaged"],
      [packages, "leoflow.yaml"],
    ] as const) {
      expect(server.execution.exits.get(id)).toMatchObject({
        process: null,
        reason: expect.stringContaining(text) as string,
      });
      expect(logOf(id)).toContain(text);
    }
  });

  it("keeps a log while the server's disk is full", async () => {
    const id = await waiting();
    let full = 0;
    server.refuse = (request) => (request.startsWith("PUT") && full++ < 4 ? 507 : null);
    go();
    await ended(id);
    expect(full).toBeGreaterThan(4);
    expect(logOf(id)).toContain('"end of -1"');
  });

  it("ends what it runs when the server has given it up, or will do so soon for not hearing it, and begins anew", async () => {
    const first = await waiting();
    server.lostAfterMs = 3_000;
    let before = server.hellos.length;
    server.sessions.clear();
    await until("there is another session", () => server.hellos.length > before);
    // It ended before the new session began, and there was not a word of it.
    expect(isAlive(server.execution.pids.get(first) as number)).toBe(false);
    expect(server.execution.exits.has(first)).toBe(false);
    expect(logFiles()).toEqual([]);

    before = server.hellos.length;
    const second = await waiting();
    await server.stop();
    const pid = server.execution.pids.get(second) as number;
    await until("its process is gone", () => !isAlive(pid));
    server.lostAfterMs = 12_000;
    await server.start();
    await until("it is back", () => server.hellos.length > before);
    expect([lives(first), lives(second)]).toEqual([["started"], ["started"]]);
    const one = workload();
    server.lease(one);
    await ended(one.id);
  });

  it("gives back what it runs when it is stopped at once", async () => {
    const id = await waiting();
    const session = [...server.sessions].at(-1) ?? "";
    await agent.stop();
    expect(server.execution.exits.get(id)).toMatchObject({
      reason: "killed: Leoflow is being stopped",
      withLeoflow: true,
    });
    expect(logOf(id)).toContain("Leoflow is being stopped");
    expect(lives(id)).toEqual(["started"]);
    expect(server.sessions).not.toContain(session);
  });

  it("ends when its token is none any more, and says what to do", async () => {
    const failures: UserError[] = [];
    const other = await begin((error) => failures.push(error));
    server.refuse = () => 401;
    await until("it has failed", () => failures.length > 0);
    await other.stop();
    expect(failures[0]?.message).toContain(`does not accept this agent's token`);
    expect(failures[0]?.fix).toContain("leoflow auth create-agent-token");
    await expect(begin(() => undefined)).rejects.toThrow("does not accept this agent's token");
  });
});
