import { expect, it } from "vitest";
import type { Workload } from "../../domain/workload.ts";
import { describeExecutor } from "../../../test/support/executor-contract.ts";
import { testKit, untilTrue } from "../../../test/support/python.ts";
import { LocalExecutor, type TaskRunner } from "./local-executor.ts";

/** Stands for the agent's processes: they run until told to end. */
class HeldRunner implements TaskRunner {
  readonly started: string[] = [];
  readonly terminated = new Map<string, string>();
  readonly #ends = new Map<string, () => void>();

  runTask(workload: Workload): Promise<void> {
    this.started.push(workload.id);
    return new Promise((resolve) => this.#ends.set(workload.id, resolve));
  }

  terminate(id: string, reason: string): boolean {
    if (!this.#ends.has(id)) return false;
    this.terminated.set(id, reason);
    this.finish(id);
    return true;
  }

  finish(id: string): void {
    this.#ends.get(id)?.();
    this.#ends.delete(id);
  }
}

const PARALLELISM = 3;

describeExecutor("LocalExecutor", async () => {
  const runner = new HeldRunner();
  const executor = new LocalExecutor(testKit, { runner }, { parallelism: PARALLELISM });
  await executor.start();
  return {
    executor,
    parallelism: PARALLELISM,
    started: () => runner.started,
    finish: (id) => runner.finish(id),
    terminated: () => runner.terminated,
    until: untilTrue,
    stop: () => executor.stop(),
  };
});

it("goes on after a supervisor failed", async () => {
  const runner: TaskRunner = { runTask: () => Promise.reject(new Error("a bug")), terminate: () => false };
  const executor = new LocalExecutor(testKit, { runner }, { parallelism: 1 });
  await executor.start();
  const workload = (id: string) => ({ id, priorityWeight: 1 }) as Workload;
  executor.enqueue([workload("a"), workload("b")]);
  await untilTrue(() => executor.held().size === 0);
  expect(executor.held().size).toBe(0);
});
