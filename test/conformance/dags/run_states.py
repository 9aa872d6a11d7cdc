"""What a run comes to."""
from acts import START, empty, step
from airflow.sdk import DAG

with DAG("run_leaf_succeeds", start_date=START, schedule=None):
    step("f", "fail") >> empty("cleanup", trigger_rule="all_done")

with DAG("run_leaf_fails", start_date=START, schedule=None):
    step("a") >> step("f", "fail")
    step("b")

with DAG("run_all_skipped", start_date=START, schedule=None):
    step("k", "skip") >> empty("a") >> empty("b")

with DAG("run_upstream_failed_leaf", start_date=START, schedule=None):
    step("f", "fail") >> empty("a")

with DAG("run_without_tasks", start_date=START, schedule=None):
    pass

with DAG("run_only_empty", start_date=START, schedule=None):
    empty("a") >> [empty("b"), empty("c")] >> empty("d")

with DAG("run_future_tasks", start_date=START, schedule=None):
    step("now") >> step("later", start_date=START.replace(year=2090)) >> step("after")
    step("over", start_date=START, end_date=START.replace(day=2))
