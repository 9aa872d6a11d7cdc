"""Trigger rules below, of and inside mapped tasks."""
from acts import RULES, SERIAL, START, act, empty, step, turn
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, task, task_group


def mapped(task_id, outcomes, **arguments):
    return PythonOperator.partial(task_id=task_id, python_callable=act, **{**turn(), **arguments}).expand(op_args=[[o] for o in outcomes])


with DAG("mapped_upstreams", start_date=START, schedule=None, **SERIAL):
    above = [
        mapped("all_ok", ["ok", "ok"]),
        mapped("ok_fail", ["ok", "fail"]),
        mapped("ok_skip", ["ok", "skip"]),
        mapped("fail_skip", ["fail", "skip"]),
        mapped("all_fail", ["fail", "fail"]),
        mapped("all_skip", ["skip", "skip"]),
    ]
    zero = task(task_id="zero_source", **turn())(lambda: [])
    above.append(PythonOperator.partial(task_id="zero", python_callable=act, **turn()).expand(op_args=zero()))
    for rule in RULES:
        for node in above:
            node >> empty(f"{node.task_id}_{rule}", trigger_rule=rule)
        above[0:3] >> empty(f"three_{rule}", trigger_rule=rule)

with DAG("mapped_with_rules", start_date=START, schedule=None, **SERIAL):
    ups = [step("s"), step("f", "fail"), step("k", "skip")]
    source = task(task_id="source", **turn())(lambda: [["ok"], ["fail"], ["skip"]])
    values = source()
    for rule in RULES:
        node = PythonOperator.partial(task_id=f"literal_{rule}", python_callable=act, **turn(), trigger_rule=rule).expand(op_args=[["ok"], ["ok"]])
        ups >> node
        node = PythonOperator.partial(task_id=f"xcom_{rule}", python_callable=act, **turn(), trigger_rule=rule).expand(op_args=values)
        ups[0:2] >> node

with DAG("mapped_source_fails", start_date=START, schedule=None, **SERIAL):

    @task
    def broken():
        raise ValueError("no list today")

    @task
    def skipped_source():
        from airflow.sdk.exceptions import AirflowSkipException

        raise AirflowSkipException("no list today")

    for rule in RULES:
        # all_skipped would skip it, the failed list makes it upstream_failed: Airflow asks both in the order of a Python set.
        if rule != "all_skipped":
            PythonOperator.partial(task_id=f"broken_{rule}", python_callable=act, **turn(), trigger_rule=rule).expand(
                op_args=broken.override(task_id=f"b_{rule}", **turn())()
            )
        PythonOperator.partial(task_id=f"skipped_{rule}", python_callable=act, **turn(), trigger_rule=rule).expand(
            op_args=skipped_source.override(task_id=f"s_{rule}", **turn())()
        )

with DAG("rules_in_mapped_group", start_date=START, schedule=None, **SERIAL):

    @task
    def do(outcome):
        return act(outcome)

    @task_group
    def group(outcome):
        first = do.override(task_id="first", **turn())(outcome)
        for rule in ["all_success", "all_done", "none_failed", "one_failed", "all_failed", "one_success", "none_skipped", "all_skipped"]:
            first >> empty(f"then_{rule}", trigger_rule=rule)

    done = group.expand(outcome=["ok", "fail", "skip"])
    done >> empty("after_group")
    done >> empty("after_group_done", trigger_rule="all_done")
    done >> empty("after_group_one_failed", trigger_rule="one_failed")
    done >> empty("after_group_one_success", trigger_rule="one_success")

with DAG("one_done_over_mapped", start_date=START, schedule=None, **SERIAL):
    some = mapped("some", ["skip", "ok", "fail"])
    none = mapped("none", ["skip", "skip"])
    some >> step("one_done_some", trigger_rule="one_done")
    none >> step("one_done_none", trigger_rule="one_done")
    some >> step("one_failed_some", trigger_rule="one_failed")
    none >> step("one_failed_none", trigger_rule="one_failed")
    [some, none] >> step("one_success_both", trigger_rule="one_success")
