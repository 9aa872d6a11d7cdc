"""Tasks that depend on the run before."""
from acts import DAILY, START, act, act_by_day, by_day, empty, step
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG

with DAG("past_all_well", **DAILY):
    step("a", depends_on_past=True) >> step("b", depends_on_past=True)

with DAG("past_skips_count", **DAILY):
    by_day("a", {1: "skip"}, depends_on_past=True) >> step("b", depends_on_past=True)

with DAG("past_second_fails", **DAILY):
    by_day("a", {2: "fail"}, depends_on_past=True) >> step("b", depends_on_past=True)
    step("free") >> step("free_too")

with DAG("past_upstream_failed", **DAILY):
    by_day("a", {1: "fail"}) >> step("b", depends_on_past=True) >> empty("c", trigger_rule="all_done")

with DAG("past_wait_for_downstream", **DAILY):
    step("a", wait_for_downstream=True) >> by_day("b", {2: "fail"}) >> step("c")

with DAG("past_wait_for_downstream_well", **DAILY):
    a = step("a", wait_for_downstream=True)
    a >> [by_day("b", {1: "skip"}), step("c")] >> empty("d", trigger_rule="none_failed")

with DAG("past_first_not_ignored", **DAILY):
    step("a", depends_on_past=True, ignore_first_depends_on_past=False) >> step("b")

with DAG("past_manual_runs", start_date=START, schedule=None):
    PythonOperator(
        task_id="a",
        python_callable=lambda dag_run: act(dag_run.conf["outcome"]),
        depends_on_past=True,
    ) >> step("b", depends_on_past=True)

with DAG("past_manual_without_dates", start_date=START, schedule=None):
    step("a", depends_on_past=True) >> step("b")

with DAG("past_mapped", **DAILY):
    PythonOperator.partial(task_id="m", python_callable=act_by_day, depends_on_past=True).expand(op_args=[[{}], [{2: "fail"}], [{1: "skip"}]])

with DAG("past_one_active_run", **{**DAILY, "max_active_runs": 1}):
    by_day("a", {1: "fail"}) >> empty("b", trigger_rule="all_done")

with DAG("past_waits_before_skipping", **DAILY):
    by_day("k", {1: "skip", 3: "skip"}) >> step("a", depends_on_past=True, wait_for_past_depends_before_skipping=True)
