import { getEventListeners } from "node:events";
import { contextOf, type StartupDetails, type TaskFacts } from "./context.ts";
import type { Level, LogChannel } from "./log.ts";
import { SupervisorError, type Message, type Supervisor } from "./supervisor.ts";
import { outcomeOf, type TaskFunction } from "./task.ts";

/** The module of a DAG file's tasks, loaded when the task is known. */
export interface TaskModule {
  /** For messages: where the user finds it. */
  name: string;
  load(): Promise<Record<string, unknown>>;
  facts(dagId: string, taskId: string): TaskFacts;
}

const TASK_LOGGER = "task";

/**
 * Runs one try and reports how it ended, in the order of Airflow's own task runner: old XComs go, the function runs, what it
 * returned is pushed, the state is said last. Resolves for whatever the task does; rejects when the supervisor does not answer.
 */
export async function runTask(
  details: StartupDetails,
  module: TaskModule,
  supervisor: Pick<Supervisor, "ask">,
  channel: LogChannel,
  signal: AbortSignal,
): Promise<void> {
  const { ti, ti_context: context } = details;
  const say = (level: Level, event: string, fields?: object) => channel.write(level, TASK_LOGGER, event, { ...fields });
  const own = { dag_id: ti.dag_id, run_id: ti.run_id, task_id: ti.task_id, map_index: ti.map_index ?? -1 };
  try {
    const facts = module.facts(ti.dag_id, ti.task_id);
    const run = await findTask(module, ti.task_id);
    for (const key of context.xcom_keys_to_clear ?? []) await supervisor.ask({ type: "DeleteXCom", key, ...own });
    const log = channel.logger(TASK_LOGGER);
    const result = await within(facts.timeoutSeconds ?? null, signal, (signal) =>
      run(contextOf(details, { supervisor, log, signal, facts })),
    );
    if (result !== undefined && result !== null) await pushResult(supervisor, own, result);
    const outlets = (facts.outlets ?? []).map((outlet) => ({ ...outlet, type: "Asset" }));
    await supervisor.ask({
      type: "SucceedTask",
      state: "success",
      end_date: now(),
      task_outlets: outlets,
      outlet_events: [],
    });
  } catch (error) {
    const outcome = outcomeOf(error);
    if (outcome === "skipped") {
      say("info", "Skipping task.", { reason: (error as Error).message });
      await supervisor.ask({ type: "TaskState", state: "skipped", end_date: now() });
      return;
    }
    say("error", "Task failed with exception", { error });
    const retry = outcome === null && context.should_retry === true;
    await supervisor.ask(
      retry
        ? { type: "RetryTask", state: "up_for_retry", end_date: now() }
        : { type: "TaskState", state: "failed", end_date: now() },
    );
  }
}

/**
 * The export that implements a task: called like its id, or like the function of a task group's or repeated task (`group.load`,
 * `load__1`: `load`).
 */
export function exportNames(taskId: string): string[] {
  const inGroup = taskId.slice(taskId.lastIndexOf(".") + 1);
  return [...new Set([taskId, inGroup, inGroup.replace(/__\d+$/, "")])];
}

async function findTask(module: TaskModule, taskId: string): Promise<TaskFunction> {
  const exports = await module.load();
  const name = exportNames(taskId).find((name) => Object.hasOwn(exports, name));
  const wanted = exportNames(taskId).at(-1);
  if (name === undefined) {
    const others = Object.keys(exports).sort().join(", ");
    throw new TypeError(
      `${module.name} has no export "${wanted}" for the task ${taskId}: add \`export const ${wanted} = task(...)\`${others === "" ? "" : ` (it exports ${others})`}`,
    );
  }
  const found = exports[name];
  if (typeof found === "function") return found as TaskFunction;
  throw new TypeError(
    `the export "${name}" of ${module.name} is no function: write \`export const ${name} = task(...)\` for the task ${taskId}`,
  );
}

async function pushResult(supervisor: Pick<Supervisor, "ask">, own: object, value: unknown): Promise<void> {
  const xcom: Message = { type: "SetXCom", key: "return_value", value, ...own };
  const length = lengthOf(value);
  if (length === null) return void (await supervisor.ask(xcom));
  try {
    // Whether a mapped task expands over it is known to the server alone.
    await supervisor.ask({ ...xcom, mapped_length: length });
  } catch (error) {
    // `[core] max_map_length`: too long to expand over is not too long to read.
    if (!(error instanceof SupervisorError && error.status === 400)) throw error;
    await supervisor.ask(xcom);
  }
}

function lengthOf(value: unknown): number | null {
  if (Array.isArray(value)) return value.length;
  const isPlain = typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype;
  return isPlain ? Object.keys(value).length : null;
}

/** `execution_timeout`, which in Airflow is seen to where the task runs. Code that never waits cannot be interrupted. */
async function within<T>(
  seconds: number | null,
  signal: AbortSignal,
  run: (signal: AbortSignal) => T | Promise<T>,
): Promise<T> {
  if (seconds === null) return await run(signal);
  const timeout = AbortSignal.timeout(seconds * 1000);
  const late = new Promise<never>((_, reject) =>
    timeout.addEventListener("abort", () => reject(new Error(`execution_timeout: the task ran for ${seconds} s`))),
  );
  return await Promise.race([run(AbortSignal.any([signal, timeout])), late]);
}

function now(): string {
  return new Date().toISOString();
}

/** Whether the task listens to its signal: who does not need not be waited for. */
export function isHeeded(signal: AbortSignal): boolean {
  return getEventListeners(signal, "abort").length > 0;
}
