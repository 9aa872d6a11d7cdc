"""Pools, weights, limits, and DAGs that pause themselves."""
import datetime

from acts import NO_DELAY, START, act, empty, step
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, task

with DAG("pool_two_slots", start_date=START, schedule=None):
    for n in range(4):
        step(f"one{n}", pool="two_slots")
    step("both", pool="two_slots", pool_slots=2)

with DAG("pool_unknown", start_date=START, schedule=None):
    step("waits", pool="no_such_pool") >> step("below")
    step("beside")

with DAG("pool_too_small", start_date=START, schedule=None):
    step("waits", pool="two_slots", pool_slots=3)
    step("beside")

with DAG("weights_in_order", start_date=START, schedule=None, max_active_tasks=1):
    first = empty("first")
    for name, weight in {"light": 1, "heavy": 9, "middle": 5}.items():
        first >> step(name, priority_weight=weight, weight_rule="absolute")

with DAG("limit_tasks_of_dag", start_date=START, schedule=None, max_active_tasks=2):
    [step(f"t{n}") for n in range(5)] >> empty("end")

with DAG("limit_runs", start_date=START, end_date=START + datetime.timedelta(days=4), schedule="@daily", catchup=True, max_active_runs=2):
    step("a") >> step("b")

with DAG("auto_pause", start_date=START, schedule=None, max_consecutive_failed_dag_runs=2):
    PythonOperator(task_id="a", python_callable=lambda dag_run: act(dag_run.conf["outcome"]))

with DAG("auto_pause_scheduled", start_date=START, end_date=START + datetime.timedelta(days=5), schedule="@daily", catchup=True, max_active_runs=1, max_consecutive_failed_dag_runs=2):
    step("a", "fail")

with DAG("pool_slots_of_mapped", start_date=START, schedule=None):

    @task(pool="two_slots", pool_slots=2)
    def big(x):
        return x

    big.expand(x=[1, 2, 3]) >> step("after", pool="two_slots")

with DAG("pool_of_default_args", start_date=START, schedule=None, default_args={"pool": "two_slots", "queue": "another"}):
    [step(f"t{n}") for n in range(3)] >> empty("end")

with DAG("limit_one_task", start_date=START, schedule=None):
    [step(f"t{n}", max_active_tis_per_dag=1) for n in range(2)] >> step("both", max_active_tis_per_dagrun=1)

with DAG("limit_across_runs", start_date=START, end_date=START + datetime.timedelta(days=3), schedule="@daily", catchup=True, max_active_runs=4):
    step("a", max_active_tis_per_dag=1) >> step("b", max_active_tis_per_dagrun=1)

with DAG("executor_unknown", start_date=START, schedule=None):
    step("named", executor="LocalExecutor")
