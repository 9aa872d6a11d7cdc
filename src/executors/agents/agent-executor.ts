import {
  AGENT_LOST_MS,
  LEASE_MS,
  LEASE_WAIT_MS,
  type AgentHeartbeat,
  type AgentHeartbeatAnswer,
  type LeaseAnswer,
} from "../../domain/agent-protocol.ts";
import type { Executor, Workload } from "../../domain/workload.ts";
import { Batcher } from "../../kit/batcher.ts";
import { addMicros, type Instant } from "../../kit/instant.ts";
import type { Kit, Service } from "../../kit/service.ts";
import { recordBeats, type Beat, type BeatAnswer } from "../../store/agent-tries.ts";
import { agentQueues, closeSession, endSilentSessions } from "../../store/agents.ts";
import type { OpenDatabase } from "../../store/database.ts";
import { LeaseDesk } from "./lease-desk.ts";

export interface AgentExecutorConfig {
  leaseMs: number;
  waitMs: number;
  lostMs: number;
}

const DEFAULTS: AgentExecutorConfig = { leaseMs: LEASE_MS, waitMs: LEASE_WAIT_MS, lostMs: AGENT_LOST_MS };

/** Heartbeats of this time go into one statement: a hundred agents send twenty a second. */
const HEARTBEAT_LINGER_MS = 50;

/** A tick that comes later than this was kept from it: three are missing. */
const SLEPT_MS = 15_000;

/** Who asks: a session, and the token it was opened with. */
export interface SessionKey {
  sessionId: string;
  jti: string;
}

/**
 * Runs the tasks of some queues on agents. What is queued and who has it are rows; in memory is only who waits, and which session
 * was last seen with which try, so that a kill reaches it at once (its next heartbeat tells it in any case).
 */
export class AgentExecutor implements Executor, Service {
  readonly #kit: Kit;
  readonly #database: Pick<OpenDatabase, "db" | "pool">;
  readonly #config: AgentExecutorConfig;
  readonly #desk: LeaseDesk;
  /** Of those that ask for work. */
  readonly #askers: Batcher<Beat, BeatAnswer | null>;
  readonly #beats: Batcher<Beat, BeatAnswer | null>;
  /** Which session has which try. */
  readonly #sessionOf = new Map<string, string>();
  /** What a session that does not wait just now is to be told: why a try of it ends. */
  readonly #ends = new Map<string, Map<string, string>>();
  /** Queues that agents serve, and how many sessions each has. */
  #queues: ReadonlyMap<string, number> = new Map();
  /** Since when signs of life could reach us without a break. */
  #listeningSince: Instant | null = null;
  #lastTick: Instant | null = null;

  constructor(kit: Kit, database: Pick<OpenDatabase, "db" | "pool">, config: Partial<AgentExecutorConfig> = {}) {
    this.#kit = kit;
    this.#database = database;
    this.#config = { ...DEFAULTS, ...config };
    this.#desk = new LeaseDesk(
      kit,
      { pool: database.pool, onLease: (sessionId, id) => this.#sessionOf.set(id, sessionId) },
      this.#config,
    );
    this.#askers = new Batcher((beats) => this.#record(beats));
    this.#beats = new Batcher((beats) => this.#record(beats), HEARTBEAT_LINGER_MS);
  }

  async start(): Promise<void> {
    this.#listeningSince = this.#kit.clock.now();
    await this.refresh();
  }

  async stop(): Promise<void> {
    await this.#desk.stop();
  }

  /** They are queued already: agents that wait hear of it. */
  enqueue(workloads: readonly Workload[]): void {
    this.#desk.wake(new Set(workloads.map(({ queue }) => queue)));
  }

