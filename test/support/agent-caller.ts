import { expect } from "vitest";
import {
  AGENT_PATH,
  type AgentExit,
  type AgentHeartbeatAnswer,
  type AgentWelcome,
  type LeaseAnswer,
} from "../../src/domain/agent-protocol.ts";
import type { StartAnswer, ToSupervisor } from "../../src/domain/task-execution.ts";
import { decodeReply, encodeRequest } from "../../src/domain/task-frame.ts";
import type { Instant } from "../../src/kit/instant.ts";

export interface Call {
  method?: string;
  token?: string;
  body?: unknown;
  bytes?: Buffer;
}

/** A request of anybody's. */
export async function call(url: string, { method = "POST", token, body, bytes }: Call = {}) {
  const answer = await fetch(url, {
    method,
    headers: {
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      "content-type": bytes ? "application/octet-stream" : "application/json",
    },
    ...(bytes ? { body: new Uint8Array(bytes) } : body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: answer.status, bytes: Buffer.from(await answer.arrayBuffer()) };
}

export async function callForJson<T>(url: string, options: Call = {}): Promise<{ status: number; body: T }> {
  const { status, bytes } = await call(url, options);
  return { status, body: (bytes.length > 0 ? JSON.parse(bytes.toString()) : null) as T };
}

export const HELLO = { hostname: "far", unixname: "leo", pid: 7, version: "1.0", concurrency: 4, queues: null };

/** An agent as a server sees one: each of its requests, and nothing that runs tasks. */
export class AgentCaller {
  readonly token: string;
  readonly #server: { base: () => string; now: () => Instant };
  sessionId = "";

  /** `base` may be another after a restart. */
  constructor(token: string, server: { base: () => string; now: () => Instant }) {
    this.token = token;
    this.#server = server;
  }

  async hello(): Promise<this> {
    const { status, body } = await callForJson<AgentWelcome>(`${this.#server.base()}${AGENT_PATH}/sessions`, {
      token: this.token,
      body: HELLO,
    });
    expect(status).toBe(201);
    this.sessionId = body.sessionId;
    return this;
  }

  url(path: string): string {
    return `${this.#server.base()}${AGENT_PATH}/sessions/${this.sessionId}${path}`;
  }

  /** Below this agent's session. */
  ask<T = unknown>(path: string, options: Call = {}) {
    return callForJson<T>(this.url(path), { token: this.token, ...options });
  }

  async lease(free: number): Promise<LeaseAnswer> {
    const { status, body } = await this.ask<LeaseAnswer>("/lease", { body: { free } });
    expect(status).toBe(200);
    return body;
  }

  async leased(free: number): Promise<string[]> {
    return (await this.lease(free)).workloads.map(({ id }) => id);
  }

  start(id: string, pid = 11) {
    return this.ask<StartAnswer>(`/tasks/${id}/start`, { body: { pid, startDate: this.#server.now() } });
  }

  async message(id: string, number: number, message: ToSupervisor) {
    const url = this.url(`/tasks/${id}/messages/${number}`);
    const { status, bytes } = await call(url, { token: this.token, bytes: encodeRequest(number, message) });
    return { status, reply: status === 200 ? decodeReply(bytes).reply : null };
  }

  exit(id: string, over: Partial<AgentExit> = {}) {
    const exit = { process: { hostname: "far", pid: 11 }, code: 0, signal: null, taskState: null, reason: null };
    return this.ask(`/tasks/${id}/exit`, { body: { ...exit, endDate: this.#server.now(), ...over } });
  }

  heartbeat(...tasks: { id: string; pid: number | null }[]) {
    return this.ask<AgentHeartbeatAnswer>("/heartbeat", { body: { tasks } });
  }

  log(id: string, offset: number, text: string) {
    return this.ask<{ size: number }>(`/tasks/${id}/log?offset=${offset}`, { method: "PUT", bytes: Buffer.from(text) });
  }
}
