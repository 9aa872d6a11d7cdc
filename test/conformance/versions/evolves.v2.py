from acts import START, empty, step
from airflow.sdk import DAG

with DAG("evolves", start_date=START, schedule=None):
    step("a") >> step("comes") >> step("b", trigger_rule="all_done")
