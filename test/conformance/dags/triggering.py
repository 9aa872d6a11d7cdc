"""DAGs that start other DAGs, and wait for them."""
from acts import START, act, call, empty, step
from airflow.providers.standard.operators.python import PythonOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.providers.standard.sensors.external_task import ExternalTaskSensor
from airflow.sdk import DAG

with DAG("child", start_date=START, schedule=None, max_active_runs=20):
    PythonOperator(task_id="work", python_callable=lambda dag_run: act(dag_run.conf.get("outcome", "ok"))) >> empty("end")


with DAG("trigger_no_wait", start_date=START, schedule=None):
    call("call") >> step("after")

with DAG("trigger_wait", start_date=START, schedule=None):
    call("well", wait_for_completion=True) >> step("after")
    call("badly", "fail", wait_for_completion=True) >> step("after_failure")
    call("allowed", "fail", wait_for_completion=True, allowed_states=["success", "failed"], failed_states=[]) >> step("after_allowed")

with DAG("trigger_twice", start_date=START, schedule=None):
    again = {"task_id": "again", "trigger_dag_id": "child", "trigger_run_id": "twice", "poke_interval": 1}
    first = TriggerDagRunOperator(**{**again, "task_id": "first", "wait_for_completion": True})
    first >> TriggerDagRunOperator(**{**again, "task_id": "refused"})
    first >> TriggerDagRunOperator(**{**again, "task_id": "skipped", "skip_when_already_exists": True})

with DAG("trigger_reset", start_date=START, schedule=None):
    again = {"trigger_dag_id": "child", "trigger_run_id": "reset", "poke_interval": 1, "wait_for_completion": True}
    TriggerDagRunOperator(task_id="first", **again) >> TriggerDagRunOperator(task_id="reset", reset_dag_run=True, **again)

with DAG("trigger_unknown", start_date=START, schedule=None):
    TriggerDagRunOperator(task_id="call", trigger_dag_id="no_such_dag", retries=0) >> step("after")

with DAG("trigger_dated", start_date=START, schedule=None):
    TriggerDagRunOperator(task_id="call", trigger_dag_id="child", trigger_run_id="dated", logical_date="2024-02-03T04:05:06+00:00", conf={"n": [1, None, 2.0]})

with DAG("external_upstream", start_date=START, end_date=START, schedule="@daily", catchup=True):
    step("a") >> step("b", "fail")
    step("c", "skip")

with DAG("external_sensors", start_date=START, end_date=START, schedule="@daily", catchup=True):
    every = {"external_dag_id": "external_upstream", "poke_interval": 0.5, "timeout": 3600}
    ExternalTaskSensor(task_id="task", external_task_id="a", **every) >> step("after_task")
    ExternalTaskSensor(task_id="failed_task", external_task_id="b", failed_states=["failed"], **every) >> step("after_failed")
    ExternalTaskSensor(task_id="soft", external_task_id="b", failed_states=["failed"], soft_fail=True, **every) >> step("after_soft")
    ExternalTaskSensor(task_id="skipped", external_task_id="c", skipped_states=["skipped"], **every) >> step("after_skipped")
    ExternalTaskSensor(task_id="dag", allowed_states=["success", "failed"], **every) >> step("after_dag")
    ExternalTaskSensor(task_id="resched", external_task_ids=["a", "c"], allowed_states=["success", "skipped"], mode="reschedule", **{**every, "poke_interval": 4})
    ExternalTaskSensor(task_id="exists", external_dag_id="no_such_dag", check_existence=True, poke_interval=0.5, timeout=5)
