"""More of DAGs that start other DAGs, and wait for them."""
import datetime

from acts import START, call, step
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.providers.standard.sensors.external_task import ExternalTaskMarker, ExternalTaskSensor
from airflow.sdk import DAG, task

with DAG("trigger_deferrable", start_date=START, schedule=None):
    call("well", wait_for_completion=True, deferrable=True) >> step("after")
    call("badly", "fail", wait_for_completion=True, deferrable=True) >> step("after_failure")
    call("allowed", "fail", wait_for_completion=True, deferrable=True, allowed_states=["failed"], failed_states=["success"]) >> step("after_allowed")
    call("not_waiting", deferrable=True)

with DAG("trigger_mapped", start_date=START, schedule=None):
    TriggerDagRunOperator.partial(
        task_id="calls", trigger_dag_id="child", trigger_run_id="mapped_{{ ti.map_index }}", poke_interval=1, wait_for_completion=True
    ).expand(conf=[{"outcome": "ok"}, {"outcome": "fail"}]) >> step("after", trigger_rule="all_done")

with DAG("trigger_confs", start_date=START, schedule=None):
    once = {"trigger_dag_id": "child", "poke_interval": 1}
    TriggerDagRunOperator(task_id="no_conf", trigger_run_id="no_conf", **once)
    TriggerDagRunOperator(task_id="text_conf", trigger_run_id="text_conf", conf='{"a": "{{ run_id }}"}', **once)
    TriggerDagRunOperator(task_id="bad_conf", trigger_run_id="bad_conf", conf={"a": {1, 2}}, **once)
    TriggerDagRunOperator(task_id="dateless", trigger_run_id="dateless", logical_date=None, note="with a note", **once)
    TriggerDagRunOperator(task_id="of_template", trigger_run_id="{{ run_id }}_{{ ti.task_id }}", logical_date="{{ macros.datetime(2024, 7, 8) }}", **once)
    TriggerDagRunOperator(task_id="same_date", trigger_run_id="same_date", logical_date="2024-07-09T00:00:00+00:00", **once) >> TriggerDagRunOperator(
        task_id="same_date_again", trigger_run_id="same_date_again", logical_date="2024-07-09T00:00:00+00:00", **once
    )

with DAG("trigger_refused", start_date=START, schedule=None):
    TriggerDagRunOperator(task_id="wrong_type", trigger_dag_id="run_types_scheduled_only", trigger_run_id="wrong_type") >> step("after_type")
    TriggerDagRunOperator(task_id="no_params", trigger_dag_id="params_required", trigger_run_id="no_params") >> step("after_params")
    TriggerDagRunOperator(task_id="given_params", trigger_dag_id="params_required", trigger_run_id="given_params", conf={"needed": "x"})

with DAG("trigger_paused", start_date=START, schedule=None):
    TriggerDagRunOperator(task_id="fails", trigger_dag_id="never_unpaused", trigger_run_id="fails", fail_when_dag_is_paused=True) >> step("after")
    TriggerDagRunOperator(task_id="starts", trigger_dag_id="never_unpaused", trigger_run_id="starts")

with DAG("never_unpaused", start_date=START, schedule=None):
    step("a")

with DAG("trigger_itself", start_date=START, schedule=None):

    @task.branch
    def again(dag_run):
        return "next" if dag_run.run_id == "r1" else []

    again() >> TriggerDagRunOperator(task_id="next", trigger_dag_id="trigger_itself", trigger_run_id="r2")

MARKED = {"start_date": START, "end_date": START, "schedule": "@daily", "catchup": True}

with DAG("marker_parent", **MARKED):
    task(task_id="a")(lambda ti: ti.try_number)() >> ExternalTaskMarker(
        task_id="marker", external_dag_id="marker_child", external_task_id="waits", logical_date="{{ logical_date }}"
    )

with DAG("marker_child", **MARKED):
    ExternalTaskSensor(
        task_id="waits", external_dag_id="marker_parent", external_task_id="marker", poke_interval=1, timeout=3600
    ) >> task(task_id="after")(lambda ti: ti.try_number)()

with DAG("external_more", start_date=START, end_date=START, schedule="@daily", catchup=True):
    every = {"external_dag_id": "external_upstream", "poke_interval": 0.5, "timeout": 3600}
    ExternalTaskSensor(task_id="deferred", external_task_id="a", deferrable=True, **every) >> step("after_deferred")
    ExternalTaskSensor(task_id="deferred_failed", external_task_id="b", failed_states=["failed"], deferrable=True, **every) >> step("after_deferred_failed")
    ExternalTaskSensor(task_id="delta", external_task_id="a", execution_delta=datetime.timedelta(0), **every)
    ExternalTaskSensor(task_id="function", external_task_id="a", execution_date_fn=lambda date, **context: date, **every)
    ExternalTaskSensor(task_id="no_group", external_task_group_id="nothing", check_existence=True, **every)
    ExternalTaskSensor(task_id="no_task", external_task_id="nothing", check_existence=True, **{**every, "timeout": 2})
    ExternalTaskSensor(task_id="many", external_task_ids=["a", "b"], allowed_states=["success", "failed"], **every)
