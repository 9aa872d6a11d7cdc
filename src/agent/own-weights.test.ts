import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { parseSerializedDag } from "../domain/serialized-dag.ts";
import { startTestRuntime, type TestRuntime } from "../../test/support/python.ts";

const PLUGIN = `
from airflow.plugins_manager import AirflowPlugin
from airflow.task.priority_strategy import PriorityWeightStrategy

class ByName(PriorityWeightStrategy):
    def get_weight(self, ti):
        below = sum(ti.task.dag.task_dict[name].priority_weight for name in ti.task.downstream_task_ids)
        return 100 * len(ti.task_id) + 10 * (ti.try_number or 0) + below

class Raising(PriorityWeightStrategy):
    def get_weight(self, ti):
        raise ValueError("how heavy is that?")

class P(AirflowPlugin):
    name = "weights_of_a_test"
    priority_weight_strategies = [ByName, Raising]
`;
const DAG = `
from airflow.sdk import DAG
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import PythonOperator
from weights import ByName, Raising
`;

let test: TestRuntime;
beforeAll(async () => {
  test = await startTestRuntime();
  mkdirSync(join(test.home, "airflow/plugins"), { recursive: true });
  writeFileSync(join(test.home, "airflow/plugins/weights.py"), PLUGIN);
});
afterAll(() => test.runtime.stop());

async function parse(name: string, text: string) {
  const path = join(test.workspace, name);
  writeFileSync(path, DAG + text);
  const { workspace } = test;
  return test.runtime.parseFile({
    workspace,
    path,
    relPath: name,
    projectPath: null,
    environment: "default",
    timeoutSeconds: 60,
    memoryMb: 2048,
  });
}

it("weighs tasks with a strategy of the user's own while it parses", async () => {
  const { dags, importErrors } = await parse(
    "heavy.py",
    `
with DAG("heavy"):
    one = EmptyOperator(task_id="one", weight_rule=ByName())
    three = EmptyOperator(task_id="three", weight_rule="weights.ByName")
    mapped = PythonOperator.partial(task_id="mapped", python_callable=print, weight_rule="weights.ByName").expand(op_args=[[1], [2]])
    one >> [three, mapped] >> EmptyOperator(task_id="end", priority_weight=7)
`,
  );
  expect(importErrors).toEqual([]);
  const { tasks } = parseSerializedDag(dags[0]?.serialized ?? {});
  const weights = [...tasks.values()].map(({ taskId, priorityWeightTotal }) => [taskId, priorityWeightTotal]);
  expect(Object.fromEntries(weights)).toEqual({ one: 302, three: 507, mapped: 607, end: 7 });
});

it("tells why a strategy gives no weight where the file's other errors are", async () => {
  const { importErrors } = await parse(
    "raises.py",
    `with DAG("raises"):\n    EmptyOperator(task_id="a", weight_rule=Raising())\n`,
  );
  expect(importErrors[0]?.stacktrace).toContain("how heavy is that?");
  const unknown = await parse(
    "unknown.py",
    `with DAG("unknown"):\n    EmptyOperator(task_id="a", weight_rule="no.Such")\n`,
  );
  expect(unknown.importErrors[0]?.stacktrace).toContain("Unknown priority strategy no.Such");
});
