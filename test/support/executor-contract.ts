import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Executor, Workload } from "../../src/domain/workload.ts";
import { newId } from "../../src/kit/ids.ts";

/** An executor under test, with hands on what it runs. */
export interface ExecutorUnderTest {
  executor: Executor;
  parallelism: number;
  /** Tries whose process has been started, in order, ended ones included. */
  started(): readonly string[];
  /** Lets the process of this try end by itself. */
  finish(id: string): void;
  /** Tries whose process was ended by the executor, with the reason it was given. */
  terminated(): ReadonlyMap<string, string>;
  /** Waits until the condition holds. */
  until(condition: () => boolean): Promise<void>;
  stop(): Promise<void>;
}

/** What every executor must do, whatever it runs tasks on. */
export function describeExecutor(name: string, make: () => Promise<ExecutorUnderTest>): void {
  describe(name, () => {
    let under: ExecutorUnderTest;

    beforeEach(async () => {
      under = await make();
    });
    afterEach(async () => {
      await under.stop();
    });

    const enqueue = (...workloads: Workload[]): string[] => {
      under.executor.enqueue(workloads);
      return workloads.map(({ id }) => id);
    };

    it("holds a try from when it gets it until its process has ended", async () => {
      const [id = ""] = enqueue(workload());
      expect(under.executor.held()).toEqual(new Set([id]));
      await under.until(() => under.started().includes(id));
      expect(under.executor.held()).toEqual(new Set([id]));
      under.finish(id);
      await under.until(() => under.executor.held().size === 0);
    });

    it("starts a try once, however often it is told", async () => {
      const one = workload();
      enqueue(one);
      enqueue(one, one);
      await under.until(() => under.started().includes(one.id));
      enqueue(one);
      const last = workload();
      enqueue(last);
      await under.until(() => under.started().includes(last.id));
      expect(under.started().filter((id) => id === one.id)).toHaveLength(1);
    });

    it("starts a try again that was queued again before its process had ended", async () => {
      const one = workload();
      enqueue(one);
      await under.until(() => under.started().includes(one.id));
      enqueue(one);
      under.finish(one.id);
      await under.until(() => under.started().filter((id) => id === one.id).length === 2);
      under.finish(one.id);
      await under.until(() => under.executor.held().size === 0);
    });

    it("runs no more at a time than it may, the most important first, then first come", async () => {
      const full = enqueue(...Array.from({ length: under.parallelism }, () => workload()));
      await under.until(() => under.started().length === under.parallelism);
      const [low, first, second, high] = enqueue(
        workload({ priorityWeight: 1 }),
        workload({ priorityWeight: 5 }),
        workload({ priorityWeight: 5 }),
        workload({ priorityWeight: 9 }),
      );
      expect(under.started()).toHaveLength(under.parallelism);
      for (const [ended, next] of [
        [full[0], high],
        [high, first],
        [first, second],
        [second, low],
      ] as [string, string][]) {
        under.finish(ended);
        await under.until(() => under.started().at(-1) === next);
      }
      expect(under.started()).toHaveLength(under.parallelism + 4);
    });

    it("drops what waits and ends what runs when told to", async () => {
      const running = enqueue(...Array.from({ length: under.parallelism }, () => workload()));
      await under.until(() => under.started().length === under.parallelism);
      const [waiting = ""] = enqueue(workload());
      under.executor.terminate([waiting, running[0] ?? "", newId()], "it was cleared");
      await under.until(() => under.executor.held().size === under.parallelism - 1);
      expect(under.terminated()).toEqual(new Map([[running[0], "it was cleared"]]));
      expect(under.started()).not.toContain(waiting);
    });

    it("takes a try again after it has ended", async () => {
      const one = workload();
      enqueue(one);
      await under.until(() => under.started().length === 1);
      under.finish(one.id);
      await under.until(() => under.executor.held().size === 0);
      enqueue(one);
      await under.until(() => under.started().length === 2);
    });
  });
}

function workload(changes: Partial<Workload> = {}): Workload {
  return {
    id: newId(),
    dagId: "d",
    taskId: "t",
    runId: "r",
    mapIndex: -1,
    tryNumber: 1,
    dagVersionId: newId(),
    queue: "default",
    poolSlots: 1,
    priorityWeight: 1,
    executorConfig: null,
    dagRelPath: "d.py",
    bundle: { name: "dags-folder", version: null },
    archiveDigest: "v1",
    environment: "default",
    ...changes,
  };
}
