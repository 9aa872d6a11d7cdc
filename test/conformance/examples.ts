import { cpSync } from "node:fs";
import { join } from "node:path";
import type { DagOutcome } from "./outcome.ts";
import type { Step } from "./scenarios.ts";

/** Where the wheels have Airflow's own example DAGs, below site-packages. */
const FOLDERS = ["airflow/example_dags", "airflow/providers/standard/example_dags"];

/** Code that examples use beside DAGs. */
const NO_DAGS = /\/plugins(\/|$)/;

/** Examples without an outcome to compare, by pattern of their ids, and why. All of them must parse. */
const LEFT_OUT: readonly (readonly [RegExp, string])[] = [
  [/hitl/, "waits for people"],
  [/objectstorage|virtualenv|example_python_(operator|decorator)|dag_decorator|retry_policy/, "needs the network"],
  [/params_ui_tutorial/, "does not start without values for its form"],
  [/^example_branch_(python_operator_decorator|operator)$/, "goes a random way"],
  [
    /example_sensors|example_weekday_branch|branch_datetime_operator_[23]|task_marker_child|passing_params_via_test/,
    "follows the clock",
  ],
];

export function leftOut(dagId: string): string | undefined {
  return LEFT_OUT.find(([pattern]) => pattern.test(dagId))?.[1];
}

/** DAGs whose XComs tell the time, random numbers or folders. */
const UNSTEADY = [
  "example_asset_state_store_producer",
  "example_bash_decorator",
  "example_bash_operator",
  "example_task_state_store",
  "example_task_state_store_mapped",
  "example_trigger_controller_dag",
  "example_xcom_args",
  "tutorial",
];

/** One run of a date that lies in the past, whatever the schedule makes beside it. */
export function exampleScenario(): readonly Step[] {
  return [{ kind: "trigger", runId: "r1", logicalDate: "2026-02-04T12:00:00Z" }];
}

export function plainExample({ dag, isPaused, runs }: DagOutcome): DagOutcome {
  const own = runs.filter(({ run }) => run === "r1");
  const plain = UNSTEADY.includes(dag) ? own.map(({ xcoms: _xcoms, ...run }) => run) : own;
  return { dag, isPaused, runs: plain };
}

/** Copies the examples, one file beside the other as Airflow has them. */
export function copyExamples(sitePackages: string, target: string): void {
  for (const folder of FOLDERS) {
    cpSync(join(sitePackages, folder), join(target, folder.replaceAll("/", "_")), {
      recursive: true,
      filter: (path) => !/__pycache__|__init__\.py$/.test(path) && !NO_DAGS.test(path),
    });
  }
}
