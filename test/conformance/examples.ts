import { cpSync } from "node:fs";
import { join } from "node:path";
import type { DagOutcome } from "./outcome.ts";
import type { Step } from "./scenarios.ts";

/** Where the wheels have Airflow's own example DAGs, below site-packages. */
const FOLDERS = ["airflow/example_dags", "airflow/providers/standard/example_dags"];

/** Example files that import nowhere without more packages; Airflow itself skips them. */
export const UNIMPORTABLE = ["example_kubernetes_executor.py", "example_local_kubernetes_executor.py"];

/** Examples without an outcome to compare, by pattern of their ids, and why. All of them must parse. */
const LEFT_OUT: readonly (readonly [RegExp, string])[] = [
  [/asset|_stats|_rollup|_inference|compute_player|player_odds|weekly_model|regional_sales|^team_/, "assets: later"],
  [/hitl/, "human in the loop: later"],
  [/workday_timetable/, "needs a plugin"],
  [/objectstorage|virtualenv|example_python_(operator|decorator)/, "needs the network"],
  [/^example_branch_(python_operator_decorator|operator)$/, "goes a random way"],
  [/example_sensors|example_weekday_branch|branch_datetime_operator_[23]/, "follows the clock"],
  [/example_external_task$|time_delta_sensor_async/, "deferrable sensors: later"],
];

export function leftOut(dagId: string): string | undefined {
  return LEFT_OUT.find(([pattern]) => pattern.test(dagId))?.[1];
}

/** XComs whose values differ from run to run. */
const UNSTEADY = ["example_task_state_store", "example_xcom_args"];

/** One run of a date that lies in the past, whatever the schedule makes beside it. */
export function exampleScenario(): readonly Step[] {
  return [{ kind: "trigger", runId: "r1", logicalDate: "2024-06-05T12:00:00Z" }];
}

export function plainExample(outcome: DagOutcome): DagOutcome {
  const runs = outcome.runs.filter(({ run }) => run === "r1");
  if (!UNSTEADY.includes(outcome.dag)) return { ...outcome, runs };
  return { ...outcome, runs: runs.map(({ xcoms: _xcoms, ...run }) => run) };
}

/** Copies the examples, one file beside the other as Airflow has them. */
export function copyExamples(sitePackages: string, target: string): void {
  for (const folder of FOLDERS) {
    cpSync(join(sitePackages, folder), join(target, folder.replaceAll("/", "_")), {
      recursive: true,
      filter: (path) =>
        !/__pycache__|__init__\.py$|\/plugins(\/|$)/.test(path) && !UNIMPORTABLE.some((n) => path.endsWith(n)),
    });
  }
}
