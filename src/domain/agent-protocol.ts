import type { HeartbeatAnswer, ProcessExit, StartAnswer } from "./task-execution.ts";
import type { Workload } from "./workload.ts";

/**
 * What `leoflow-agent` and a server say to each other: HTTP below `AGENT_PATH`, JSON unless stated, `Authorization: Bearer`
 * with an agent token. An agent has no database; everything it knows comes from here.
 *
 * 1. A session is one process of an agent. Task instances that it leases carry its id (`task_instance.worker_id`), and every
 *    later request about one is refused unless that is still so: what a lost agent says late changes nothing.
 * 2. A lease is a deadline, not a promise: a try that was leased and not started within `LEASE_MS` is leased to the next who asks.
 * 3. Every request may be sent again: starts, exits and log pieces are idempotent, messages are repeated under their number.
 * 4. 401: the token is none any more. 410: the session is lost, the agent ends what it runs and opens another. 404 below `/tasks/{id}`:
 *    that try is not this session's. 409: a gap in a log. 507: the server's disk is full. No answer, 429 and other 5xx: send it again.
 * 5. `DELETE {AGENT_PATH}/sessions/{sessionId}` (204): the agent has left; what it still had is lost at once.
 */
export const AGENT_PATH = "/api/leoflow/agent";

/** How long a leased try may wait for its start before another agent gets it. */
export const LEASE_MS = 15_000;
/** How often an agent tells what it runs. */
export const AGENT_HEARTBEAT_MS = 5_000;
/** A session without a sign of life for this long is lost, and what it ran runs again elsewhere: more than a network's bad half minute. */
export const AGENT_LOST_MS = 45_000;
/** How long a server holds a lease request that it has nothing for. */
export const LEASE_WAIT_MS = 20_000;
/** The longest piece of a log. */
export const LOG_PIECE_BYTES = 1024 * 1024;

/** `POST {AGENT_PATH}/sessions`. */
export interface AgentHello {
  hostname: string;
  pid: number;
  unixname: string;
  /** Version of leoflow-agent. */
  version: string;
  /** Tasks at a time. */
  concurrency: number;
  /** Those of the token it wants to serve; null: all of them. */
  queues: string[] | null;
}

export interface AgentWelcome {
  sessionId: string;
  /** The token's name. */
  agent: string;
  queues: string[];
  serverVersion: string;
  /** The server's `AGENT_LOST_MS`. An agent that was not answered for so long ends what it runs: it may run elsewhere by then. */
  lostAfterMs: number;
}

/**
 * `POST {AGENT_PATH}/sessions/{sessionId}/lease`: waits up to `LEASE_WAIT_MS` for something to do. Also a sign of life. The
 * newer of two requests of one session ends the older one with an empty answer.
 */
export interface LeaseRequest {
  /** How many more tasks it can take; 0 waits for `ended` alone. */
  free: number;
}

export interface LeaseAnswer {
  workloads: Workload[];
  /** Tries to end, and why, in words for their logs: cleared, marked, timed out. */
  ended: { id: string; reason: string }[];
}

/** `POST {AGENT_PATH}/sessions/{sessionId}/heartbeat`: a sign of life of the session and of every task it runs. */
export interface AgentHeartbeat {
  /** pid null: leased and not started yet (files, packages, Python are being made ready), which renews the lease. */
  tasks: { id: string; pid: number | null }[];
}

export interface AgentHeartbeatAnswer {
  /** Those that are not to go on. */
  ended: { id: string; answer: Exclude<HeartbeatAnswer, "alive"> }[];
}

/** `POST {AGENT_PATH}/sessions/{sessionId}/tasks/{id}/start` with hostname and user of the session. */
export interface AgentStart {
  pid: number;
  startDate: string;
}

export type AgentStartAnswer = StartAnswer;

/**
 * `POST {AGENT_PATH}/sessions/{sessionId}/tasks/{id}/messages/{number}`: a request of the task's process as it was sent, one msgpack
 * frame body (`application/msgpack`); the answer is the reply frame's body. `number` counts the requests of a session's tasks: a
 * repeated one is answered again without being done again, where doing it twice would differ.
 */
export const MESSAGE_TYPE = "application/msgpack";

// `POST {AGENT_PATH}/sessions/{sessionId}/messages`: the same for a DAG file that is imported on an agent, before any task: what it
// asks for (Variables, Connections), answered as for a parse.

/** `POST {AGENT_PATH}/sessions/{sessionId}/tasks/{id}/exit`: 204. */
export type AgentExit = ProcessExit;

/**
 * `PUT {AGENT_PATH}/sessions/{sessionId}/tasks/{id}/log?offset=N`: bytes of the try's log from N on. Bytes that the server has are
 * passed over; a gap is 409 with the size it has. What was acknowledged is in the server's file. An agent begins with an empty piece at
 * 0, and goes on from the size it is told: a try that was deferred has a log already.
 */
export interface LogAnswer {
  size: number;
}

/**
 * `GET {AGENT_PATH}/versions/{digest}`: the files of a DAG version as a gzipped tar archive, its `.leoflow-version.json` among them;
 * `digest` is Workload.archiveDigest.
 */
export const VERSION_TYPE = "application/gzip";
