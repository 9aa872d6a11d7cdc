"""Plain task groups."""
from acts import NO_DELAY, START, empty, step
from airflow.sdk import DAG, Label, TaskGroup, chain, cross_downstream, task, task_group

with DAG("groups_default_args", start_date=START, schedule=None, default_args={"retries": 1, "retry_delay": NO_DELAY}):
    with TaskGroup("a", default_args={"retries": 2}):
        step("x", "fail_until_3")
        with TaskGroup("b", default_args={"retries": 0}):
            step("y", "fail_until_2")
        step("z", "fail_until_2", retries=1)
    step("plain", "fail_until_2")

with DAG("groups_edges", start_date=START, schedule=None):
    with TaskGroup("first") as first:
        step("a") >> step("b", "fail")
        step("c")
    with TaskGroup("second", prefix_group_id=False) as second:
        d = step("d")
        e = step("e", trigger_rule="all_done")
    with TaskGroup("hollow") as hollow:
        pass
    first >> Label("then") >> second >> hollow >> step("end", trigger_rule="one_success")

with DAG("groups_chains", start_date=START, schedule=None):
    a, b, c, d, e = [empty(x) for x in "abcde"]
    chain(a, [b, c], [d, e])
    cross_downstream([d, e], [empty("f"), empty("g")])

with DAG("groups_same_name", start_date=START, schedule=None):

    @task_group
    def section():
        step("one") >> step("two", "skip") >> empty("three", trigger_rule="none_failed")

    section() >> section() >> section()
