import { instantMs } from "../kit/instant.ts";
import type { Kit } from "../kit/service.ts";
import type { ProcessExit } from "../domain/task-execution.ts";
import { executingTaskInstances, type ExecutingRow } from "../store/lost-tasks.ts";
import type { Database } from "../store/database.ts";

export interface ReaperDeps {
  db: Database;
  /** Tries that an executor of this process holds. */
  held(): ReadonlySet<string>;
  /** Left out where there are no agents. */
  agents?: {
    /** Whether tries of this queue wait for an agent. */
    serves(queue: string): boolean;
    /** From now on the session that has this try is refused. */
    take(id: string): Promise<void>;
    /** A try that an agent gave no sign of life of for this long is lost. */
    lostMs: number;
  };
  /** TaskExecution.exited: retries or fails the try. */
  settle(id: string, exit: ProcessExit): Promise<void>;
  /** Writes the last line of a lost try's log; nobody else is left to do it. */
  logEnd(ti: ExecutingRow, reason: string): Promise<void>;
  /** Hands a queued try to the executor again. */
  requeue(id: string, dagRunId: number): void;
}

export interface ReaperConfig {
  /** A running try without a sign of life for this long is lost. */
  heartbeatTimeoutMs: number;
  /** A queued try that no executor holds for this long is handed over again. */
  queuedTimeoutMs: number;
}

const LOST_ON_RESTART = "lost: Leoflow stopped while this task was running";
const LOST_HEARTBEAT = "lost: its worker gave no sign of life";
const LOST_AGENT = "lost: the agent that ran it was not heard any more";

/** `[scheduler] task_instance_heartbeat_timeout`. */
const AIRFLOW_HEARTBEAT_TIMEOUT_MS = 300_000;

/**
 * Finds tries whose process is gone without a word, so that no task stays "running" or "queued" for ever.
 * What the executor of this very process holds is never touched: it reports by itself. Agents live on when Leoflow ends: what they run
 * goes on, and is lost, as for Airflow's workers, when their signs of life stop.
 */
export class Reaper {
  readonly #kit: Kit;
  readonly #deps: ReaperDeps;
  readonly #config: ReaperConfig;
  /** Queued tries no executor held when last seen, and since when (ms): one tick of grace for a hand-over under way. */
  #unheldSince = new Map<string, number>();

  #lastRunMs = 0;

  constructor(kit: Kit, deps: ReaperDeps, config: ReaperConfig) {
    this.#kit = kit;
    this.#deps = deps;
    this.#config = config;
  }

  /** After a start: every process of the Leoflow before is gone, so what was running runs again, and what is queued is queued. */
  async adoptAfterRestart(): Promise<{ lost: number; requeued: number }> {
    const counts = { lost: 0, requeued: 0 };
    for (const row of await executingTaskInstances(this.#deps.db)) {
      if (this.#deps.held().has(row.id) || this.#isAgents(row)) continue;
      if (row.state === "queued") {
        this.#deps.requeue(row.id, row.dag_run_id);
        counts.requeued++;
      } else {
        await this.#settle(row, LOST_ON_RESTART, true);
        counts.lost++;
      }
    }
    return counts;
  }

  /** Called by the scheduler's slow tick. */
  async runOnce(): Promise<void> {
    const now = instantMs(this.#kit.clock.now());
    const held = this.#deps.held();
    // The machine slept: who could not be heard meanwhile is given time anew.
    if (now - this.#lastRunMs >= this.#config.heartbeatTimeoutMs) this.#unheldSince.clear();
    this.#lastRunMs = now;
    const unheld = new Map<string, number>();
    for (const row of await executingTaskInstances(this.#deps.db)) {
      if (held.has(row.id)) continue;
      const since = this.#unheldSince.get(row.id) ?? now;
      unheld.set(row.id, since);
      if (this.#isAgents(row)) {
        if (this.#agentIsLost(row, since, now)) await this.#loseAgents(row);
        continue;
      }
      if (row.state === "queued") {
        if (now - since >= this.#config.queuedTimeoutMs) this.#deps.requeue(row.id, row.dag_run_id);
      } else {
        const lastSign = Math.max(since, row.last_heartbeat_at === null ? 0 : instantMs(row.last_heartbeat_at));
        if (now - lastSign >= this.#config.heartbeatTimeoutMs) await this.#settle(row, LOST_HEARTBEAT);
      }
    }
    this.#unheldSince = unheld;
  }

  /** Queued: agents lease it from its row. */
  #isAgents({ state, queue, worker_id }: ExecutingRow): boolean {
    return state === "queued" ? (this.#deps.agents?.serves(queue) ?? false) : worker_id !== null;
  }

  #agentIsLost(row: ExecutingRow, since: number, now: number): boolean {
    const { state, session_lives, has_airflow_worker, last_heartbeat_at } = row;
    if (state === "queued") return false;
    const lastSign = Math.max(since, last_heartbeat_at === null ? 0 : instantMs(last_heartbeat_at));
    if (has_airflow_worker) return now - lastSign >= AIRFLOW_HEARTBEAT_TIMEOUT_MS;
    return !session_lives || now - lastSign >= (this.#deps.agents?.lostMs ?? this.#config.heartbeatTimeoutMs);
  }

  async #loseAgents(row: ExecutingRow): Promise<void> {
    await this.#deps.agents?.take(row.id);
    await this.#settle(row, LOST_AGENT);
  }

  async #settle(row: ExecutingRow, reason: string, withLeoflow = false): Promise<void> {
    this.#kit.logger.warn({ taskInstance: row.id, dagId: row.dag_id, taskId: row.task_id }, reason);
    await this.#deps.logEnd(row, reason);
    await this.#deps.settle(row.id, {
      code: null,
      signal: null,
      taskState: null,
      reason,
      endDate: this.#kit.clock.now(),
      withLeoflow,
    });
  }
}
