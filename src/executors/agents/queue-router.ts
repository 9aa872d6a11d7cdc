import type { Executor, Workload } from "../../domain/workload.ts";
import type { AgentExecutor } from "./agent-executor.ts";

/** Gives each try to the executor of its queue: agents where a token names it, the local one otherwise. */
export class QueueRouter implements Executor {
  readonly #local: Executor;
  readonly #agents: Pick<AgentExecutor, keyof Executor | "serves">;

  constructor(local: Executor, agents: Pick<AgentExecutor, keyof Executor | "serves">) {
    this.#local = local;
    this.#agents = agents;
  }

  enqueue(workloads: readonly Workload[]): void {
    const remote = workloads.filter(({ queue }) => this.#agents.serves(queue));
    if (remote.length === 0) return this.#local.enqueue(workloads);
    this.#agents.enqueue(remote);
    this.#local.enqueue(workloads.filter(({ queue }) => !this.#agents.serves(queue)));
  }

  terminate(ids: readonly string[], reason: string): void {
    this.#local.terminate(ids, reason);
    this.#agents.terminate(ids, reason);
  }

  held(): ReadonlySet<string> {
    return new Set([...this.#local.held(), ...this.#agents.held()]);
  }
}