  terminate(ids: readonly string[], reason: string): void {
    for (const id of ids) {
      const sessionId = this.#sessionOf.get(id);
      if (sessionId === undefined) continue;
      if (this.#desk.answer(sessionId, { workloads: [], ended: [{ id, reason }] })) continue;
      const ends = this.#ends.get(sessionId) ?? new Map<string, string>();
      this.#ends.set(sessionId, ends.set(id, reason));
    }
  }

  held(): ReadonlySet<string> {
    return new Set(this.#sessionOf.keys());
  }

  /** Whether tasks of this queue are for agents alone: a valid token names it. */
  serves(queue: string): boolean {
    return this.#queues.has(queue);
  }

  counts(): { sessions: number; waiting: number; running: number } {
    return {
      sessions: this.#sessions,
      waiting: this.#desk.size,
      running: this.#sessionOf.size,
    };
  }

  #sessions = 0;

  /** Reads which queues agents serve: after a change of tokens or sessions that others cannot wait for, and on the slow tick. */
  async refresh(): Promise<void> {
    const { queues, sessions } = await agentQueues(this.#database.db, this.#kit.clock.now());
    this.#queues = new Map(queues.map(({ queue, sessions }) => [queue, sessions]));
    this.#sessions = sessions;
  }

  /** Tokens were changed: what waits under one that is gone is sent away. */
  async tokensChanged(): Promise<void> {
    await this.refresh();
    await this.#desk.dropEnded();
  }

  /** The slow tick: what was changed by others, sessions that fell silent, leases that have run out. */
  async runOnce(): Promise<void> {
    await this.refresh();
    const now = this.#kit.clock.now();
    // While Leoflow was not there, or its machine slept, nobody could give it a sign of life.
    const sleptMs = Math.max(this.#config.lostMs / 2, SLEPT_MS);
    const slept = this.#lastTick !== null && this.#lastTick < addMicros(now, -sleptMs * 1_000);
    this.#lastTick = now;
    if (slept) this.#listeningSince = now;
    const before = addMicros(now, -this.#config.lostMs * 1_000);
    if (this.#listeningSince !== null && before >= this.#listeningSince) {
      for (const id of await endSilentSessions(this.#database.pool, before)) this.#forget(id);
    }
    await this.#desk.dropEnded();
    if (this.#queues.size > 0) this.#desk.wake(null);
  }

  /** Waits for work; also a sign of life. null: the session is over. */
  async lease(session: SessionKey, free: number, signal: AbortSignal): Promise<LeaseAnswer | null> {
    const { sessionId } = session;
    const beat = await this.#askers.run({ ...session, tasks: [] });
    if (!beat) return null;
    const waited = this.#desk.wait({ sessionId, queues: beat.queues, free }, signal);
    const ends = this.#ends.get(sessionId);
    if (ends && this.#ends.delete(sessionId)) {
      const ended = [...ends].map(([id, reason]) => ({ id, reason }));
      this.#desk.answer(sessionId, { workloads: [], ended });
    }
    return await waited;
  }

  /** null: the session is over. */
  async heartbeat(session: SessionKey, tasks: AgentHeartbeat["tasks"]): Promise<AgentHeartbeatAnswer | null> {
    const beat = await this.#beats.run({ ...session, tasks });
    if (!beat) return null;
    for (const { id } of tasks) this.#sessionOf.set(id, session.sessionId);
    for (const { id } of beat.ended) this.exited(session.sessionId, id);
    return { ended: beat.ended };
  }

  /** This session has nothing to do with this try any more. */
  exited(sessionId: string, id: string): void {
    if (this.#sessionOf.get(id) === sessionId) this.#sessionOf.delete(id);
    this.#ends.get(sessionId)?.delete(id);
  }

  /** The agent leaves. False: the session was over. */
  async close({ sessionId, jti }: SessionKey): Promise<boolean> {
    if (!(await closeSession(this.#database.pool, sessionId, jti))) return false;
    this.#forget(sessionId);
    await this.refresh();
    this.#desk.wake(null);
    return true;
  }

  #forget(sessionId: string): void {
    this.#desk.answer(sessionId, null);
    this.#ends.delete(sessionId);
    for (const [id, owner] of this.#sessionOf) if (owner === sessionId) this.#sessionOf.delete(id);
  }

  async #record(beats: readonly Beat[]): Promise<(BeatAnswer | null)[]> {
    const now = this.#kit.clock.now();
    const at = { now, leaseUntil: addMicros(now, this.#config.leaseMs * 1_000) };
    // One statement may touch a session once.
    const rounds: Beat[][] = [];
    const nth = new Map<string, number>();
    for (const beat of beats) {
      const round = nth.get(beat.sessionId) ?? 0;
      nth.set(beat.sessionId, round + 1);
      (rounds[round] ??= []).push(beat);
    }
    const answers = new Map<Beat, BeatAnswer | null>();
    for (const round of rounds) {
      const told = await recordBeats(this.#database.pool, round, at);
      for (const [index, beat] of round.entries()) answers.set(beat, told[index] ?? null);
    }
    return beats.map((beat) => answers.get(beat) ?? null);
  }
}
