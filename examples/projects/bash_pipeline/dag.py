"""Shell commands that hand a value on; an environment variable of one task comes from leoflow.yaml."""

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG("bash_pipeline"):
    write = BashOperator(task_id="write", bash_command="printf 'lion\\nflow\\nlion\\n' | base64")
    count = BashOperator(
        task_id="count",
        bash_command="echo '{{ ti.xcom_pull(task_ids=\"write\") }}' | base64 -d | grep -c \"$PATTERN\"",
    )
    tell = BashOperator(task_id="tell", bash_command="test {{ ti.xcom_pull(task_ids='count') }} -eq 2 && echo right")
    write >> count >> tell
