"""BashOperator with Jinja: macros, params, XCom, and a template file beside the DAG."""

from __future__ import annotations

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG(
    dag_id="bash_and_jinja",
    schedule=None,
    params={"city": "Berlin"},
    tags=["example", "bash", "jinja"],
    user_defined_macros={"greeting": "Good morning"},
):
    hello = BashOperator(task_id="hello", bash_command="echo '{{ greeting }} from {{ params.city }}'")
    count = BashOperator(
        task_id="count",
        bash_command="printf '%s' '{{ ti.xcom_pull(task_ids=\"hello\") }}' | wc -w",
    )
    report = BashOperator(task_id="report", bash_command="report.sh", env={"WORDS": "{{ ti.xcom_pull(task_ids='count') }}"})
    hello >> count >> report
