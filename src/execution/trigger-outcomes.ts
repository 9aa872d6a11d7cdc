import type { JsonText } from "../kit/json-text.ts";
import { toJsonText } from "../kit/json-text.ts";
import type { TriggerOutcomes, TriggerReport } from "../domain/trigger.ts";
import { finishTaskInstance } from "../store/execution-settle.ts";
import { findLiveTry, type LiveTryRow } from "../store/execution-task-instance.ts";
import { storeXCom } from "../store/execution-xcom.ts";
import {
  resumeDeferred,
  startFromTrigger,
  timeOutDeferred,
  waitingFor,
  type Resumption,
  type StartFromTrigger,
} from "../store/triggers.ts";
import type { ExecutionContext } from "./context.ts";
import { withDatabase } from "./database-retry.ts";
import { settleWithCallbacks } from "./lost-callbacks.ts";
import { mayRetry } from "./retry-rule.ts";
import { publishSettled, retryTry } from "./state.ts";

/** The method that makes a resumed task fail at once (TRIGGER_FAIL_REPR). */
const FAIL = "__fail__";
/** Thousands may end at the same second. */
const ENDS_AT_ONCE = 4;

type Report<K extends TriggerReport["kind"]> = Extract<TriggerReport, { kind: K }>;

export interface TriggerHooks {
  /** An event of a trigger that no task waits for: an asset's watcher, a callback. */
  onEvent(triggerId: number, payload: JsonText): Promise<void>;
  /** One of them failed, or cannot be run. */
  onFailure(triggerId: number, reason: string): Promise<void>;
}

/** What becomes of the tasks that wait for triggers (`Trigger.submit_event`, `submit_failure`, `check_trigger_timeouts`). */
export class DeferredTasks implements TriggerOutcomes {
  readonly #x: ExecutionContext;
  readonly #hooks: TriggerHooks;

  constructor(x: ExecutionContext, hooks: TriggerHooks) {
    this.#x = x;
    this.#hooks = hooks;
  }

  async report(reports: readonly TriggerReport[]): Promise<void> {
    const resumptions = reports.flatMap((report): Resumption[] => {
      const { triggerId } = report;
      if (report.kind === "resume") return [{ triggerId, nextKwargs: report.nextKwargs, nextMethod: null }];
      return report.kind === "failure" ? [{ triggerId, nextKwargs: whyItFailed(report), nextMethod: FAIL }] : [];
    });
    await withDatabase(this.#x, () => this.#resume(resumptions));
    const ends = reports.filter((report) => report.kind === "end");
    for (let at = 0; at < ends.length; at += ENDS_AT_ONCE) {
      const some = ends.slice(at, at + ENDS_AT_ONCE);
      await Promise.all(some.map((end) => withDatabase(this.#x, () => this.#end(end))));
    }
    for (const report of reports) {
      if (report.kind === "event") await this.#hooks.onEvent(report.triggerId, report.payload);
      else if (report.kind === "failure") await this.#hooks.onFailure(report.triggerId, reasonOf(report));
    }
  }

  /** Fails those among these whose time is up; returns their ids. */
  async timeOut(ids: readonly string[]): Promise<string[]> {
    const nextKwargs = toJsonText({ error: "Trigger timeout" });
    const settled = await withDatabase(this.#x, () =>
      timeOutDeferred(this.#x.deps.database.pool, { ids, nextKwargs, now: this.#x.kit.clock.now() }),
    );
    for (const row of settled) publishSettled(this.#x, row);
    return settled.map(({ id }) => id);
  }

  /** Defers a task that starts from its trigger; false when it was no longer as the scheduler thought. */
  async start(start: StartFromTrigger): Promise<boolean> {
    const deferred = await startFromTrigger(this.#x.deps.database.pool, start);
    if (deferred) publishSettled(this.#x, deferred);
    return deferred !== null;
  }

  async #resume(resumptions: readonly Resumption[]): Promise<void> {
    const settled = await resumeDeferred(this.#x.deps.database.pool, resumptions, this.#x.kit.clock.now());
    for (const row of settled) publishSettled(this.#x, row);
  }

  async #end(report: Report<"end">): Promise<void> {
    const { db, pool } = this.#x.deps.database;
    for (const id of await waitingFor(db, report.triggerId)) {
      const live = await findLiveTry(pool, id);
      if (live?.state === "deferred") await this.#endTry(live, report);
    }
  }

  async #endTry(live: LiveTryRow, { state, xcoms }: Report<"end">): Promise<void> {
    const x = this.#x;
    const now = x.kit.clock.now();
    const end = { endDate: now, renderedMapIndex: null, from: ["deferred"] as const };
    const again =
      state === "failed" && mayRetry({ state: live.state, tryNumber: live.try_number, maxTries: live.max_tries });
    // Before the state: who waits for the task may look at them at once.
    if (!again) await this.#push(live, xcoms);
    const settle = () =>
      again ? retryTry(x, live, end) : finishTaskInstance(x.deps.database.pool, { ...end, id: live.id, state, now });
    // Of a success Airflow tells no callback.
    const without = { state: again ? "up_for_retry" : "failed", reason: null, byTrigger: true } as const;
    const settled = state === "failed" ? await settleWithCallbacks(x, live, without, settle) : await settle();
    if (!settled) return;
    // Airflow ends the others of a fail-fast DAG only for a failure that a process reports; the event would do it.
    if (settled.state === "failed" && live.fail_fast) {
      x.deps.bus.publish({ kind: "dag-run", dagRunId: settled.dag_run_id });
    } else publishSettled(x, settled);
  }

  async #push(live: LiveTryRow, xcoms: ReadonlyMap<string, JsonText>): Promise<void> {
    const { dag_id: dagId, run_id: runId, task_id: taskId, map_index: mapIndex } = live;
    for (const [key, value] of xcoms) {
      const place = { dagId, runId, taskId, mapIndex, key };
      await storeXCom(this.#x.deps.database.pool, {
        ...place,
        callerId: live.id,
        value,
        dagResult: false,
        mappedLength: null,
      });
    }
  }
}

function reasonOf({ error, traceback }: Report<"failure">): string {
  return error ?? traceback?.join("").trim() ?? "it ended without an event";
}

function whyItFailed({ error, traceback }: Report<"failure">): JsonText {
  return toJsonText({ error: error ?? "Trigger failure", traceback });
}
