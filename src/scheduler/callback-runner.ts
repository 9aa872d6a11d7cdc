import type { CallbackHost, CallbackOutcome, DueCallback } from "../domain/callback.ts";
import { callbackLogPath } from "../domain/callback.ts";
import type { EventBus } from "../domain/events.ts";
import { addMicros } from "../kit/instant.ts";
import { Rounds } from "../kit/rounds.ts";
import type { Kit, Service } from "../kit/service.ts";
import {
  adoptCallbacks,
  auditCallback,
  finishCallback,
  releaseForgotten,
  retryCallback,
  takeCallbacks,
} from "../store/callbacks.ts";
import type { Database } from "../store/database.ts";

export interface CallbackRunnerDeps {
  db: Database;
  bus: EventBus;
  host: CallbackHost;
}

export interface CallbackRunnerConfig {
  /** So many of each type run at a time: one that never ends keeps few others waiting, and no task. */
  parallelism: number;
  /** A callback whose process was lost is begun so often at most. */
  attempts: number;
  retryMs: number;
}

export const DEFAULT_CALLBACK_RUNNER: CallbackRunnerConfig = { parallelism: 4, attempts: 3, retryMs: 2_000 };

const FORGOTTEN_MICROS = 60_000_000;
const TYPES = ["dag_processor", "executor"] as const;

/**
 * Runs the callbacks that wait in the store, each in a process of its own.
 *
 * 1. A callback is in the store from the transaction that gave reason for it until it has run, so it outlives any of us.
 * 2. What a Leoflow before has begun is begun again: a callback may run twice then, never not at all.
 * 3. One that raises or takes too long is done with, as in Airflow; one whose process was lost is tried again a few times.
 */
export class CallbackRunner implements Service {
  readonly #kit: Kit;
  readonly #deps: CallbackRunnerDeps;
  readonly #config: CallbackRunnerConfig;
  readonly #running = { dag_processor: new Set<Promise<void>>(), executor: new Set<Promise<void>>() };
  readonly #timers = new Set<NodeJS.Timeout>();
  #unsubscribe: (() => void) | null = null;
  readonly #rounds = new Rounds<"all">(() => this.#take());
  #stopped = true;

  constructor(kit: Kit, deps: CallbackRunnerDeps, config: CallbackRunnerConfig = DEFAULT_CALLBACK_RUNNER) {
    this.#kit = kit;
    this.#deps = deps;
    this.#config = config;
  }

  async start(): Promise<void> {
    const adopted = await adoptCallbacks(this.#deps.db, this.#kit.clock.now());
    if (adopted > 0) this.#kit.logger.info({ adopted }, "took up the callbacks of a Leoflow that ended");
    this.#stopped = false;
    this.#unsubscribe = this.#deps.bus.on("callback", () => this.#look());
    this.#look();
  }

  /** Begins no more. What runs ends with Python, and is begun again by the next start. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#unsubscribe?.();
    for (const timer of this.#timers) clearTimeout(timer);
    await this.#rounds.settled();
  }

  /** The backstop: finds what an event missed. */
  async runOnce(): Promise<void> {
    const now = this.#kit.clock.now();
    await releaseForgotten(this.#deps.db, addMicros(now, -FORGOTTEN_MICROS), now);
    this.#look();
  }

  /** Resolves when nothing runs and nothing waits. For tests. */
  async settled(): Promise<void> {
    for (;;) {
      await this.#rounds.settled();
      const running = [...this.#running.dag_processor, ...this.#running.executor];
      if (running.length === 0) return;
      await Promise.all(running);
    }
  }

  #look(): void {
    if (!this.#stopped) this.#rounds.ask("all");
  }

  async #take(): Promise<void> {
    const now = this.#kit.clock.now();
    try {
      for (const type of TYPES) {
        const limit = this.#config.parallelism - this.#running[type].size;
        if (limit <= 0 || this.#stopped) continue;
        for (const one of await takeCallbacks(this.#deps.db, { type, limit, now })) {
          this.#run({ ...one, logPath: callbackLogPath(one, now.slice(0, 10)) });
        }
      }
    } catch (error) {
      this.#kit.logger.error({ err: error }, "callbacks could not be read; they are looked for again");
    }
  }

  #run(callback: DueCallback): void {
    const running = this.#running[callback.type];
    const work = this.#settle(callback)
      .catch((error: unknown) => {
        this.#kit.logger.error({ err: error, callback: callback.id }, "what came of a callback could not be stored");
      })
      .finally(() => {
        running.delete(work);
        this.#look();
      });
    running.add(work);
  }

  async #settle(callback: DueCallback): Promise<void> {
    const { db } = this.#deps;
    const outcome = await this.#outcomeOf(callback);
    // Python ended because we do: the next start begins it again.
    if (this.#stopped && outcome.kind === "lost") return;
    const now = this.#kit.clock.now();
    if (outcome.kind === "lost" && callback.attempt < this.#config.attempts) {
      this.#kit.logger.warn({ ...named(callback), reason: outcome.reason }, "a callback is tried again");
      await this.#pause();
      await retryCallback(db, callback.id, now);
      return;
    }
    const problem = problemOf(outcome);
    if (problem) {
      this.#kit.logger.warn({ ...named(callback), problem, log: callback.logPath }, "a callback failed");
      await auditCallback(db, callback.id, {
        event: outcome.kind === "timed-out" ? "callback timed out" : "callback failed",
        extra: `${problem} (log: ${callback.logPath})`,
      });
    }
    await finishCallback(db, callback, { state: problem ? "failed" : "success", output: problem, now });
  }

  /** One that takes Leoflow down with it is not begun for ever. */
  async #outcomeOf(callback: DueCallback): Promise<CallbackOutcome> {
    const before = callback.attempt - 1;
    if (before < this.#config.attempts) return await this.#deps.host.runCallback(callback);
    return { kind: "lost", reason: `it was begun ${before} times, and Leoflow ended before it did` };
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#timers.delete(timer);
        resolve();
      }, this.#config.retryMs);
      timer.unref();
      this.#timers.add(timer);
    });
  }
}

function named({ id, dagId, runId, attempt }: DueCallback) {
  return { callback: id, dagId, runId, attempt };
}

function problemOf(outcome: CallbackOutcome): string | null {
  switch (outcome.kind) {
    case "done":
      return outcome.errors.length > 0 ? outcome.errors.join("; ") : null;
    case "timed-out":
      return `it took longer than ${outcome.seconds} s and was ended`;
    case "lost":
      return outcome.reason;
  }
}
