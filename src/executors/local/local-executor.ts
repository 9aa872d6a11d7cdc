import type { Executor, Workload } from "../../domain/workload.ts";
import type { Kit, Service } from "../../kit/service.ts";

/** What the executor needs of the agent; PythonRuntime has it. */
export interface TaskRunner {
  /** Runs one try to its end; the outcome goes to the control plane, not to the caller. */
  runTask(workload: Workload): Promise<void>;
  terminate(id: string, reason: string): boolean;
}

/** Runs tasks as local processes, at most `parallelism` at a time, the highest priority first, then first come. */
export class LocalExecutor implements Executor, Service {
  readonly #kit: Kit;
  readonly #runner: TaskRunner;
  readonly #parallelism: number;
  readonly #waiting: WaitingWorkloads = new WaitingWorkloads();
  readonly #running = new Set<string>();
  /** Queued again before the process that rescheduled itself has ended: started when it has. */
  readonly #again = new Map<string, Workload>();
  #stopped = false;

  constructor(kit: Kit, deps: { runner: TaskRunner }, config: { parallelism: number }) {
    this.#kit = kit;
    this.#runner = deps.runner;
    this.#parallelism = config.parallelism;
  }

  async start(): Promise<void> {
    this.#stopped = false;
    this.#fill();
  }

  /** Starts nothing more. What runs is ended by the runner's own stop; what waits is still queued in the store. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#waiting.clear();
    this.#again.clear();
  }

  enqueue(workloads: readonly Workload[]): void {
    for (const workload of workloads) {
      if (this.#running.has(workload.id)) this.#again.set(workload.id, workload);
      else this.#waiting.add(workload);
    }
    this.#fill();
  }

  terminate(ids: readonly string[], reason: string): void {
    for (const id of ids) {
      this.#again.delete(id);
      if (!this.#waiting.remove(id)) this.#runner.terminate(id, reason);
    }
  }

  held(): ReadonlySet<string> {
    return new Set([...this.#running, ...this.#waiting.ids()]);
  }

  #fill(): void {
    while (!this.#stopped && this.#running.size < this.#parallelism) {
      const workload = this.#waiting.takeFirst();
      if (!workload) return;
      this.#running.add(workload.id);
      void this.#run(workload);
    }
  }

  async #run(workload: Workload): Promise<void> {
    try {
      await this.#runner.runTask(workload);
    } catch (error) {
      this.#kit.logger.error({ err: error, id: workload.id }, "a task's supervisor failed");
    } finally {
      this.#running.delete(workload.id);
      const again = this.#again.get(workload.id);
      if (again && this.#again.delete(workload.id)) this.#waiting.add(again);
      this.#fill();
    }
  }
}

/** Workloads by priority, first come first served within one. */
class WaitingWorkloads {
  readonly #byPriority = new Map<number, Map<string, Workload>>();
  readonly #priorities = new Map<string, number>();

  add(workload: Workload): void {
    if (this.#priorities.has(workload.id)) return;
    this.#priorities.set(workload.id, workload.priorityWeight);
    const group = this.#byPriority.get(workload.priorityWeight) ?? new Map<string, Workload>();
    group.set(workload.id, workload);
    this.#byPriority.set(workload.priorityWeight, group);
  }

  remove(id: string): Workload | null {
    const priority = this.#priorities.get(id);
    if (priority === undefined) return null;
    this.#priorities.delete(id);
    const group = this.#byPriority.get(priority);
    const workload = group?.get(id) ?? null;
    group?.delete(id);
    if (group?.size === 0) this.#byPriority.delete(priority);
    return workload;
  }

  takeFirst(): Workload | null {
    if (this.#byPriority.size === 0) return null;
    const group = this.#byPriority.get(Math.max(...this.#byPriority.keys()));
    const first = group?.keys().next().value;
    return first === undefined ? null : this.remove(first);
  }

  ids(): IterableIterator<string> {
    return this.#priorities.keys();
  }

  clear(): void {
    this.#byPriority.clear();
    this.#priorities.clear();
  }
}
