import { PROJECT_SCHEMA_URL } from "../../domain/project-names.ts";

/** A project's files by their paths; ID stands for the dag_id. */
export interface Template {
  about: string;
  files: Readonly<Record<string, string>>;
}

const SETTINGS = `# yaml-language-server: $schema=${PROJECT_SCHEMA_URL}
schema_version: "1.0"
dag_id: ID
`;

const MORE = `
# Python packages; the project gets an environment with them.
# dependencies:
#   - pandas==2.2.3
`;

export const TEMPLATES: Readonly<Record<string, Template>> = {
  minimal: {
    about: "one task",
    files: {
      "leoflow.yaml": `${SETTINGS}description: What it is for
schedule: null

defaults:
  retries: 1
  retry_delay_seconds: 10
${MORE}`,
      "dag.py": `from airflow.sdk import DAG, task

with DAG("ID"):

    @task
    def hello():
        print("Hello from ID")

    hello()
`,
    },
  },
  taskflow: {
    about: "extract, transform and load with values handed from task to task",
    files: {
      "leoflow.yaml": `${SETTINGS}schedule: "0 6 * * *"
schedule_timezone: UTC

defaults:
  retries: 2
  retry_delay_seconds: 30

tasks:
  load:
    retries: 5
    env:
      TARGET: local
${MORE}`,
      "dag.py": `import os

from airflow.sdk import dag, task
from cleaning import is_valid


@dag("ID", catchup=False)
def etl():
    @task
    def extract() -> list[dict]:
        return [{"item": "tea", "price": 3.5}, {"item": "", "price": 0}, {"item": "coffee", "price": 4.2}]

    @task
    def transform(rows: list[dict]) -> dict:
        valid = [row for row in rows if is_valid(row)]
        return {"rows": len(valid), "total": sum(row["price"] for row in valid)}

    @task
    def load(summary: dict):
        print(f"{summary['rows']} rows, {summary['total']:.2f} in all, to {os.environ['TARGET']}")

    load(transform(extract()))


etl()
`,
      "cleaning.py": `def is_valid(row: dict) -> bool:
    return bool(row["item"]) and row["price"] > 0
`,
    },
  },
  mapping: {
    about: "one task instance per item of a list that another task makes",
    files: {
      "leoflow.yaml": `${SETTINGS}schedule: null
max_active_tasks: 8
${MORE}`,
      "dag.py": `from airflow.sdk import DAG, task

with DAG("ID"):

    @task
    def list_parts() -> list[int]:
        return [1, 2, 3, 4]

    @task
    def work(part: int) -> int:
        return part * part

    @task
    def total(results: list[int]) -> int:
        return sum(results)

    total(work.expand(part=list_parts()))
`,
    },
  },
  assets: {
    about: "a DAG that updates an asset, and one that runs when it is updated",
    files: {
      "leoflow.yaml": `${SETTINGS.replace("dag_id: ID", "dag_id: ID_producer")}description: Updates the asset ID_data
${MORE}`,
      "dag.py": `from airflow.sdk import DAG, Asset, task

data = Asset("ID_data")

with DAG("ID_producer", schedule="@hourly", catchup=False):

    @task(outlets=[data])
    def produce():
        print("the data is there")

    produce()

with DAG("ID_consumer", schedule=[data]):

    @task
    def consume():
        print("the data is used")

    consume()
`,
    },
  },
  sensor: {
    about: "a sensor that waits for a file without holding a worker",
    files: {
      "leoflow.yaml": `${SETTINGS}schedule: null

tasks:
  wait_for_file:
    execution_timeout_seconds: 3600
${MORE}`,
      "dag.py": `from pathlib import Path

from airflow.sdk import DAG, PokeReturnValue, task

DROP = Path("/tmp/ID.ready")

with DAG("ID"):

    @task.sensor(poke_interval=5, timeout=3600, mode="reschedule")
    def wait_for_file() -> PokeReturnValue:
        return PokeReturnValue(is_done=DROP.exists(), xcom_value=str(DROP))

    @task
    def use(path: str):
        print(f"{path} is there")

    use(wait_for_file())
`,
    },
  },
  airflow: {
    about: "a plain Airflow folder: DAG files side by side, no leoflow.yaml",
    files: {
      ".airflowignore": "lib/\n",
      "ID.py": `from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG("ID", schedule=None):
    BashOperator(task_id="hello", bash_command="echo Hello from {{ dag.dag_id }}")
`,
    },
  },
};
