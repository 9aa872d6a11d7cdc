import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { gzipSync } from "node:zlib";
import { encodeHeader, padding } from "../../src/kit/tar/tar-format.ts";
import {
  AGENT_PATH,
  AGENT_LOST_MS,
  type AgentHello,
  type AgentHeartbeat,
  type LeaseAnswer,
  type LeaseRequest,
} from "../../src/domain/agent-protocol.ts";
import type { ProcessExit, WorkerProcess } from "../../src/domain/task-execution.ts";
import { decodeRequest, encodeReply } from "../../src/domain/task-frame.ts";
import type { Workload } from "../../src/domain/workload.ts";
import { newId } from "../../src/kit/ids.ts";
import { digestOf, VERSION_MANIFEST } from "../../src/lite/workspace/version-archive.ts";
import { RecordingExecution } from "./python.ts";

/** The server's side of src/domain/agent-protocol.ts without a scheduler or a database: what tests put into it is leased. */
export class AgentServer {
  readonly execution = new RecordingExecution();
  readonly hellos: AgentHello[] = [];
  readonly sessions = new Set<string>();
  /** What agents are to run. */
  readonly queued: Workload[] = [];
  readonly ended: LeaseAnswer["ended"] = [];
  readonly logs = new Map<string, Buffer>();
  readonly versions = new Map<string, Buffer>();
  /** "POST /sessions", "PUT /sessions/x/tasks/y/log", … as they came. */
  readonly requests: string[] = [];
  heartbeat: AgentHeartbeat = { tasks: [] };
  verdicts = new Map<string, "gone" | "not_running">();
  lostAfterMs = AGENT_LOST_MS;
  /** Answers a request with this status instead. */
  refuse: (request: string) => number | null = () => null;
  /** Called where a request has been done, before it is answered. */
  done: (request: string) => Promise<void> | void = () => undefined;
  #server: Server | null = null;
  #port = 0;
  #wake: (() => void)[] = [];

  get url(): URL {
    return new URL(`http://127.0.0.1:${this.#port}`);
  }

  /** Again on the same port after a `stop`. */
  async start(): Promise<this> {
    const server = createServer((request, response) => {
      this.#answer(request, response).catch((error: unknown) => {
        response.writeHead(500).end(JSON.stringify({ detail: String(error) }));
      });
    });
    await new Promise<void>((resolve) => server.listen(this.#port, "127.0.0.1", resolve));
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
    return this;
  }

  /** As a server that is killed: connections break. */
  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    server?.closeAllConnections();
    await new Promise<void>((resolve) => (server ? server.close(() => resolve()) : resolve()));
  }

  lease(...workloads: Workload[]): void {
    this.queued.push(...workloads);
    for (const wake of this.#wake.splice(0)) wake();
  }

  /** A DAG version of these files; returns its digest. */
  keep(files: Record<string, string>, manifest: object = {}): string {
    const pinned = Object.entries(files).map(([path, text]): [string, string] => [path, sha256(text)]);
    const digest = digestOf(pinned);
    const all = { projectFolder: null, overlay: null, ...manifest, pinned };
    this.versions.set(digest, tarOf({ ...files, [VERSION_MANIFEST]: JSON.stringify(all) }));
    return digest;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://x");
    const path = url.pathname.slice(AGENT_PATH.length);
    const name = `${request.method ?? ""} ${path}`;
    this.requests.push(name);
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    const refused = this.refuse(name);
    const answer = refused === null ? await this.#route(name, path, url, body) : { status: refused };
    await this.done(name);
    const { status = 200, json, bytes } = answer;
    response.writeHead(status, { "content-type": bytes ? "application/octet-stream" : "application/json" });
    response.end(bytes ?? (json === undefined ? undefined : JSON.stringify(json)));
  }

  async #route(name: string, path: string, url: URL, body: Buffer): Promise<Reaction> {
    const [, kind, session = "", area, id = "", what, number] = path.split("/");
    const json = <T>() => JSON.parse(body.toString("utf8")) as T;
    if (kind === "versions") return this.#version(session);
    if (name === "POST /sessions") {
      const sessionId = newId();
      this.hellos.push(json<AgentHello>());
      this.sessions.add(sessionId);
      const { lostAfterMs } = this;
      return { json: { sessionId, agent: "test", queues: ["remote"], serverVersion: "0", lostAfterMs } };
    }
    if (!this.sessions.has(session)) return { status: 410, json: { detail: "lost" } };
    if (area === undefined) {
      this.sessions.delete(session);
      return { status: 204 };
    }
    if (area === "lease") return { json: await this.#lease(json<LeaseRequest>().free) };
    if (area === "heartbeat") {
      this.heartbeat = json<AgentHeartbeat>();
      const ended = this.heartbeat.tasks.flatMap((one) => {
        const answer = this.verdicts.get(one.id);
        return answer ? [{ id: one.id, answer }] : [];
      });
      return { json: { ended } };
    }
    if (area === "messages" || what === "messages") {
      const frame = decodeRequest(body);
      const reply = await this.execution.handle(area === "messages" ? "import" : id, frame.message ?? { type: "" });
      return { bytes: encodeReply(Number(number ?? 0), reply).subarray(4) };
    }
    if (what === "start") return { json: await this.execution.start(id, json<WorkerProcess>()) };
    if (what === "exit") {
      await this.execution.exited(id, json<ProcessExit>());
      return { status: 204 };
    }
    return this.#log(id, Number(url.searchParams.get("offset")), body);
  }

  async #lease(free: number): Promise<LeaseAnswer> {
    for (const wake of this.#wake.splice(0)) wake();
    if (this.ended.length === 0 && (free === 0 || this.queued.length === 0)) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 500);
        this.#wake.push(() => (clearTimeout(timer), resolve()));
      });
    }
    return { workloads: this.queued.splice(0, free), ended: this.ended.splice(0) };
  }

  #log(id: string, offset: number, bytes: Buffer): Reaction {
    const log = this.logs.get(id) ?? Buffer.alloc(0);
    if (offset > log.length) return { status: 409, json: { size: log.length } };
    const fresh = bytes.subarray(log.length - offset);
    this.logs.set(id, Buffer.concat([log, fresh]));
    return { json: { size: log.length + fresh.length } };
  }

  #version(digest: string): Reaction {
    const bytes = this.versions.get(digest);
    return bytes ? { bytes } : { status: 404, json: { detail: "no such version" } };
  }
}

interface Reaction {
  status?: number;
  json?: unknown;
  bytes?: Buffer;
}

export function tarOf(files: Record<string, string>): Buffer {
  const parts = Object.entries(files).flatMap(([name, text]) => {
    const content = Buffer.from(text);
    const header = encodeHeader({ name, type: "file", mode: 0o644, mtimeUs: 0, size: content.length });
    return [header, content, padding(content.length)];
  });
  return gzipSync(Buffer.concat([...parts, Buffer.alloc(1024)]));
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
