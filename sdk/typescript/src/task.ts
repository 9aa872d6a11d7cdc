import { FLOAT, type Float } from "./msgpack.ts";
import type { TaskContext } from "./context.ts";

/** What Airflow calls a task: it gets the context of one try; what it returns is pushed as the XCom `return_value`. */
export type TaskFunction<Result = unknown> = (context: TaskContext) => Result | Promise<Result>;

/**
 * Declares a task. The export's name says which one: that of the `@task.stub` function in the DAG file.
 *
 *     export const summarize = task(async ({ xcom }) => { … });
 */
export function task<Result>(run: TaskFunction<Result>): TaskFunction<Result> {
  return run;
}

/** A number that Python gets as a float: JavaScript itself cannot tell 1.0 from 1. */
export function float(value: number): Float {
  return { [FLOAT]: value };
}

const OUTCOME = Symbol.for("@leoflow/task outcome");

/** Ends the try as skipped. */
export class SkipTask extends Error {
  override name = "SkipTask";
  readonly [OUTCOME] = "skipped";
}

/** Ends the try as failed, whatever retries are left. */
export class FailTask extends Error {
  override name = "FailTask";
  readonly [OUTCOME] = "failed";
}

/** How an error wants the try to end. Not `instanceof`: a task's bundle has its own copy of the classes above. */
export function outcomeOf(error: unknown): "skipped" | "failed" | null {
  const outcome = typeof error === "object" && error !== null && OUTCOME in error ? error[OUTCOME] : null;
  return outcome === "skipped" || outcome === "failed" ? outcome : null;
}
