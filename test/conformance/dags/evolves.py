from acts import START, empty, step
from airflow.sdk import DAG

with DAG("evolves", start_date=START, schedule=None):
    step("a") >> step("goes", "fail") >> step("b", trigger_rule="all_done")
