import { appendFileSync, existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { AgentServer } from "../../test/support/agent-server.ts";
import { testKit } from "../../test/support/python.ts";
import { until } from "../../test/support/until.ts";
import { taskLogPath, type Workload } from "../domain/workload.ts";
import { LogShipper } from "./log-shipper.ts";
import { ServerClient } from "./server-client.ts";
import { openSession, type Session } from "./session.ts";

const one = { id: "t1", dagId: "d", runId: "r", taskId: "t", mapIndex: -1, tryNumber: 1 } as Workload;
const HELLO = { hostname: "h", pid: 1, unixname: "u", version: "0", concurrency: 1, queues: null };

let server: AgentServer;
let client: ServerClient;
let session: Session;
let shipper: LogShipper;
let logsDir: string;
let file: string;

beforeEach(async () => {
  server = await new AgentServer().start();
  client = new ServerClient(testKit, { server: server.url, token: "x" });
  session = await openSession(client, HELLO, new AbortController().signal, () => undefined);
  logsDir = mkdtempSync(join(tmpdir(), "leoflow-logs-"));
  file = join(logsDir, taskLogPath(one, 1));
  mkdirSync(dirname(file), { recursive: true });
  shipper = new LogShipper(testKit, client, { logsDir, fullPatienceMs: 300 });
  shipper.open(one, session);
});
afterEach(async () => {
  await shipper.close(one.id);
  client.close();
  await server.stop();
  rmSync(logsDir, { recursive: true });
});

const shipped = () => server.logs.get(one.id)?.toString() ?? "";
const lines = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, i) => `line ${from + i} ${"x".repeat(90)}\n`).join("");

describe("a task's log", () => {
  it("is shipped while it is written, and is whole when it is finished", async () => {
    appendFileSync(file, lines(0, 10));
    await until("it is there before the end", () => shipped() === lines(0, 10));
    appendFileSync(file, lines(10, 20_000));
    await shipper.finish(one.id);
    expect(shipped()).toBe(lines(0, 20_000));
    await shipper.close(one.id);
    expect(existsSync(join(logsDir, "dag_id=d"))).toBe(false);
  });

  it("goes on behind what the server has of the try's first part", async () => {
    server.logs.set(one.id, Buffer.from("before the deferral\n"));
    appendFileSync(file, lines(0, 3));
    await shipper.finish(one.id);
    expect(shipped()).toBe(`before the deferral\n${lines(0, 3)}`);
  });

  it("is neither cut nor doubled by answers that are lost and servers that are away", async () => {
    let count = 0;
    server.done = (request) => {
      if (request.startsWith("PUT") && count++ % 2 === 0) throw new Error("lost");
    };
    appendFileSync(file, lines(0, 10_000));
    const finished = shipper.finish(one.id);
    await until("a part is there", () => shipped().length > 0);
    await server.stop();
    appendFileSync(file, lines(10_000, 12_000));
    await server.start();
    await finished;
    await shipper.finish(one.id);
    expect(shipped()).toBe(lines(0, 12_000));
  });

  it("begins anew where the server lost its file", async () => {
    appendFileSync(file, lines(0, 5));
    await shipper.finish(one.id);
    server.logs.clear();
    appendFileSync(file, lines(5, 6));
    await shipper.finish(one.id);
    expect(shipped()).toBe(lines(0, 6));
  });

  it("waits for a full disk, but does not keep the task's end for ever: what was acknowledged stays", async () => {
    appendFileSync(file, lines(0, 5));
    await until("it is there", () => shipped() === lines(0, 5));
    server.refuse = (request) => (request.startsWith("PUT") ? 507 : null);
    appendFileSync(file, lines(5, 10));
    await shipper.finish(one.id);
    expect(shipped()).toBe(lines(0, 5));
    server.refuse = () => null;
    await shipper.finish(one.id);
    expect(shipped()).toBe(lines(0, 10));
  });

  it("ends with its session", async () => {
    await server.stop();
    appendFileSync(file, lines(0, 5));
    const finished = shipper.finish(one.id);
    session.end("lost");
    await finished;
    expect(shipped()).toBe("");
  });
});
