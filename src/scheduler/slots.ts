import type { TaskNode } from "../domain/dag-graph.ts";
import type { TaskInstanceState } from "../domain/states.ts";

/** A task instance that is ready for a worker. */
export interface Candidate {
  id: string;
  dagRunId: number;
  dagId: string;
  task: TaskNode;
  mapIndex: number;
  /** Orders equal priorities: earlier runs first. Logical date, else run_after. */
  runOrder: string;
}

export interface PoolSize {
  pool: string;
  /** -1: no limit. */
  slots: number;
  includeDeferred: boolean;
}

export interface Limits {
  maxActiveTasks: number;
}

type Hold = "executing" | "waiting";

const HOLD: Partial<Record<TaskInstanceState, Hold>> = {
  queued: "executing",
  running: "executing",
  restarting: "executing",
  deferred: "waiting",
  awaiting_input: "waiting",
};

/**
 * Who holds which slots, and who may go next: parallelism, pools, max_active_tasks of a run, max_active_tis of a task.
 * Source: Airflow's SchedulerJobRunner._executable_task_instances_to_queued and ConcurrencyMap.
 */
export class Slots {
  readonly #parallelism: number;
  #pools = new Map<string, PoolSize>();
  readonly #holders = new Map<string, { candidate: Candidate; hold: Hold }>();
  readonly #poolExecuting = new Map<string, number>();
  readonly #poolWaiting = new Map<string, number>();
  readonly #runExecuting = new Map<number, number>();
  readonly #taskActive = new Map<string, number>();
  readonly #taskInRunActive = new Map<string, number>();
  #executing = 0;

  constructor(parallelism: number) {
    this.#parallelism = parallelism;
  }

  setPools(pools: readonly PoolSize[]): void {
    this.#pools = new Map(pools.map((pool) => [pool.pool, pool]));
  }

  /** Records the state of a task instance; idempotent. */
  record(candidate: Candidate, state: TaskInstanceState | null): void {
    const hold = state === null ? undefined : HOLD[state];
    const before = this.#holders.get(candidate.id);
    if (before?.hold === hold) return;
    if (before) this.#count(before.candidate, before.hold, -1);
    if (hold) {
      this.#count(candidate, hold, 1);
      this.#holders.set(candidate.id, { candidate, hold });
    } else {
      this.#holders.delete(candidate.id);
    }
  }

  /** Forgets all of a run, before it is read again or when it ended. */
  forgetRun(dagRunId: number): void {
    for (const [id, { candidate, hold }] of this.#holders) {
      if (candidate.dagRunId !== dagRunId) continue;
      this.#count(candidate, hold, -1);
      this.#holders.delete(id);
    }
  }

  /** No more workers are free, whoever asks. */
  get full(): boolean {
    return this.#executing >= this.#parallelism;
  }

  /** Takes the slots for this candidate if every limit allows it. */
  take(candidate: Candidate, limits: Limits): boolean {
    const { task } = candidate;
    if (this.full || !this.#poolHasRoom(task)) return false;
    if ((this.#runExecuting.get(candidate.dagRunId) ?? 0) >= limits.maxActiveTasks) return false;
    if (
      task.maxActiveTisPerDag !== null &&
      (this.#taskActive.get(taskKey(candidate)) ?? 0) >= task.maxActiveTisPerDag
    ) {
      return false;
    }
    if (
      task.maxActiveTisPerDagrun !== null &&
      (this.#taskInRunActive.get(taskInRunKey(candidate)) ?? 0) >= task.maxActiveTisPerDagrun
    ) {
      return false;
    }
    this.record(candidate, "queued");
    return true;
  }

  #poolHasRoom(task: TaskNode): boolean {
    const pool = this.#pools.get(task.pool);
    if (!pool) return false;
    if (pool.slots < 0) return true;
    const used =
      (this.#poolExecuting.get(pool.pool) ?? 0) + (pool.includeDeferred ? (this.#poolWaiting.get(pool.pool) ?? 0) : 0);
    return used + task.poolSlots <= pool.slots;
  }

  #count(candidate: Candidate, hold: Hold, by: 1 | -1): void {
    const { task } = candidate;
    add(this.#taskActive, taskKey(candidate), by);
    add(this.#taskInRunActive, taskInRunKey(candidate), by);
    if (hold === "waiting") {
      add(this.#poolWaiting, task.pool, by * task.poolSlots);
      return;
    }
    this.#executing += by;
    add(this.#poolExecuting, task.pool, by * task.poolSlots);
    add(this.#runExecuting, candidate.dagRunId, by);
  }
}

function taskKey({ dagId, task }: Candidate): string {
  return `${dagId}\n${task.taskId}`;
}

function taskInRunKey({ dagRunId, task }: Candidate): string {
  return `${dagRunId}\n${task.taskId}`;
}

function add<K>(counts: Map<K, number>, key: K, by: number): void {
  const next = (counts.get(key) ?? 0) + by;
  if (next === 0) counts.delete(key);
  else counts.set(key, next);
}
