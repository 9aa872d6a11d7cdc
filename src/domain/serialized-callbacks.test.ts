import { expect, it } from "vitest";
import { serializedDag } from "../../test/support/factories.ts";
import { parseSerializedDag } from "./serialized-dag.ts";

/** Whom a task tells of what, as Airflow serializes it. */
const told = (fields: Record<string, unknown>) => {
  const task = parseSerializedDag(serializedDag("d", [{ id: "a", ...fields }])).tasks.get("a");
  return [task?.hasOnFailureCallback, task?.hasOnRetryCallback, task?.emailOnFailure, task?.emailOnRetry];
};

it.each([
  [{}, [false, false, false, false]],
  [{ has_on_failure_callback: true }, [true, false, false, false]],
  [{ has_on_retry_callback: true, email: "a@b.c" }, [false, true, true, true]],
  [{ email: ["a@b.c"], email_on_failure: false }, [false, false, false, true]],
  [{ email: { __type: "set", __var: ["a@b.c"] }, email_on_retry: false }, [false, false, true, false]],
  [{ email: [] }, [false, false, false, false]],
  [
    { _is_mapped: true, partial_kwargs: { has_on_failure_callback: true, email: "a@b.c", email_on_retry: false } },
    [true, false, true, false],
  ],
])("%j", (fields, expected) => {
  expect(told(fields)).toEqual(expected);
});

it("knows whether a DAG promises anything", () => {
  const dag = (fields: Record<string, unknown>) =>
    parseSerializedDag(serializedDag("d", undefined, fields)).hasDeadlines;
  expect([dag({}), dag({ deadline: [] }), dag({ deadline: [{ name: null }] })]).toEqual([false, false, true]);
});
