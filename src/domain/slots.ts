import { assertNever } from "../kit/service.ts";
import type { TaskNode } from "./dag-graph.ts";
import type { TaskInstanceState } from "./states.ts";

/** What a task's instances take of the slots that there are. */
export type SlotNeeds = Pick<
  TaskNode,
  "taskId" | "pool" | "poolSlots" | "maxActiveTisPerDag" | "maxActiveTisPerDagrun" | "priorityWeightTotal"
>;

/** A task instance that is ready for a worker, or has one. */
export interface Claim {
  id: string;
  dagRunId: number;
  dagId: string;
  task: SlotNeeds;
  mapIndex: number;
  /** Orders equal priorities: earlier runs first. Logical date, else run_after. */
  runOrder: string;
}

export interface PoolSize {
  pool: string;
  /** -1: no limit. */
  slots: number;
  includeDeferred: boolean;
  /** DAGs of the team that owns the pool; left out where it is open to all. */
  dagsOfTeam?: ReadonlySet<string>;
}

export interface Limits {
  maxActiveTasks: number;
}

/** Task instances queued and running at most, as Airflow's `[core] parallelism`. */
export const PARALLELISM = 32;

/** What can keep a task instance from a worker. */
const SLOT_LIMITS = [
  "parallelism",
  "unknown_pool",
  "pool_of_team",
  "pool",
  "max_active_tasks",
  "max_active_tis_per_dag",
  "max_active_tis_per_dagrun",
] as const;
export type SlotLimit = (typeof SLOT_LIMITS)[number];

/** The most important first: priority weight, then the earlier run, then map index. */
export function byImportance(a: Claim, b: Claim): number {
  return (
    b.task.priorityWeightTotal - a.task.priorityWeightTotal ||
    (a.runOrder < b.runOrder ? -1 : a.runOrder > b.runOrder ? 1 : 0) ||
    a.mapIndex - b.mapIndex
  );
}

/** Whether what one of them takes could be what the other lacks. */
export function competeFor(limit: SlotLimit, a: Claim, b: Claim): boolean {
  switch (limit) {
    case "parallelism":
      return true;
    case "unknown_pool":
    case "pool_of_team":
      return false;
    case "pool":
      return a.task.pool === b.task.pool;
    case "max_active_tasks":
      return a.dagRunId === b.dagRunId;
    case "max_active_tis_per_dag":
      return taskKey(a) === taskKey(b);
    case "max_active_tis_per_dagrun":
      return taskInRunKey(a) === taskInRunKey(b);
    default:
      return assertNever(limit);
  }
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
  readonly #holders = new Map<string, { claim: Claim; hold: Hold }>();
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
  record(claim: Claim, state: TaskInstanceState | null): void {
    const hold = state === null ? undefined : HOLD[state];
    const before = this.#holders.get(claim.id);
    if (before?.hold === hold) return;
    if (before) this.#count(before.claim, before.hold, -1);
    if (hold) {
      this.#count(claim, hold, 1);
      this.#holders.set(claim.id, { claim, hold });
    } else {
      this.#holders.delete(claim.id);
    }
  }

  /** Forgets all of a run, before it is read again or when it ended. */
  forgetRun(dagRunId: number): void {
    for (const [id, { claim, hold }] of this.#holders) {
      if (claim.dagRunId !== dagRunId) continue;
      this.#count(claim, hold, -1);
      this.#holders.delete(id);
    }
  }

  /** No more workers are free, whoever asks. */
  get full(): boolean {
    return this.#executing >= this.#parallelism;
  }

  /** Takes the slots for this claim if every limit allows it. */
  take(claim: Claim, limits: Limits): boolean {
    for (const limit of SLOT_LIMITS) if (this.#stops(limit, claim, limits)) return false;
    this.record(claim, "queued");
    return true;
  }

  /** All that keeps this claim from its slots now. */
  whyNot(claim: Claim, limits: Limits): SlotLimit[] {
    return SLOT_LIMITS.filter((limit) => this.#stops(limit, claim, limits));
  }

  /** Those that have what this limit keeps from the claim. */
  holders(limit: SlotLimit, claim: Claim): Claim[] {
    const countsWaiting =
      limit === "pool"
        ? this.#pools.get(claim.task.pool)?.includeDeferred === true
        : limit.startsWith("max_active_tis");
    return [...this.#holders.values()]
      .filter(({ hold, claim: other }) => (hold === "executing" || countsWaiting) && competeFor(limit, claim, other))
      .map(({ claim: other }) => other);
  }

  #stops(limit: SlotLimit, claim: Claim, limits: Limits): boolean {
    const { task } = claim;
    switch (limit) {
      case "parallelism":
        return this.full;
      case "unknown_pool":
        return !this.#pools.has(task.pool);
      case "pool_of_team":
        return this.#pools.get(task.pool)?.dagsOfTeam?.has(claim.dagId) === false;
      case "pool":
        return !this.#poolHasRoom(task);
      case "max_active_tasks":
        return (this.#runExecuting.get(claim.dagRunId) ?? 0) >= limits.maxActiveTasks;
      case "max_active_tis_per_dag":
        return (
          task.maxActiveTisPerDag !== null && (this.#taskActive.get(taskKey(claim)) ?? 0) >= task.maxActiveTisPerDag
        );
      case "max_active_tis_per_dagrun":
        return (
          task.maxActiveTisPerDagrun !== null &&
          (this.#taskInRunActive.get(taskInRunKey(claim)) ?? 0) >= task.maxActiveTisPerDagrun
        );
      default:
        return assertNever(limit);
    }
  }

  #poolHasRoom(task: SlotNeeds): boolean {
    const pool = this.#pools.get(task.pool);
    if (!pool || pool.slots < 0) return true;
    const used =
      (this.#poolExecuting.get(pool.pool) ?? 0) + (pool.includeDeferred ? (this.#poolWaiting.get(pool.pool) ?? 0) : 0);
    return used + task.poolSlots <= pool.slots;
  }

  #count(claim: Claim, hold: Hold, by: 1 | -1): void {
    const { task } = claim;
    add(this.#taskActive, taskKey(claim), by);
    add(this.#taskInRunActive, taskInRunKey(claim), by);
    if (hold === "waiting") {
      add(this.#poolWaiting, task.pool, by * task.poolSlots);
      return;
    }
    this.#executing += by;
    add(this.#poolExecuting, task.pool, by * task.poolSlots);
    add(this.#runExecuting, claim.dagRunId, by);
  }
}

function taskKey({ dagId, task }: Claim): string {
  return `${dagId}\n${task.taskId}`;
}

function taskInRunKey({ dagRunId, task }: Claim): string {
  return `${dagRunId}\n${task.taskId}`;
}

function add<K>(counts: Map<K, number>, key: K, by: number): void {
  const next = (counts.get(key) ?? 0) + by;
  if (next === 0) counts.delete(key);
  else counts.set(key, next);
}
