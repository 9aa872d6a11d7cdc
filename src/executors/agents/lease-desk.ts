import type { LeaseAnswer } from "../../domain/agent-protocol.ts";
import { addMicros } from "../../kit/instant.ts";
import { Rounds } from "../../kit/rounds.ts";
import type { Kit } from "../../kit/service.ts";
import { leaseTries, livingSessions, releaseLeases } from "../../store/agent-tries.ts";
import type { OpenDatabase } from "../../store/database.ts";

/** How many tries are asked for in one statement, whoever waits. */
const ROOM_AT_MOST = 256;
const RETRY_MS = 1_000;

/** An agent session that waits for work. */
interface Waiting {
  sessionId: string;
  queues: readonly string[];
  free: number;
  /** null: the session is over. */
  finish: (answer: LeaseAnswer | null) => void;
}

export interface LeaseDeskConfig {
  leaseMs: number;
  /** How long a session is kept waiting. */
  waitMs: number;
}

/**
 * Where agent sessions wait for work. The rows are the truth, this is who to wake:
 * 1. A session waits once; its newer request ends the older.
 * 2. Statements are made one at a time for all that wait, when something was queued, someone came, or the slow tick says so.
 * 3. What was leased for a session that is not there any more is given back.
 */
export class LeaseDesk {
  readonly #kit: Kit;
  readonly #pool: OpenDatabase["pool"];
  readonly #config: LeaseDeskConfig;
  readonly #onLease: (sessionId: string, id: string) => void;
  /** By session; the longest waiting first. */
  readonly #waiting = new Map<string, Waiting>();
  /** Queues that may have something; null: any. */
  #woken: Set<string> | null = new Set();
  /** Those that have not been asked for since they came. */
  readonly #fresh = new Set<Waiting>();
  readonly #rounds = new Rounds<"all">(() => this.#round());
  #stopped = false;

  constructor(
    kit: Kit,
    deps: { pool: OpenDatabase["pool"]; onLease: (sessionId: string, id: string) => void },
    config: LeaseDeskConfig,
  ) {
    this.#kit = kit;
    this.#pool = deps.pool;
    this.#onLease = deps.onLease;
    this.#config = config;
  }

  get size(): number {
    return this.#waiting.size;
  }

  /** Waits for work. `signal` says that nobody waits for the answer any more. null: the session is over. */
  wait(
    session: { sessionId: string; queues: readonly string[]; free: number },
    signal: AbortSignal,
  ): Promise<LeaseAnswer | null> {
    return new Promise((resolve) => {
      this.answer(session.sessionId, nothing());
      if (this.#stopped || signal.aborted) return resolve(nothing());
      const gone = () => finish(nothing());
      const finish = (answer: LeaseAnswer | null): void => {
        clearTimeout(timer);
        signal.removeEventListener("abort", gone);
        this.#fresh.delete(waiting);
        if (this.#waiting.get(session.sessionId) === waiting) this.#waiting.delete(session.sessionId);
        resolve(answer);
      };
      const timer = setTimeout(gone, this.#config.waitMs);
      signal.addEventListener("abort", gone);
      const waiting: Waiting = { ...session, finish };
      this.#waiting.set(session.sessionId, waiting);
      if (session.free === 0) return;
      this.#fresh.add(waiting);
      this.#rounds.ask("all");
    });
  }

  /** Answers a session if it waits; false when it does not. */
  answer(sessionId: string, answer: LeaseAnswer | null): boolean {
    const waiting = this.#waiting.get(sessionId);
    waiting?.finish(answer);
    return waiting !== undefined;
  }

  /** Something may be there for who serves one of these queues; null: for anyone. */
  wake(queues: Iterable<string> | null): void {
    if (queues === null) this.#woken = null;
    else for (const queue of queues) this.#woken?.add(queue);
    if (this.#waiting.size > 0) this.#rounds.ask("all");
  }

  /** Tells those that wait under a session that is over. */
  async dropEnded(): Promise<void> {
    if (this.#waiting.size === 0) return;
    const ids = [...this.#waiting.keys()];
    const living = await livingSessions(this.#pool, ids);
    for (const id of ids) if (!living.has(id)) this.answer(id, null);
  }

  /** Everyone goes with an empty answer; nobody waits from now on. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const { finish } of [...this.#waiting.values()]) finish(nothing());
    await this.#rounds.settled();
  }

  async #round(): Promise<void> {
    const woken = this.#woken;
    this.#woken = new Set();
    const groups = new Map<string, Waiting[]>();
    const asked = woken?.size === 0 ? [...this.#fresh] : this.#waiting.values();
    for (const waiting of asked) {
      const isDue = this.#fresh.has(waiting) || woken === null || waiting.queues.some((queue) => woken.has(queue));
      if (waiting.free === 0 || !isDue) continue;
      const key = JSON.stringify(waiting.queues);
      groups.set(key, [...(groups.get(key) ?? []), waiting]);
    }
    this.#fresh.clear();
    try {
      for (const group of groups.values()) await this.#serve(group);
    } catch (error) {
      this.#kit.logger.warn({ err: error }, "could not lease tasks to agents; trying again");
      setTimeout(() => this.wake(null), RETRY_MS).unref();
    }
  }

  /** Gives sessions that serve the same queues what there is, until it or their room is used up. */
  async #serve(group: readonly Waiting[]): Promise<void> {
    for (let next = 0; next < group.length;) {
      const asking: Waiting[] = [];
      let room = 0;
      for (; next < group.length && room < ROOM_AT_MOST; next++) {
        const waiting = group[next] as Waiting;
        if (!this.#isHere(waiting)) continue;
        asking.push(waiting);
        room += waiting.free;
      }
      if (asking.length === 0 || (await this.#lease(asking)) < room) return;
    }
  }

  /** Returns how many were leased. */
  async #lease(asking: readonly Waiting[]): Promise<number> {
    const now = this.#kit.clock.now();
    const sessions = asking.map(({ sessionId, free }) => ({ id: sessionId, free }));
    const leases = await leaseTries(this.#pool, sessions, asking[0]?.queues ?? [], {
      now,
      until: addMicros(now, this.#config.leaseMs * 1_000),
    });
    for (const waiting of asking) {
      const workloads = leases.flatMap(({ sessionId, workload }) =>
        sessionId === waiting.sessionId ? [workload] : [],
      );
      if (workloads.length === 0) continue;
      if (this.#isHere(waiting)) {
        for (const { id } of workloads) this.#onLease(waiting.sessionId, id);
        waiting.finish({ workloads, ended: [] });
      } else {
        await releaseLeases(
          this.#pool,
          waiting.sessionId,
          workloads.map(({ id }) => id),
        );
        this.wake(waiting.queues);
      }
    }
    return leases.length;
  }

  #isHere(waiting: Waiting): boolean {
    return this.#waiting.get(waiting.sessionId) === waiting;
  }
}

function nothing(): LeaseAnswer {
  return { workloads: [], ended: [] };
}
